"""The picture of an evolution: its rewards by generation, and when the winners were written."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vpo.charts import GREY, INK, LIGHT, new_figure, style_axis
from vpo.feedback.describe import Mean
from vpo.feedback.evolve import Point, best_rewrites
from vpo.feedback.groups import by_query
from vpo.records import Evolved

BEST, NEW = "#1a7f37", "#8250df"


def draw(path: Path, points: Sequence[Point], pool: Sequence[Evolved], reward: str) -> None:
    """Draw means with 95 % intervals over the queries: the best so far, and what each generation alone brought."""
    figure = new_figure(10, 4.2, dpi=120)
    rewards, whens = figure.subplots(1, 2, width_ratios=(2, 1))
    _line(rewards, [(one.generation, one.best) for one in points], BEST, "best so far of each query")
    _line(rewards, [(one.generation, one.new) for one in points if one.new], NEW, "what the generation brought, mean")
    rewards.axhline(points[0].best.value, color=GREY, lw=1, ls="--", label="the queries themselves")
    rewards.legend(fontsize=8, frameon=False, labelcolor=INK)
    gain = points[-1].gain
    _style(rewards, f"{reward}: {gain} over the query after {len(points) - 1} generations", "generation")
    rewards.set_ylabel(f"mean over {points[0].best.n} queries, 95 % interval", fontsize=8, color=GREY)
    when = _when(pool)
    generations = range(len(points))
    whens.bar(generations, [when[one] for one in generations], color=BEST, width=0.7)
    _style(whens, "origin of each query's best (0: itself)", "generation")
    whens.set_ylabel("queries", fontsize=8, color=GREY)
    whens.yaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path)


def _when(pool: Sequence[Evolved]) -> Counter[int]:
    """How many queries have their best prompt from each generation; of equal ones the earlier."""
    found: Counter[int] = Counter()
    for group in by_query(pool).values():
        original = group[0]
        if original.value is not None:
            best = next(iter(best_rewrites(group, 1)), None)
            better = best is not None and best.value is not None and best.value > original.value
            found[best.generation if best is not None and better else 0] += 1
    return found


def _line(axis: Any, means: Sequence[tuple[int, Mean]], colour: str, label: str) -> None:
    places, values = [place for place, _ in means], [mean.value for _, mean in means]
    halves = [mean.half or 0.0 for _, mean in means]
    axis.plot(places, values, "o-", color=colour, lw=1.8, ms=4, label=label)
    lows, highs = ([v + sign * h for v, h in zip(values, halves, strict=True)] for sign in (-1, 1))
    axis.fill_between(places, lows, highs, color=colour, alpha=0.15, lw=0)


def _style(axis: Any, title: str, label: str) -> None:
    style_axis(axis, title)
    axis.set_xlabel(label, fontsize=8, color=GREY)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(color=LIGHT, lw=0.5)
    axis.set_axisbelow(True)
