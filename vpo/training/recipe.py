"""The checks of a training recipe, made before any work is done; imports no torch."""

from collections.abc import Mapping
from typing import Any

from vpo.errors import UserError
from vpo.language.checkpoints.quantising import check_bits
from vpo.processes.hardware import SHARDED

SCHEDULES = ("constant", "linear", "cosine", "step")  # those of `vpo.training.modules`, which imports torch


def check_recipe(name: str, recipe: Mapping[str, Any]) -> None:
    """Raise UserError for an adapter, an optimizer or a choice of checkpoint that cannot be.

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
    check_optimizer(name, recipe["optimizer"] or {})
    adapter = recipe["adapter"]
    if adapter is None:
        return
    if not isinstance(adapter["r"], int) or adapter["r"] < 1:
        raise UserError(f"config: {name}.adapter.r={adapter['r']} must be a whole number of at least 1")
    if not isinstance(adapter["dropout"], int | float) or not 0 <= adapter["dropout"] < 1:
        raise UserError(f"config: {name}.adapter.dropout={adapter['dropout']} must lie in [0, 1)")
    check_bits(adapter["bits"], f"config: {name}.adapter.bits")


def check_optimizer(name: str, optimizer: Mapping[str, Any]) -> None:
    """Raise UserError for a schedule or a clipping that cannot be; `objective=none` has no optimizer, and nothing to check."""
    schedule, clip, gamma = (optimizer.get(key) for key in ("schedule", "clip", "gamma"))
    if optimizer and schedule not in SCHEDULES:
        raise UserError(
            f"config: {name}.optimizer.schedule={schedule} is unknown; choose one of {', '.join(SCHEDULES)}"
        )
    if schedule == "step" and not (isinstance(gamma, int | float) and 0 < gamma <= 1):
        raise UserError(
            f"config: {name}.optimizer.schedule=step multiplies the rate after every epoch by gamma, which must lie in (0, 1]; "
            f"set +{name}.optimizer.gamma=0.85"
        )
    if clip is not None and not (isinstance(clip, int | float) and clip >= 0):
        raise UserError(f"config: {name}.optimizer.clip={clip} must be a norm, or null to clip nothing")


def bits_of(recipe: Mapping[str, Any]) -> int | None:
    """To how many bits a recipe quantises the policy that it starts from; None for whole weights."""
    return recipe["adapter"]["bits"] if recipe["adapter"] else None


def base_dtype(adapter: Mapping[str, Any] | None, trainer: Mapping[str, Any]) -> str:
    """The torch dtype, by name, in which a training reads the weights that it starts from.

    An adapter's base is frozen, so it needs no more bits than the layers compute with: bfloat16 where the trainer computes in
    16 bits. The adapter itself stays in 32. Under 16-mixed, too: a residual stream in float16 overflows in models that were
    trained in bfloat16. Weights that are trained are kept in 32 bits. So are sharded ones: FSDP puts a layer's weights into one
    piece, which takes one dtype, and DeepSpeed's engine makes 16-bit weights itself.

    Args:
        adapter: the recipe's adapter node; None trains all weights.
        trainer: its node; read are strategy and precision.
    """
    mixed = str(trainer["precision"]) in ("bf16-mixed", "16-mixed")
    return "bfloat16" if adapter and mixed and trainer["strategy"] not in SHARDED else "float32"
