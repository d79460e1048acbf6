"""From a policy folder to files that plain transformers loads: copied where they are whole, merged where they are adapters."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.storage.jsonio import write_json

# What a model consists of, here and on the Hub. Nothing that can hold code: no pickles, no Python.
MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.jinja", "tokenizer.model")
# These say where a policy's weights come from, which may be a local path.
NOT_EXPORTED = ("start.json", "base.json", "adapter_config.json", "adapter_model.safetensors")
DTYPES = ("float32", "bfloat16", "float16")


def write_weights(policy: Path, out: Path, dtype: str | None) -> list[str]:
    """Write weights, tokenizer and template of `policy` to `out`.

    Args:
        policy: a policy folder: whole weights, or a PEFT adapter (adapter_config.json) over the base that it names
            (`vpo.language.checkpoints.merging`: merged into what it was trained on, a quantised base dequantised first).
        out: an empty folder.
        dtype: one of DTYPES; None keeps whole weights as they are, byte for byte, and what is merged in float32.

    Returns:
        Sentences for the model card on what was done to the weights.

    Raises:
        UserError: the base cannot be loaded or does not fit the adapter, or the weights are not finite.
    """
    is_adapter = (policy / "adapter_config.json").is_file()
    whole = not is_adapter and dtype is None
    files = [file for glob in MODEL_FILES for file in sorted(policy.glob(glob)) if file.name not in NOT_EXPORTED]
    for file in files:
        if whole or not file.name.endswith((".safetensors", ".safetensors.index.json")):
            shutil.copyfile(file, out / file.name)
    if whole:
        return []
    import torch

    from vpo.language.checkpoints.loading import load_pretrained

    model, tokenizer = load_pretrained(policy, torch.float32)
    model.to(getattr(torch, dtype or "float32")).save_pretrained(out)
    if not (out / "tokenizer_config.json").exists():  # an adapter that was trained with its base's
        tokenizer.save_pretrained(out)
    notes = ["The weights are LoRA adapters merged into their base."] if is_adapter else []
    if dtype not in (None, "float32"):
        notes.append(f"The weights were rounded to {dtype} on export; the results above were measured before that.")
    return notes


def stop_ids_of(folder: Path) -> list[int]:
    """The tokens at which the policy in a folder was sampled to: the end of its chat's turn, and EOS."""
    from transformers import AutoTokenizer

    from vpo.language.chat.rendering import Renderer

    return Renderer(
        AutoTokenizer.from_pretrained(folder), (folder / "template.txt").read_text(encoding="utf-8")
    ).stop_ids


# What an exported generation_config.json may keep of the base's: the ids of tokens, and, where it is not known how the policy
# was sampled, how the base is. Nothing else: no beams, no penalties, no suppressed tokens, no least or largest length.
TOKEN_IDS = ("bos_token_id", "pad_token_id")
SAMPLING = ("do_sample", "temperature", "top_p", "top_k")


def set_sampling(out: Path, method: Mapping[str, Any] | None, stop_ids: Sequence[int]) -> None:
    """Make `generate()` sample as the run's method does: temperature, top_p, longest answer, the tokens that end one.

    Args:
        out: the exported folder.
        method: the node of the method that samples from the policy; None where it is not known.
        stop_ids: the tokens at which sampling stops.
    """
    path = out / "generation_config.json"
    base = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kept = TOKEN_IDS if method is not None else (*TOKEN_IDS, *SAMPLING)
    config = {key: base[key] for key in kept if base.get(key) is not None}
    config["eos_token_id"] = list(stop_ids)
    if method is not None:
        sampled = method["temperature"] > 0
        # top_k=0: transformers would otherwise cut at 50.
        sampling = {"temperature": method["temperature"], "top_p": method["top_p"], "top_k": 0} if sampled else {}
        config |= {"do_sample": sampled, "max_new_tokens": method["max_new_tokens"], **sampling}
    write_json(path, config, indent=2, sort_keys=True)


def has_chat_template(folder: Path) -> bool:
    """Whether a model folder's tokenizer has a chat template, in a file of its own or in its config."""
    config = folder / "tokenizer_config.json"
    own = config.is_file() and bool(json.loads(config.read_text(encoding="utf-8")).get("chat_template"))
    return own or (folder / "chat_template.jinja").is_file()
