"""Whether an adapter's weights are those that its base takes, and putting them there.

PEFT loads what matches and passes over the rest, so that an adapter of another model changes nothing. Here each of its weights must
find its place, and each place its weight. The check at the start of a run does the same on the meta device, with the headers.
"""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vpo.errors import UserError
from vpo.language.checkpoints.files import ADAPTER_WEIGHTS, headers, read_json
from vpo.language.checkpoints.weights import WRAPPERS, empty_tensors
from vpo.language.checkpoints.wording import in_short, some

ADAPTER_CONFIG = "adapter_config.json"
# Their vectors lie once in the model and are referred to by every layer, so PEFT counts what is there as missing.
SHARED = ("TINYLORA", "UNILORA", "VBLORA")
_WRAPPER = re.compile(rf"(?<![^.])(?:{'|'.join(WRAPPERS)})\.")


def check_adapter(model: Any, folder: Path, where: str, base: str) -> Any:
    """The model of an adapter on the meta device. Raises UserError unless the adapter is one that can be merged, and fits.

    Args:
        model: the base on the meta device; it is changed in place.
        folder: of the adapter.
        where: what messages begin with.
        base: how the base is called in messages.
    """
    found = headers(folder / ADAPTER_WEIGHTS, where)
    merged = merge_adapter(model, folder, where, base, empty_tensors(found))
    _check_values(folder, where)
    return merged


def _check_values(folder: Path, where: str) -> None:
    """Raise UserError where an adapter's weights are no numbers, or a LoRA adapter's change nothing."""
    from safetensors import safe_open

    changes = False
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 (no mapping)
            value = file.get_tensor(name).float()
            if not torch.isfinite(value).all():
                raise UserError(f"{where}: {ADAPTER_WEIGHTS} holds NaN or infinity in {name}; copy or train it again")
            # A is drawn at random and B begins with zeros; embeddings have theirs the other way round.
            changes |= not ("lora_A" in name or "lora_embedding_B" in name) and bool(value.any())
    config = read_json(folder / ADAPTER_CONFIG, where)
    if config.get("peft_type") == "LORA" and (not changes or not config.get("lora_alpha", 1)):
        why = f"all its B are zero in {ADAPTER_WEIGHTS}" if not changes else f"lora_alpha is 0 in {ADAPTER_CONFIG}"
        raise UserError(f"{where}: the adapter changes nothing: {why}; use one that was trained, or the base alone")


def check_kind(folder: Path, where: str) -> None:
    """Raise UserError unless an adapter changes weights, so that it can be merged into them."""
    from peft import PeftType, PromptLearningConfig
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    kind = read_json(folder / ADAPTER_CONFIG, where).get("peft_type")
    if kind not in set(PeftType):
        raise UserError(
            f"{where}: {ADAPTER_CONFIG} has peft_type {kind}, which this version of PEFT does not know; use a LoRA adapter"
        )
    if kind == PeftType.ADAPTION_PROMPT or issubclass(
        PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind)], PromptLearningConfig
    ):
        raise UserError(
            f"{where}: a {kind} adapter feeds the model learnt vectors and changes no weight, so it cannot be merged and is not read "
            "here; use a LoRA adapter, or the base alone"
        )


def merge_adapter(model: Any, folder: Path, where: str, base: str, weights: Mapping[str, Any] | None = None) -> Any:
    """The plain model that a base and the adapter in `folder` are together.

    Args:
        model: the base, with whole weights; it is changed in place.
        folder: of the adapter.
        where: what messages begin with.
        base: how the base is called in messages.
        weights: of the adapter, in place of those in its file.

    Raises:
        UserError: They do not fit, or such an adapter cannot be merged.
    """
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    check_kind(folder, where)
    empty = weights is not None
    if weights is None:
        headers(folder / ADAPTER_WEIGHTS, where)  # a damaged file is one line
        weights = load_file(folder / ADAPTER_WEIGHTS)
    weights = {_WRAPPER.sub("", name): value for name, value in weights.items()}
    try:
        config = PeftConfig.from_pretrained(str(folder))
        config.inference_mode = True
        config.base_model_name_or_path = None  # PEFT warns of a base in another place, which the weights decide
        with warnings.catch_warnings():
            # PEFT reads an attribute of transformers that has another name by now; a user can do nothing about it.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
            adapted = get_peft_model(model, config, low_cpu_mem_usage=empty)
        result = set_peft_model_state_dict(adapted, weights, low_cpu_mem_usage=empty)
        _check_result(result, config, weights, where, base)
        # PEFT freezes the base; a merged policy is as trainable as any other.
        return adapted.merge_and_unload().requires_grad_(True)
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # each kind of adapter refuses in a way of its own
        raise UserError(f"{where}: the adapter does not fit its base {base} ({in_short(error)}); {_cure()}") from error


def _check_result(result: Any, config: Any, weights: Mapping[str, Any], where: str, base: str) -> None:
    """Raise UserError where PEFT had weights left over, or places."""
    from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING

    if result.unexpected_keys:
        names = sorted(result.unexpected_keys)
        raise UserError(
            f"{where}: the adapter does not fit its base {base}: {len(names)} of its {len(weights)} weights belong to no module "
            f"there, such as {names[0]}; {_cure()}"
        )
    prefix = PEFT_TYPE_TO_PREFIX_MAPPING.get(config.peft_type, "")
    missing = sorted(name for name in result.missing_keys if prefix in name and ".default" in name)
    if missing and config.peft_type not in SHARED:
        raise UserError(
            f"{where}: {ADAPTER_WEIGHTS} lacks {len(missing)} weights that {ADAPTER_CONFIG} asks for: {some(missing)}; save the "
            f"adapter again, or {_cure()}"
        )


def _cure() -> str:
    return "name the base that it was trained on: backbone.base=<folder or hub id>"
