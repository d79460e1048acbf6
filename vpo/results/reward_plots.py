"""Rewards against the prompt's length and against motion, method by method: where a reward is hacked, it goes up with one of them.

Below it stands a held-out metric against the same: what the reward gains by length alone, that does not gain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vpo.cards import Metric
from vpo.charts import GREY, INK, LIGHT, new_figure, style_axis
from vpo.results.metrics import Metrics

# The metrics of motion; the first that was measured is drawn.
MOTION = ("motion", "dynamic_degree", "long_dynamic_degree", "official_dynamic_degree", "official_long_dynamic_degree")
_COLOURS = ("#59636e", "#bc4c00", "#0969da", "#1a7f37", "#8250df", "#cf222e", "#9a6700", "#1b7c83")
_SHOWN = 2_000  # points of a method that are drawn; its line and its correlation are of all

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """One metric against length or motion: points (x, y) by method."""

    y: Metric
    x: str
    points: Mapping[str, tuple[Floats, Floats]]


def reward_plots(
    results: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
    path: Path,
    labels: Mapping[str, str] | None = None,
) -> bool:
    """Draw all rewards, and a held-out metric where there is one, against length and motion.

    Args:
        results: the content of results.json.
        items: the lines of items.jsonl.
        path: the PNG to write.
        labels: how methods are called in print.

    Returns:
        False, and writes nothing, where no reward was measured.
    """
    panels = panels_of(results, items)
    if not panels:
        return False
    rows, columns = list(dict.fromkeys(one.y.name for one in panels)), list(dict.fromkeys(one.x for one in panels))
    figure = new_figure(5.2 * len(columns), 3.4 * len(rows), dpi=120)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for panel in panels:
        _draw(axes[rows.index(panel.y.name)][columns.index(panel.x)], panel, labels or {})
    figure.savefig(path)
    return True


def panels_of(results: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """The panels, row by row; none where no item has a reward."""
    metrics = Metrics(results.get("evaluators", {}))
    measured = list(
        dict.fromkeys(name for item in items for name, value in item["metrics"].items() if value is not None)
    )
    motion = next((name for name in MOTION if name in measured), None)
    shown = [metrics[name] for name in shown_metrics(results, metrics, measured)]
    if not shown or shown[0].name not in measured:
        return []
    found = []
    for y in shown:
        found.append(Panel(y, "words of the prompt", _points(items, y, lambda item: len(item["prompt"].split()))))
        if motion and y.name != motion:
            found.append(Panel(y, metrics[motion].heading, _points(items, y, lambda item: item["metrics"].get(motion))))
    return [panel for panel in found if panel.points]


def shown_metrics(results: Mapping[str, Any], metrics: Metrics, measured: Sequence[str]) -> list[str]:
    """The rewards that were measured, by the run's reward or by one of an evaluator's own, and after them a held-out metric, if any:
    the first one of clips that is no reward and no metric of motion, and that no method was trained on."""
    cards, trained = results.get("evaluators", {}), results.get("run", {}).get("trained_on", {})
    main = [name for name in metrics.main(measured) if name in measured and metrics[name].better is not None]

    def of(need: str, name: str) -> bool:
        return need in cards.get(metrics.evaluator_of(name) or "", {}).get("needs", ())

    def judges_by_a_reward(name: str) -> bool:
        return bool(cards.get(metrics.evaluator_of(name) or "", {}).get("rewards"))

    of_cards = [name for card in cards.values() for name in card.get("rewards", ())]
    older = [name for name in main if of("scores", name)] or [name for name in measured if name == "reward"]
    rewards = [name for name in dict.fromkeys(of_cards) if name in measured] or older[:1]
    held_out = [
        name
        for name in main
        if of("clips", name)
        and not judges_by_a_reward(name)
        and metrics.flag_of(name) not in trained
        and name not in MOTION
    ]
    return [*rewards, *(name for name in held_out[:1] if name not in rewards)] if rewards else []


def rank_correlation(x: Floats, y: Floats) -> float | None:
    """Spearman's rho: the correlation of the ranks, ties having their mean rank; None where either does not vary."""
    if len(x) < 3:
        return None
    ranks = np.stack([_ranks(x), _ranks(y)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = np.sqrt((ranks**2).sum(axis=1))
    return float(ranks[0] @ ranks[1] / lengths.prod()) if lengths.all() else None


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place], dtype=np.float64)


def _points(items: Sequence[Mapping[str, Any]], y: Metric, x_of: Any) -> dict[str, tuple[Floats, Floats]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for item in items:
        value = item["metrics"].get(y.name)
        x = x_of(item) if item["prompt"] is not None else None
        if value is not None and x is not None:
            found.setdefault(item["method"], []).append((float(x), value * y.scale))
    return {method: (np.array(pairs).T[0], np.array(pairs).T[1]) for method, pairs in found.items()}


def _draw(axis: Any, panel: Panel, labels: Mapping[str, str]) -> None:
    for number, (method, (x, y)) in enumerate(panel.points.items()):
        colour, rho = _COLOURS[number % len(_COLOURS)], rank_correlation(x, y)
        label = f"{labels.get(method, method)}{'' if rho is None else f', ρ = {rho:+.2f}'}"
        axis.scatter(x[:_SHOWN], y[:_SHOWN], s=9, alpha=0.35, color=colour, lw=0, label=label)
        if rho is not None:
            slope, start = np.polyfit(x, y, 1)
            ends = np.array([x.min(), x.max()])
            axis.plot(ends, start + slope * ends, color=colour, lw=1.4)
    style_axis(axis, f"{panel.y.label} against {panel.x}")
    axis.set_xlabel(panel.x, fontsize=8, color=GREY)
    axis.set_ylabel(panel.y.heading, fontsize=8, color=GREY)
    axis.grid(color=LIGHT, lw=0.5)
    axis.legend(fontsize=7, frameon=False, labelcolor=INK, markerscale=2)
