"""Bradley-Terry strengths of several methods from their pairwise comparisons, with bootstrap intervals.

The model says that method i is preferred to j with the probability p_i / (p_i + p_j) (Bradley and Terry, Biometrika 39, 1952). A tie
counts as half a win of each side. Strengths are printed on the scale of Elo, 400 log10 p, with a mean of 0 over the methods: 400
points more are odds of ten to one, 100 points a win rate of 64 %.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

PRIOR = 1.0  # a tie that each compared pair has besides, so that a method which wins always has a finite strength
RESAMPLES = 2_000
_SCALE = 400 / math.log(10)
_STEPS, _LONGEST, _CLOSE = 100, 2.0, 1e-10  # of Newton's method
_BLOCK = 200  # resamples at a time


def strengths(wins: np.ndarray) -> np.ndarray:
    """Log-strengths of greatest likelihood with a mean of 0.

    Newton's method on the log-likelihood, which is concave. Methods must be connected by comparisons, and no group of them may win all
    that it had with the others: `PRIOR` sees to the second.

    Args:
        wins: (..., n, n), how often row i was preferred to column j.

    Returns:
        (..., n).
    """
    games, won = wins + wins.swapaxes(-1, -2), wins.sum(-1)
    found: np.ndarray = np.zeros(won.shape)
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(found[..., None, :] - found[..., :, None]))
        slope = won - (games * chance).sum(-1)
        curve = games * chance * (1 - chance)
        # The likelihood does not change where all strengths rise alike: the ones make of that direction one without a slope.
        curve = curve.sum(-1)[..., None] * np.eye(wins.shape[-1]) - curve + 1 / wins.shape[-1]
        step = np.linalg.solve(curve, slope[..., None])[..., 0].clip(-_LONGEST, _LONGEST)
        found = found + step
        if np.abs(step).max() < _CLOSE:
            break
    centred: np.ndarray = found - found.mean(-1, keepdims=True)
    return centred


def of_prompts(items: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The methods' strengths by their prompts, from `winrate_<other>` of a run's items; see `bradley_terry`."""
    return bradley_terry(items, "winrate")


def of_clips(items: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The methods' strengths by their clips, from `clip_winrate_<other>` of a run's items; see `bradley_terry`."""
    return bradley_terry(items, "clip_winrate")


def bradley_terry(items: Sequence[Mapping[str, Any]], metric: str) -> dict[str, dict[str, Any]]:
    """The strength of each method in Elo points, from the win rates of a run's items under `<metric>_<other method>`.

    The half width of the 95 % interval is half the distance between the 2.5th and 97.5th percentile of 2,000 bootstrap resamples of
    whole queries, seeded, so that all comparisons of a query stay together. What both of its methods measured counts once.

    Returns:
        {method: {"mean", "n", "n_failed", "ci95", "low", "high"}}: `n` are the method's queries with a comparison that could be
        read, `n_failed` those with none. Empty where fewer than three methods are compared, or where they fall into groups that were
        never compared.
    """
    table = comparisons(items, metric)
    methods = sorted({one for pair in table for one in pair})
    if len(methods) < 3 or not connected(methods, table):
        return {}
    queries = sorted({query for values in table.values() for query in values})
    wins = _wins(methods, queries, table)
    points = _SCALE * strengths(wins.sum(0) + _prior(wins))
    low, high = np.percentile(_drawn(wins), [2.5, 97.5], axis=0) if len(queries) > 1 else (None, None)
    order = list(dict.fromkeys(item["method"] for item in items))
    tried = _tried(items, metric)
    found = {}
    for place, method in sorted(enumerate(methods), key=lambda one: order.index(one[1])):
        measured = {query for pair, values in table.items() if method in pair for query in values}
        found[method] = {
            "mean": float(points[place]),
            "n": len(measured),
            "n_failed": len(tried[method] - measured),
            "ci95": None if low is None or high is None else float(high[place] - low[place]) / 2,
            "low": None if low is None else float(low[place]),
            "high": None if high is None else float(high[place]),
        }
    return found


def comparisons(items: Sequence[Mapping[str, Any]], metric: str) -> dict[tuple[str, str], dict[str, float]]:
    """{(method, other): {query id: share of the win that the first gets}}, each pair of methods once."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    methods = {item["method"] for item in items}
    for item in items:
        for name, value in item["metrics"].items():
            other = name.removeprefix(f"{metric}_")
            if other == name or other not in methods or value is None:
                continue
            one, share = item["method"], value
            if (other, one) in found and item["query_id"] in found[other, one]:
                continue  # the same comparison, seen from the other side
            if (other, one) in found:
                one, other, share = other, one, 1 - value
            found.setdefault((one, other), {})[item["query_id"]] = share
    return found


def connected(methods: Sequence[str], pairs: Mapping[tuple[str, str], Any]) -> bool:
    """Whether comparisons lead from every method to every other one."""
    reached, new = {methods[0]}, {methods[0]}
    while new:
        new = {other for pair in pairs if new & {*pair} for other in pair} - reached
        reached |= new
    return reached == {*methods}


def _wins(
    methods: Sequence[str], queries: Sequence[str], table: Mapping[tuple[str, str], Mapping[str, float]]
) -> np.ndarray:
    """Wins of row over column of each query, (queries, n, n)."""
    place_of, row_of = ({one: place for place, one in enumerate(names)} for names in (methods, queries))
    wins = np.zeros((len(queries), len(methods), len(methods)))
    for (one, other), values in table.items():
        for query, share in values.items():
            wins[row_of[query], place_of[one], place_of[other]] += share
            wins[row_of[query], place_of[other], place_of[one]] += 1 - share
    return wins


def _prior(wins: np.ndarray) -> np.ndarray:
    """Half a win each way of every pair that was compared."""
    total = wins.sum(0)
    return PRIOR / 2 * ((total + total.T) > 0)


def _drawn(wins: np.ndarray) -> np.ndarray:
    """Strengths of resampled queries, (RESAMPLES, n), in points."""
    rng, prior, count = np.random.default_rng(0), _prior(wins), len(wins)
    blocks = []
    for start in range(0, RESAMPLES, _BLOCK):
        rows = rng.integers(count, size=(min(_BLOCK, RESAMPLES - start), count))
        counts = np.stack([np.bincount(row, minlength=count) for row in rows])
        blocks.append(_SCALE * strengths(np.tensordot(counts, wins, axes=1) + prior))
    return np.concatenate(blocks)


def _tried(items: Sequence[Mapping[str, Any]], metric: str) -> dict[str, set[str]]:
    """The queries on which a method was to be compared with another, as either side of it."""
    found: dict[str, set[str]] = {item["method"]: set() for item in items}
    for item in items:
        for name in item["metrics"]:
            other = name.removeprefix(f"{metric}_")
            if other != name and other in found:
                found[item["method"]].add(item["query_id"])
                found[other].add(item["query_id"])
    return found
