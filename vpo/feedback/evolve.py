"""Reward-guided evolution of prompts: evaluate, select, evolve (Prompt-A-Video, arXiv 2412.15156).

Source: its released code, `booster/finetuning/gpt_boost.py`. The rewriter is shown the query and the best rewrites so far; it writes
new ones; all are scored against the original query, never against what they were rewritten from. Pure and standard library
only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vpo.feedback.checklist import weighted_dimensions
from vpo.feedback.describe import Mean, mean_of
from vpo.feedback.grading import graded_by_flaws, helpful_share
from vpo.feedback.groups import by_query
from vpo.records import Evolved, Prompt, Score, Verdict

Value = tuple[float | None, Mapping[str, float | None]]  # a reward, and its parts by name


def values_of_scores(scores: Sequence[Score], weights: Mapping[str, float] | None) -> dict[str, Value]:
    """By prompt, the reward of its clip: the weighted sum of dimensions (`weighted_dimensions`), or the reward's own value."""
    return {
        one.prompt_id: (
            one.value if weights is None else weighted_dimensions(one.dimensions, weights),
            one.dimensions if weights is None else {name: one.dimensions.get(name) for name in weights},
        )
        for one in scores
    }


def values_of_verdicts(verdicts: Sequence[Verdict]) -> dict[str, Value]:
    """By prompt, the grade that a judge's verdict gives it (`vpo.feedback.grading.graded_by_flaws`), in 0..1, and the principles."""
    found: dict[str, Value] = {}
    for one in verdicts:
        kept = one.accuracy if one.accuracy is not None else _number(one.accurate)
        helpful = None if one.helpful is None else helpful_share(one)
        found[one.prompt_id] = (
            graded_by_flaws(one),
            {"harmless": _number(one.harmless), "accurate": kept, "helpful": helpful},
        )
    return found


def evolved(
    prompts: Sequence[Prompt], values: Mapping[str, Value], generation: int, parents: Mapping[str, Sequence[str]]
) -> list[Evolved]:
    """The prompts of a generation with their rewards; one that has none (its clip failed, say) stays, with None."""
    return [
        Evolved(
            one.id, one.query_id, one.query, one.text, generation, *values.get(one.id, (None, {})),
            parents=tuple(parents.get(one.query_id, ())),
        )
        for one in prompts
    ]  # fmt: skip


def best_rewrites(pool: Sequence[Evolved], n: int | None = None) -> list[Evolved]:
    """The n best rewrites of one query (None: all), the best first; of equal ones the earlier. What has no value is not among them."""
    rewrites = [one for one in pool if one.generation > 0 and one.value is not None]
    return sorted(rewrites, key=lambda one: -_value(one))[:n]


def winner(pool: Sequence[Evolved], least: Mapping[str, float] | None = None) -> Evolved | None:
    """The best rewrite of one query as SFT data: it exceeds each bound and the query's own reward.

    Prompt-A-Video takes the rewrite that passes a threshold on every dimension and has the top total; its thresholds are not published
    (`least`: {dimension: bound}). That it must also be better than the query is ours: else the policy would learn to do harm.
    None where there is none, or where the query itself has no reward.
    """
    original = next((one for one in pool if one.generation == 0), None)
    if original is None or original.value is None:
        return None
    bounds = (least or {}).items()
    for one in best_rewrites(pool):
        known = [(one.dimensions.get(name), bound) for name, bound in bounds]
        if all(value is not None and value > bound for value, bound in known):
            return one if _value(one) > original.value else None
    return None


@dataclass(frozen=True)
class Point:
    """One generation of the curve; means over the queries whose original has a reward, each with the half width of its interval.

    Attributes:
        best: the best reward so far of a query, the query's own included. It cannot fall.
        gain: of it over the query's own reward, pair by pair.
        new: the mean reward of what this generation alone brought, of the queries for which it brought any; None where nothing came.
        prompts: how many prompts this generation has with a reward.
        failed: how many without.
    """

    generation: int
    best: Mean
    gain: Mean
    new: Mean | None
    prompts: int
    failed: int


def curve(pool: Sequence[Evolved]) -> list[Point]:
    """A point a generation; empty where no query has a reward.

    `best` rises with the number of draws even where rewriting teaches nothing; `new` rises only where parents help. A fair baseline of
    `best` is an evolution without parents (`evolution.parents=0`).
    """
    known = [own for own in by_query(pool).values() if own[0].generation == 0 and own[0].value is not None]
    points = []
    for generation in range(1 + max((one.generation for one in pool), default=-1)):
        originals, bests, news = [], [], []
        for own in known:
            originals.append(_value(own[0]))
            bests.append(max(_value(one) for one in own if one.generation <= generation and one.value is not None))
            brought = [_value(one) for one in own if one.generation == generation and one.value is not None]
            news += [sum(brought) / len(brought)] if brought else []
        here = [one for one in pool if one.generation == generation]
        best, gain = mean_of(bests), mean_of([b - o for b, o in zip(bests, originals, strict=True)])
        if best is not None and gain is not None:
            read = sum(one.value is not None for one in here)
            points.append(Point(generation, best, gain, mean_of(news), read, len(here) - read))
    return points


def _value(one: Evolved) -> float:
    """The reward of a prompt that has one."""
    if one.value is None:
        raise ValueError(f"prompt {one.id} has no reward")
    return one.value


def _number(flag: bool | None) -> float | None:
    return None if flag is None else float(flag)
