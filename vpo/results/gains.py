"""How far the methods of a run are apart: each one less the first, on the same queries, metric by metric."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from vpo.cards import Derived, Metric, Weighted
from vpo.results.derived import paired_derived
from vpo.results.intervals import RESAMPLES, Gain, SeedWeighted, holm, paired_bootstrap, paired_weighted_bootstrap
from vpo.results.metrics import Metrics
from vpo.results.resampling import of_few_within

Items = Sequence[Mapping[str, Any]]  # lines of a run's items.jsonl
Sides = Sequence[tuple[Sequence[Items], str]]  # of a comparison: the items of runs, one a seed, and the method
FEWER = 2_000  # resamples of a comparison, where there are not so many that Holm's correction needs smaller p values


def gains_of(
    items: Items, results: Mapping[str, Mapping[str, Mapping[str, Any]]], metrics: Metrics
) -> dict[str, Any] | None:
    """The differences between each method of a run and its first one, as results.json keeps them; None for a single method.

    Of the metrics of the run's main table of which paired differences are defined. The p values are corrected over all of them.

    Args:
        items: the run's.
        results: {method: {metric: summary}}, in the order of the methods.
        metrics: of the cards.

    Returns:
        {"reference": the first method, "resamples": of each comparison, "differences": {metric: {method: {"mean", "low", "high", "n",
        "p", "p_holm"}}}}. A difference is missing where no query was measured under both methods.
    """
    reference, *others = results
    measured = list(dict.fromkeys(name for of_method in results.values() for name in of_method))
    asked = [
        (name, method)
        for name in metrics.main(measured)
        if metrics.can_be_compared(name)
        for method in others
        if name in results[method] and name in results[reference]
    ]
    if not others:
        return None
    resamples = max(FEWER, 100 * len(asked))
    found: dict[tuple[str, str], Gain] = {}
    for name, method in asked:
        sides = [([items], method), ([items], reference)]
        gain = gain_between(metrics[name], metrics.derived_of(name), sides, resamples=resamples)
        if gain is not None:
            found[name, method] = gain
    differences: dict[str, dict[str, dict[str, float]]] = {}
    for ((name, method), gain), p in zip(found.items(), holm([one.p for one in found.values()]), strict=True):
        numbers = {key: value for key, value in asdict(gain).items() if key in ("mean", "low", "high", "n", "p")}
        differences.setdefault(name, {})[method] = {**numbers, "p_holm": p}
    return {"reference": reference, "resamples": resamples, "differences": differences}


def gain_between(metric: Metric, derived: Derived | None, sides: Sides, resamples: int = RESAMPLES) -> Gain | None:
    """The difference between two methods, the first less the second; `derived` says of what the metric is made, if of others."""
    if derived is not None:
        parts = ({name: measured(runs, method, name) for name in derived.of} for runs, method in sides)
        return paired_derived(derived, *parts, resamples=resamples)
    a, b = (measured(runs, method, metric.name) for runs, method in sides)
    if not metric.mean_of_items:
        gain = paired_weighted_bootstrap(a, b, resamples=resamples)
    else:
        plain = ({query: [one and one[0] for one in pairs] for query, pairs in side.items()} for side in (a, b))
        gain = paired_bootstrap(*plain, resamples=resamples)
    least, greatest = metric.range or (None, None)
    if gain is None or least is None or greatest is None:
        return gain
    low, high = of_few_within(gain.low, gain.high, gain.n, least - greatest, greatest - least)
    return replace(gain, low=low, high=high)


def measured(runs: Sequence[Items], method: str, name: str) -> SeedWeighted:
    """found[query id][number of the run] = (value, weight); None where the metric failed or does not apply."""
    found: dict[str, list[tuple[float, float] | None]] = {}
    for number, items in enumerate(runs):
        for item in items:
            if item["method"] == method:
                of_query = found.setdefault(item["query_id"], [None] * len(runs))
                value, before = item["metrics"].get(name), of_query[number]
                if value is not None:  # rows of one query are pooled, as `vpo.results.gathering` does
                    one = (value, item.get("weights", {}).get(name, 1.0))
                    of_query[number] = one if before is None else _pooled(before, one)
    return found


def _pooled(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    pooled = Weighted.pooled(*zip(one, other, strict=True))
    return pooled.value, pooled.weight
