"""Numbers that are made of a method's other numbers, as a benchmark's total is; a card names them (`vpo.cards.Derived`)."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from vpo.cards import Derived
from vpo.errors import UserError
from vpo.results.intervals import Gain, SeedWeighted, measured_by_both, p_value, products_of, swaps
from vpo.results.named import named
from vpo.results.resampling import Floats, Interval, draws

Function = Callable[[Mapping[str, float]], float | None]
Rows = Sequence[tuple[str, float | None, float]]  # (query id, value, weight)
RESAMPLES = 2_000


def with_derived(
    results: Mapping[str, Mapping[str, Any]],
    derived: Sequence[Derived],
    rows: Mapping[str, Rows],
    pairs: Collection[str],
) -> dict[str, dict[str, Any]]:
    """A method's results, {metric: {mean, n, n_failed, ci95, low, high}}, with what can be derived of them.

    Where one of the numbers that a derived one is made of is missing, it is left out: it is never made of some. Its `n_failed` are the
    queries on which some of these failed and its `n` the others, each query once; `part` is the share of the whole benchmark that they
    were asked for, where it is below 1.

    Args:
        results: of the metrics.
        derived: what may be derived of them.
        rows: of each metric, (query id, value, weight) an item.
        pairs: the metrics that are means over their rows, weighted ones included.
    """
    found = {name: dict(result) for name, result in results.items()}
    for one in derived:
        parts = [results.get(name, {}) for name in one.of]
        means = {name: part.get("mean") for name, part in zip(one.of, parts, strict=True)}
        mixed = any((results.get(name) or {}).get("mean") for name in one.unless)
        if mixed or any(mean is None for mean in means.values()):
            continue
        value = function_of(one.metric.aggregate)(means)
        if value is not None and math.isfinite(value):
            interval = interval_of(one, rows) if {*one.of} <= {*pairs} else None
            ends = (interval.half, interval.low, interval.high) if interval else (None, None, None)
            found[one.metric.name] = {
                "mean": value, **_counts(one, rows), **dict(zip(("ci95", "low", "high"), ends, strict=True)), **_part(one, results),
            }  # fmt: skip
    return found


def _counts(one: Derived, rows: Mapping[str, Rows]) -> dict[str, int]:
    """The queries behind a derived number, and those on which a part of it failed, each once."""
    every = [(query, value) for name in one.of for query, value, _ in rows.get(name, ())]
    failed = {query for query, value in every if value is None}
    return {"n": len({query for query, _ in every} - failed), "n_failed": len(failed)}


def _part(one: Derived, results: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """{"part": the share of the benchmark's measurements that were asked for}; nothing where that is all of it."""
    due = {name: number for name, number in one.whole.items() if name in one.of}
    asked = {name: min(number, results[name]["n"] + results[name]["n_failed"]) for name, number in due.items()}
    return {"part": sum(asked.values()) / sum(due.values())} if asked != due else {}


def interval_of(one: Derived, rows: Mapping[str, Rows]) -> Interval | None:
    """The percentile interval of a derived number over resamples of whole queries, so that all numbers of a query stay together.

    It is a little narrow: simulated intervals of totals of three dimensions with long tails, 90 prompts each, cover 93 %
    (`tests/results/test_coverage.py`), as percentiles do, where those of single means cover 94 to 96 %.

    None for fewer than two queries, and where most resamples lack one of the numbers.
    """
    queries = list(dict.fromkeys(query for name in one.of for query, value, _ in rows[name] if value is not None))
    place_of = {query: place for place, query in enumerate(queries)}
    sums = np.zeros((len(queries), len(one.of), 2))  # of each query and metric: sum w v, sum w
    for column, name in enumerate(one.of):
        for query, value, weight in rows[name]:
            if value is not None:
                sums[place_of[query], column] += weight * value, weight
    return _percentiles(sums.shape[0], lambda places: _number(one, sums[places].sum(0)), RESAMPLES, seed=0)


def paired_derived(
    one: Derived,
    a: Mapping[str, SeedWeighted],
    b: Mapping[str, SeedWeighted],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Gain | None:
    """`paired_bootstrap` of a derived number: D_a - D_b, averaged over the seeds.

    Whole queries are resampled, and interchanged, with all of their numbers under both methods and in all seeds. What was measured
    under one method alone is left out.

    Args:
        a, b: by metric, as `paired_weighted_bootstrap` takes them.

    Returns:
        None for fewer than two queries that both methods have, where one of the numbers is missing, and where most resamples lack one.
    """
    both = [name for name in one.of if name in a and name in b]
    queries = sorted({query for name in both for query in a[name].keys() & b[name].keys()})
    if len(both) < len(one.of) or len(queries) < 2:
        return None
    shared = [_paired_sums(a[name], b[name], queries) for name in one.of]
    sides = np.stack(shared, axis=3)  # (2 sides, S, Q, M, 2)
    known = sides[0, ..., 1].sum(axis=(0, 2)) > 0
    sides = sides[:, :, known]

    def of_seeds(chosen: Floats) -> Floats:
        """D_a - D_b by seed, of sums over queries (2 sides, S, M, 2); NaN where a seed lacks a number."""
        return np.array([_number(one, x) - _number(one, y) for x, y in zip(*chosen, strict=True)])

    differences = of_seeds(sides.sum(2))
    used = np.isfinite(differences)
    if not used.any():
        return None
    sides, differences, n = sides[:, used], differences[used], int(known.sum())
    interval = _percentiles(n, lambda places: float(of_seeds(sides[:, :, places].sum(2)).mean()), resamples, seed)
    if interval is None:
        return None
    swapped = [
        float(of_seeds(np.where(swap[None, None, :, None, None], sides[::-1], sides).sum(2)).mean())
        for block in swaps(n, resamples, seed)
        for swap in block
    ]
    mean = float(differences.mean())
    same = int(sum(np.sign(differences) == np.sign(mean)))
    p = p_value(mean, np.array([one for one in swapped if math.isfinite(one)]))
    return Gain(mean, interval.low, interval.high, n=n, seeds=len(differences), same_sign=same, p=p)


def _paired_sums(a: SeedWeighted, b: SeedWeighted, queries: Sequence[str]) -> Floats:
    """(sum w v, sum w) of one metric under both methods, (2 sides, S, Q, 2); zeros where not both have measured."""
    seeds = len(next(iter(a.values())))
    nothing: list[None] = [None] * seeds
    full = [{query: side.get(query, nothing) for query in queries} for side in (a, b)]
    masks = np.array([measured_by_both(*(side[query] for side in full)) for query in queries]).T
    return np.stack([np.moveaxis(products_of(side, queries, masks), 0, -1) for side in full])


def _number(one: Derived, sums: Floats) -> float:
    """The derived number of the sums (M, 2) of its metrics; NaN where one has no weight, or the function gives none."""
    if not (sums[:, 1] > 0).all():
        return math.nan
    value = function_of(one.metric.aggregate)(dict(zip(one.of, sums[:, 0] / sums[:, 1], strict=True)))
    return math.nan if value is None else value


def _percentiles(size: int, compute: Callable[[Any], float], resamples: int, seed: int) -> Interval | None:
    """The 2.5th and 97.5th percentile of what `compute` makes of resampled places; None where most of these give no number."""
    if size < 2:
        return None
    found = [compute(places) for block in draws(size, resamples, seed) for places in block]
    finite = [value for value in found if math.isfinite(value)]
    if 2 * len(finite) < resamples:
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return Interval(float(low), float(high))


def function_of(name: str) -> Function:
    """The function of this dotted name, which an evaluator's card gives. Raises UserError where there is none."""
    found = named(name, "function")
    if not callable(found):
        raise UserError(f"{name} is no function; correct the evaluator's card")
    return found  # type: ignore[no-any-return]
