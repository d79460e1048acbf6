"""Numbers that are made of a method's other numbers, as a benchmark's total is; a card names them (`vpo.cards.Derived`)."""

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from vpo.cards import Derived
from vpo.errors import UserError

Function = Callable[[Mapping[str, float]], float | None]


def with_derived(results: Mapping[str, Mapping[str, Any]], derived: Sequence[Derived]) -> dict[str, dict[str, Any]]:
    """A method's results, {metric: {mean, n, n_failed, ci95}}, with what can be derived of them.

    A derived number has no interval. Where one of the numbers that it is made of is missing, it is left out: it is never made of some.
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
            found[one.metric.name] = {"mean": value, **counts, "ci95": None, "low": None, "high": None}
    return found


def function_of(name: str) -> Function:
    """The function of this dotted name, which an evaluator's card gives. Raises UserError where there is none."""
    module, _, own = name.rpartition(".")
    try:
        found = getattr(import_module(module), own)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"the function {name} cannot be imported: {error}; correct the evaluator's card") from error
    if not callable(found):
        raise UserError(f"{name} is no function; correct the evaluator's card")
    return found  # type: ignore[no-any-return]
