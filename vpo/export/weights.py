"""From a policy folder to files that plain transformers loads: copied where they are whole, merged where they are adapters."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.assets.folder import PREFIX, is_asset, known_asset
from vpo.errors import UserError
from vpo.storage.jsonio import write_json

# What a model consists of, here and on the Hub. Nothing that can hold code: no pickles, no Python.
MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.jinja", "tokenizer.model")
# These say where a policy's weights come from, which may be a local path.
NOT_EXPORTED = ("start.json", "base.json", "adapter_config.json", "adapter_model.safetensors")


def write_weights(policy: Path, out: Path, dtype: str | None) -> list[str]:
    """Write weights, tokenizer and template of `policy` to `out`.

    Args:
        policy: a policy folder: whole weights, or a PEFT adapter (adapter_config.json) over the base that it names
            (`vpo.language.checkpoints.merging`: merged into what it was trained on, a quantised base dequantised first).
        out: an empty folder.
        dtype: one of `vpo.export.form.DTYPES`; None keeps whole weights as they are, byte for byte, and what is merged in float32.

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


def write_adapter(policy: Path, out: Path) -> list[str]:
    """Write the LoRA adapter of `policy` alone, with tokenizer and template, to the empty folder `out`.

    Its adapter_config.json names the base as PEFT finds it elsewhere: by hub id and revision, or a local one by the last part of its
    path. Where the base is an asset of ours, whose weights are near the hub's, base.json names that, for vpo.

    Returns:
        Sentences for the model card on what the adapter needs.

    Raises:
        UserError: The policy has no adapter, or its base is nothing that others have.
    """
    merged = "export it with weights=merged"
    config_file = policy / "adapter_config.json"
    if not config_file.is_file():
        raise UserError(f"{policy}: all its weights were trained and there is no adapter; {merged}")
    from vpo.language.checkpoints.loading import load_tokenizer, pointer_of
    from vpo.language.checkpoints.merging import read_base, write_asset_base

    base = read_base(str(policy))
    folder, pointer = Path(base.source), pointer_of(base.source)
    if (folder / "adapter_config.json").is_file() or pointer.get("base"):
        raise UserError(f"{policy}: its adapter stands on another adapter, {base.source}; {merged}")
    if (folder / "template.txt").is_file() or (folder.name == "policy" and folder.is_dir() and not pointer):
        raise UserError(f"{policy}: its adapter stands on weights that a run of yours made, {base.source}; {merged}")
    for glob in MODEL_FILES:
        for file in sorted(policy.glob(glob)):
            if file.name not in ("start.json", "base.json"):
                shutil.copyfile(file, out / file.name)
    named, revision = (pointer["model"], pointer["revision"]) if pointer else (base.source, base.revision)
    sha256 = revision
    asset = known_asset(named) if is_asset(named) else None
    if asset is not None and asset.hub is not None:
        named, revision = asset.hub.id, asset.hub.revision
    elif is_asset(named):
        raise UserError(f"{policy}: its adapter stands on {named}, of which no place on the hub is known; {merged}")
    is_local = Path(named).is_absolute() or Path(named).is_dir()
    named = Path(named).name if is_local else named
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": named, "revision": revision}
    write_json(out / "adapter_config.json", config, indent=2, sort_keys=True)
    if not (out / "tokenizer_config.json").exists():
        load_tokenizer(policy).save_pretrained(out)
    notes = [
        f"The weights are a LoRA adapter alone; it needs its base, {named}" + (f" at {revision}." if revision else ".")
    ]
    if is_local:
        notes.append(
            f"The base was a local folder: put one called {named} where the model is loaded from (for vpo: backbone.base=<folder>)."
        )
    if asset is not None:
        write_asset_base(out, asset.name, sha256 or asset.origin.sha256, base)
        notes.append(
            f"It was trained on {PREFIX}{asset.name} of vpo ({asset.about}); on the weights of the hub it writes a little differently."
        )
    if base.bits:
        notes.append(
            f"It was trained on that base quantised to {base.bits} bits; on whole weights it writes a little differently."
        )
    return notes


def stop_ids_of(folder: Path) -> list[int]:
    """The tokens at which the policy in a folder was sampled to: the end of its chat's turn, and EOS."""
    from vpo.export.inside import renderer_of

    return renderer_of(folder).stop_ids


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
