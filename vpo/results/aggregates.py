"""How the items of a method are aggregated to one number: `torchmetrics.Metric`s, which a metric of an evaluator's card names.

An aggregate is updated with `values` (N,) and `weights` (N,), float64, one entry an item that was measured (weights are 1 where
the evaluator gave none), and computes a number. Where it has a 95 % interval of its own it computes {"mean": number, "ci95": half the
interval's width} or {"mean", "low", "high"}. Any other gets one by resampling the items (`vpo.results.resampling`). Items that failed
are counted elsewhere and are in neither. `torchmetrics.MeanMetric` will do. Each metric of each method has an aggregate of its own:
none shares its state with another's.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from vpo.errors import UserError
from vpo.results.named import named
from vpo.results.resampling import Floats, Interval, interval_of_any, interval_of_mean


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
    """The mean over the items, each of which counts once."""

    def compute(self) -> float:
        values, _ = self._lists()
        return math.fsum(values) / len(values)


class WeightedMean(ItemAggregate):
    """sum w v / sum w over the items: frames or clips that count alike."""

    def compute(self) -> float:
        values, weights = self._lists()
        return math.fsum(v * w for v, w in zip(values, weights, strict=True)) / math.fsum(weights)


def aggregate_class(name: str) -> type[Metric]:
    """The class of this dotted name, which an evaluator's own code gives. Raises UserError where it is no torchmetrics.Metric."""
    found = named(name, "aggregate")
    if not (isinstance(found, type) and issubclass(found, Metric)):
        raise UserError(f"the aggregate {name} is no torchmetrics.Metric; correct the evaluator's card")
    return found


def aggregated(
    name: str, values: Sequence[float], weights: Sequence[float], *, share: bool = False
) -> dict[str, float | None]:
    """{"mean", "ci95", "low", "high"} of the items that were measured, at least one, by the aggregate of this dotted name.

    `low` and `high` are the ends of the 95 % interval, and `ci95` is half of its width. A number that is not finite is None, and so is
    the interval of a single item.

    Args:
        name: of the aggregate.
        values: (N,).
        weights: (N,).
        share: as in `interval_of_mean`.
    """
    kind = aggregate_class(name)
    found = _computed(kind, values, weights)
    result: dict[str, Any] = dict(found) if isinstance(found, dict) else {"mean": float(found)}
    interval = None
    if kind is MeanOfItems:
        interval = interval_of_mean(values, share=share)
    elif kind is WeightedMean:
        interval = interval_of_mean(values, weights, share=share)
    elif result.get("ci95") is not None:
        interval = Interval(result["mean"] - result["ci95"], result["mean"] + result["ci95"])
    elif result.get("low") is not None:
        interval = Interval(result["low"], result["high"])
    elif "ci95" not in result:
        interval = interval_of_any(
            lambda v, w: _mean_of(_computed(kind, v, w)), np.asarray(values, float), np.asarray(weights, float)
        )
    ends = {"ci95": interval.half, "low": interval.low, "high": interval.high} if interval else dict.fromkeys(ENDS)
    numbers = {"mean": result["mean"], **ends}
    return {key: value if value is not None and math.isfinite(value) else None for key, value in numbers.items()}


ENDS = ("ci95", "low", "high")  # of a result, besides its mean


def _computed(kind: type[Metric], values: Sequence[float] | Floats, weights: Sequence[float] | Floats) -> Any:
    metric = kind().set_dtype(torch.float64)
    metric.update(torch.as_tensor(values, dtype=torch.float64), torch.as_tensor(weights, dtype=torch.float64))
    return metric.compute()


def _mean_of(found: Any) -> float:
    return float(found["mean"] if isinstance(found, dict) else found)
