"""LoRA adapters for training: small matrices added to frozen (for QLoRA: quantised) weights."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from vpo.errors import UserError

if TYPE_CHECKING:
    from peft import LoraConfig

log = logging.getLogger(__name__)

ALL_LINEAR = "all-linear"
ADAPTER = ("lora_A", "lora_B", "lora_dropout")  # PEFT's modules inside an adapted one
NEGLIGIBLE = 0.03  # share of the weights below which no warning is given: tables of decay rates, mixing factors
# PEFT refuses the first two in most of these kinds (its `_check_lora_target_modules_mamba`); the third is read as a matrix in
# transformers' models/{mamba,falcon_mamba,jamba}/modeling_*.py.
UNCALLED = ("out_proj", "conv1d", "dt_proj")
MAMBAS = ("falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h", "jamba")


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

    with adapter_errors_as_user_errors(recipe):
        adapted = get_peft_model(model, lora_config(recipe, model), autocast_adapter_dtype=True).eval()
    warn_of_weights_without_adapter(adapted, all_linear=recipe["target_modules"] == ALL_LINEAR)
    return adapted


def warn_of_weights_without_adapter(model: Any, *, all_linear: bool) -> None:
    """Warn in one line of weight matrices that cannot have an adapter, where they are more than a few.

    Examples are the experts of gpt_oss, which are one tensor each and in no linear layer, and routers.

    Args:
        model: a PEFT model.
        all_linear: whether all linear layers were requested, so that one without an adapter counts, too.
    """
    head = model.get_base_model().get_output_embeddings()
    plain = (nn.Embedding, nn.Conv1d) if all_linear else (nn.Embedding, nn.Conv1d, nn.Linear)
    adapted, left_out = set[str](), Counter[str]()
    for name, module in model.get_base_model().named_modules():
        parts = [part for part in name.split(".") if not part.isdigit()]
        if hasattr(module, "lora_A"):
            adapted.add(parts[-1])
        elif module is not head and not isinstance(module, plain) and not {"base_layer", *ADAPTER} & set(parts):
            for own, parameter in module.named_parameters(recurse=False):
                if parameter.squeeze().ndim > 1 and not own.endswith("bias"):
                    left_out[".".join([*parts[-1:], own])] += parameter.numel()
    frozen = sum(one.numel() for one in model.parameters() if not one.requires_grad)
    if left_out.total() > NEGLIGIBLE * frozen and not int(os.environ.get("RANK", 0)):
        log.warning(
            "  the adapter is on %s; %s (%.0f %% of the weights) cannot have one and stay as they are",
            ", ".join(sorted(adapted)), ", ".join(sorted(left_out)), 100 * left_out.total() / frozen,
        )  # fmt: skip


def lora_config(recipe: Mapping[str, Any], model: Any) -> "LoraConfig":
    """PEFT's configuration of an adapter.

    Args:
        recipe: `r` (rank), `alpha` (the update is scaled by alpha / r), `dropout` (of the adapter's input) and
            `target_modules` ("all-linear", or names of linear layers such as q_proj).
        model: the one that gets it. "all-linear" leaves out the layers of a Mamba whose weights its scan reads without calling
            the layers: an adapter there would have no effect.
    """
    from peft import LoraConfig

    without_effect = UNCALLED if recipe["target_modules"] == ALL_LINEAR and model.config.model_type in MAMBAS else ()
    layers = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    return LoraConfig(
        r=recipe["r"],
        lora_alpha=recipe["alpha"],
        lora_dropout=recipe["dropout"],
        target_modules=recipe["target_modules"],
        exclude_modules=[name for name in without_effect if name in layers] or None,
        task_type="CAUSAL_LM",
    )


@contextmanager
def adapter_errors_as_user_errors(recipe: Mapping[str, Any]) -> Iterator[None]:
    """Turn the ValueError of a model that lacks the adapter's layers, or cannot have it there, into a UserError."""
    try:
        yield
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"adapter.target_modules={recipe['target_modules']}: {reason}") from error


def enable_adapter_dropout(model: nn.Module) -> None:
    """Put the adapters' dropout into training mode; everything else stays as loaded, in evaluation mode.

    A policy's own dropout stays off in both trainings, because DPO compares its log-probabilities with a reference that
    has none.
    """
    for name, module in model.named_modules():
        if "lora_dropout" in name:
            module.train()
