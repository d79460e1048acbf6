"""What a training recipe may say, checked before any work is done; imports no torch."""

from collections.abc import Mapping
from typing import Any

from vpo.backbone.quantising import check_bits
from vpo.errors import UserError


def check_recipe(name: str, recipe: Mapping[str, Any]) -> None:
    """Raise UserError for an adapter or a choice of checkpoint that cannot be.

    Args:
        name: of the recipe in the config, for the message ("sft", "objective").
        recipe: its node.
    """
    if recipe["keep"] not in ("last", "best"):
        raise UserError(f"config: {name}.keep={recipe['keep']} must be last or best")
    if recipe["keep"] == "best" and not recipe.get("validation"):
        raise UserError(
            f"config: {name}.keep=best chooses by the validation loss; hold rows out, as in {name}.validation=0.05"
        )
    adapter = recipe["adapter"]
    if adapter is None:
        return
    if not isinstance(adapter["r"], int) or adapter["r"] < 1:
        raise UserError(f"config: {name}.adapter.r={adapter['r']} must be a whole number of at least 1")
    if not isinstance(adapter["dropout"], int | float) or not 0 <= adapter["dropout"] < 1:
        raise UserError(f"config: {name}.adapter.dropout={adapter['dropout']} must lie in [0, 1)")
    check_bits(adapter["bits"], f"config: {name}.adapter.bits")


def bits_of(recipe: Mapping[str, Any]) -> int | None:
    """To how many bits a recipe quantises the policy that it starts from; None for whole weights."""
    return recipe["adapter"]["bits"] if recipe["adapter"] else None
