"""LoRA adapters for training: small matrices beside frozen (for QLoRA: quantised) weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from vpo.errors import UserError

if TYPE_CHECKING:
    from peft import LoraConfig


def add_adapter(model: Any, recipe: Mapping[str, Any]) -> Any:
    """Freeze a model and give it a fresh adapter, which changes nothing yet: its second factor is zero.

    Args:
        model: a plain causal language model, quantised or not; it is changed in place.
        recipe: as in `lora_config`.

    Returns:
        A PEFT model in evaluation mode, as models are loaded, whose only trainable parameters are the adapter's: in 32 bits,
        whatever the model's dtype.

    Raises:
        UserError: If the model has no such layers.
    """
    from peft import get_peft_model

    with refusing_targets(recipe):
        return get_peft_model(model, lora_config(recipe), autocast_adapter_dtype=True).eval()


def lora_config(recipe: Mapping[str, Any]) -> "LoraConfig":
    """An adapter in PEFT's words.

    Args:
        recipe: `r` (rank), `alpha` (the update is scaled by alpha / r), `dropout` (of the adapter's input) and
            `target_modules` ("all-linear", or names of linear layers such as q_proj).
    """
    from peft import LoraConfig

    return LoraConfig(
        r=recipe["r"],
        lora_alpha=recipe["alpha"],
        lora_dropout=recipe["dropout"],
        target_modules=recipe["target_modules"],
        task_type="CAUSAL_LM",
    )


@contextmanager
def refusing_targets(recipe: Mapping[str, Any]) -> Iterator[None]:
    """Turn the ValueError of a model that lacks the adapter's layers, or cannot have it there, into a UserError."""
    try:
        yield
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"adapter.target_modules={recipe['target_modules']}: {reason}") from error


def switch_dropout_on(model: nn.Module) -> None:
    """Put the adapters' dropout into training mode; everything else stays as loaded, in evaluation mode.

    A policy's own dropout stays off in both trainings, because DPO compares its log-probabilities with a reference that
    has none.
    """
    for name, module in model.named_modules():
        if "lora_dropout" in name:
            module.train()
