"""How the items of a method are aggregated to one number: `torchmetrics.Metric`s, which a metric of an evaluator's card names.

An aggregate is updated with `values` (N,) and `weights` (N,), float64, one entry an item that was measured (weights are 1 where
the evaluator gave none), and computes a number, or {"mean": number, "ci95": half width of its 95 % interval or None}. Items that
failed are counted elsewhere and are in neither. `torchmetrics.MeanMetric` will do, without an interval. Each metric of each
method has an aggregate of its own: none shares its state with another's.
"""

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from vpo.errors import UserError
from vpo.results.intervals import summarize, weighted_mean


class ItemAggregate(Metric):
    """Keeps all values and weights; a subclass computes the aggregate."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("values", [], dist_reduce_fx="cat")
        self.add_state("weights", [], dist_reduce_fx="cat")

    def update(self, values: torch.Tensor, weights: torch.Tensor) -> None:
        """Add items; both (N,), float64."""
        self.values.append(values)
        self.weights.append(weights)

    def _lists(self) -> tuple[list[float], list[float]]:
        return dim_zero_cat(self.values).tolist(), dim_zero_cat(self.weights).tolist()


class MeanOfItems(ItemAggregate):
    """The mean over the items, each of which counts once, with `intervals.summarize`'s interval."""

    def compute(self) -> dict[str, float | None]:
        values, _ = self._lists()
        result = summarize(values)
        return {"mean": result.mean, "ci95": result.ci95}


class WeightedMean(ItemAggregate):
    """sum w v / sum w over the items, with the interval of `intervals.weighted_mean`: frames or clips that count alike."""

    def compute(self) -> dict[str, float | None]:
        mean, half = weighted_mean(*self._lists())
        return {"mean": mean, "ci95": half}


def aggregate_class(name: str) -> type[Metric]:
    """The class of this dotted name, which an evaluator's own code gives. Raises UserError where it is no torchmetrics.Metric."""
    module, _, own = name.rpartition(".")
    try:
        found = getattr(import_module(module), own)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"the aggregate {name} cannot be imported: {error}; correct the evaluator's card") from error
    if not (isinstance(found, type) and issubclass(found, Metric)):
        raise UserError(f"the aggregate {name} is no torchmetrics.Metric; correct the evaluator's card")
    return found


def aggregated(name: str, values: Sequence[float], weights: Sequence[float]) -> dict[str, float | None]:
    """{"mean", "ci95"} of the items that were measured, at least one, by the aggregate of this dotted name.

    A number that is not finite is None.
    """
    metric = aggregate_class(name)().set_dtype(torch.float64)
    metric.update(torch.tensor(values, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64))
    found = metric.compute()
    result: dict[str, Any] = dict(found) if isinstance(found, dict) else {"mean": float(found), "ci95": None}
    return {key: value if value is not None and math.isfinite(value) else None for key, value in result.items()}
