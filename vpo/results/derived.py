"""Numbers that are made of a method's other numbers, as a benchmark's total is; a card names them (`vpo.cards.Derived`)."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from vpo.cards import Derived
from vpo.errors import UserError
from vpo.results.named import named
from vpo.results.resampling import Interval, draws

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

    Where one of the numbers that a derived one is made of is missing, it is left out: it is never made of some.

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
            counts = {count: sum(part[count] for part in parts) for count in ("n", "n_failed")}
            interval = interval_of(one, rows) if {*one.of} <= {*pairs} else None
            ends = (interval.half, interval.low, interval.high) if interval else (None, None, None)
            found[one.metric.name] = {"mean": value, **counts, **dict(zip(("ci95", "low", "high"), ends, strict=True))}
    return found


def interval_of(one: Derived, rows: Mapping[str, Rows]) -> Interval | None:
    """The percentile interval of a derived number over resamples of whole queries, so that all numbers of a query stay together.

    None for fewer than two queries, and where most resamples lack one of the numbers.
    """
    queries = list(dict.fromkeys(query for name in one.of for query, value, _ in rows[name] if value is not None))
    if len(queries) < 2:
        return None
    place_of = {query: place for place, query in enumerate(queries)}
    sums = np.zeros((len(queries), len(one.of), 2))  # of each query and metric: sum w v, sum w
    for column, name in enumerate(one.of):
        for query, value, weight in rows[name]:
            if value is not None:
                sums[place_of[query], column] += weight * value, weight
    function, found = function_of(one.metric.aggregate), []
    for block in draws(len(queries), RESAMPLES):
        for places in block:
            totals = sums[places].sum(0)
            if (totals[:, 1] > 0).all():
                found.append(function(dict(zip(one.of, totals[:, 0] / totals[:, 1], strict=True))))
    finite = [value for value in found if value is not None and math.isfinite(value)]
    if 2 * len(finite) < RESAMPLES:
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return Interval(float(low), float(high))


def function_of(name: str) -> Function:
    """The function of this dotted name, which an evaluator's card gives. Raises UserError where there is none."""
    found = named(name, "function")
    if not callable(found):
        raise UserError(f"{name} is no function; correct the evaluator's card")
    return found  # type: ignore[no-any-return]
