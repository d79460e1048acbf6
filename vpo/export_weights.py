"""From a policy folder to files that plain transformers loads: copied where they are whole, merged where they are adapters."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vpo.errors import UserError

# What a model consists of, here and on the Hub. Nothing that can hold code: no pickles, no Python.
MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.jinja", "tokenizer.model")
NOT_EXPORTED = ("start.json", "adapter_config.json", "adapter_model.safetensors")
DTYPES = ("float32", "bfloat16", "float16")


def write_weights(policy: Path, out: Path, dtype: str | None) -> list[str]:
    """Write weights, tokenizer and template of `policy` to `out`.

    Args:
        policy: a policy folder: whole weights, or a PEFT adapter (adapter_config.json) over the base that it names.
        out: an empty folder.
        dtype: one of DTYPES; None keeps the weights as they are (a merged model: as its base is stored).

    Returns:
        Sentences for the model card on what was done to the weights.

    Raises:
        UserError: the base cannot be loaded or does not fit the adapter, or the weights are not finite.
    """
    is_adapter = (policy / "adapter_config.json").is_file()
    for file in _files(policy):
        if file.suffix != ".safetensors" or not (is_adapter or dtype):
            shutil.copyfile(file, out / file.name)
    if not is_adapter and not dtype:
        return []
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    notes = (
        ["The weights are LoRA adapters merged into their base, which was loaded unquantised."] if is_adapter else []
    )
    model, stored = _merged(policy) if is_adapter else _load(str(policy), None)
    kept = dtype or stored
    if kept != "float32":
        notes.append(
            f"The weights were rounded to {kept} after training; the measurements above are of the weights before."
        )
    _save(model, out, kept)
    if is_adapter and not (out / "tokenizer_config.json").exists():
        _save_tokenizer(policy, out)
    return notes


def set_sampling(out: Path, method: Mapping[str, Any] | None) -> None:
    """Make `generate()` sample as the run's method does (temperature, top_p, longest answer), with nothing cut by rank."""
    path = out / "generation_config.json"
    config = json.loads(path.read_text()) if path.is_file() else {}
    config.pop("_from_model_config", None)  # it would let transformers replace what is set here
    if method is not None:
        warm = method["temperature"] > 0
        config |= {"do_sample": warm, "max_new_tokens": method["max_new_tokens"]}
        sampling = {"temperature": method["temperature"], "top_p": method["top_p"], "top_k": 0} if warm else {}
        config = {
            key: value for key, value in config.items() if key not in ("temperature", "top_p", "top_k")
        } | sampling
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def has_chat_template(folder: Path) -> bool:
    """Whether a model folder's tokenizer has a chat template, in a file of its own or in its config."""
    config = folder / "tokenizer_config.json"
    own = config.is_file() and bool(json.loads(config.read_text(encoding="utf-8")).get("chat_template"))
    return own or (folder / "chat_template.jinja").is_file()


def _files(policy: Path) -> list[Path]:
    return [file for glob in MODEL_FILES for file in sorted(policy.glob(glob)) if file.name not in NOT_EXPORTED]


def _merged(policy: Path) -> tuple[Any, str]:
    """The adapter's base with the adapter added into it, in float32, and the dtype in which the base is stored.

    The base may be an adapter itself: a DPO adapter over an SFT adapter.
    """
    from peft import PeftModel

    adapter = json.loads((policy / "adapter_config.json").read_text())
    base, revision = _base(adapter)
    inner = Path(base)
    model, stored = _merged(inner) if (inner / "adapter_config.json").is_file() else _load(base, revision)
    try:
        return PeftModel.from_pretrained(model, str(policy)).merge_and_unload(safe_merge=True), stored
    except (ValueError, RuntimeError) as error:  # shapes of another base; weights that are not finite
        raise UserError(
            f"{policy}: does not go into its base {base} ({_short(error)}); it needs the one it was trained on"
        ) from error


def _base(adapter: Mapping[str, Any]) -> tuple[str, str | None]:
    """What an adapter lies over: a folder or hub id, and its revision. A stored policy may only point to a released model."""
    base, revision = str(adapter["base_model_name_or_path"]), adapter.get("revision")
    pointer = Path(base) / "start.json"
    if pointer.is_file():
        told = json.loads(pointer.read_text())
        return told["model"], told["revision"]
    return base, revision


def _load(source: str, revision: str | None) -> tuple[Any, str]:
    """A model in float32, never quantised, and the dtype in which it is stored."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(source, revision=revision)
        if getattr(config, "quantization_config", None):
            raise UserError(f"{source}: is stored quantised, so nothing exact can be merged into it; name the unquantised base "
                            "in adapter_config.json (base_model_name_or_path)")  # fmt: skip
        stored = str(config.dtype or "float32").removeprefix("torch.")
        model = AutoModelForCausalLM.from_pretrained(
            source, revision=revision, dtype=torch.float32, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"{source}: cannot be loaded ({_short(error)}); it must be a folder or hub id that you can read"
        ) from error
    return model, stored


def _save(model: Any, out: Path, dtype: str) -> None:
    import torch

    model.to(getattr(torch, dtype)).save_pretrained(out)


def _save_tokenizer(policy: Path, out: Path) -> None:
    """An adapter folder without a tokenizer of its own was trained with its base's."""
    from transformers import AutoTokenizer

    base, revision = _base(json.loads((policy / "adapter_config.json").read_text()))
    AutoTokenizer.from_pretrained(base, revision=revision).save_pretrained(out)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
