"""Numbers that are made of the items of all methods together, as strengths from pairwise comparisons are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vpo.cards import Metric
from vpo.errors import UserError
from vpo.results.named import named

Summary = dict[str, Any]  # {"mean", "n", "n_failed", "ci95"}
Across = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Summary]]


def function_across(metric: Metric) -> Across:
    """The function that a metric's card names. Raises UserError where there is none."""
    found = named(metric.aggregate, "aggregate")
    if isinstance(found, type) or not callable(found):
        raise UserError(
            f"the aggregate {metric.aggregate} is no function, which the metric {metric.name!r} across methods needs; correct the "
            "evaluator's card"
        )
    function: Across = found
    return function


def summaries_across(items: Sequence[Mapping[str, Any]], metrics: Sequence[Metric]) -> dict[str, dict[str, Summary]]:
    """{method: {metric: summary}} of those metrics that are made across methods.

    Args:
        items: of a run, one a (query, method), as items.jsonl has them.
        metrics: of the evaluators' cards.
    """
    found: dict[str, dict[str, Summary]] = {}
    for metric in metrics:
        if metric.across:
            for method, summary in function_across(metric)(items).items():
                found.setdefault(method, {})[metric.name] = summary
    return found
