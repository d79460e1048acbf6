"""What a card names by a dotted name: an aggregate's class, or a function that makes one number of others."""

from importlib import import_module
from typing import Any

from vpo.errors import UserError


def named(name: str, what: str) -> Any:
    """The object of this dotted name. Raises UserError, which says `what` it was to be, where it cannot be imported."""
    module, _, own = name.rpartition(".")
    try:
        return getattr(import_module(module), own)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"the {what} {name} cannot be imported: {error}; correct the evaluator's card") from error
