"""Adapters on a base: how the files of a LoRA or QLoRA policy become a model again.

A policy folder holds whole weights, or an adapter alone. An adapter stands on a base: the policy that its training
started from, which may be an adapter itself (DPO on a merged SFT adapter) or a model of the hub. `base.json` beside the
adapter says where the base lies, how it was quantised and whether it was read in 16 bits; an adapter that PEFT saved elsewhere
has no such file and is taken at its `adapter_config.json`.

Reading is one rule: an adapter is always *merged* into its base, so a loaded policy is a plain model. It is what DPO starts
from and what its reference is read with (LoRA-DPO on an unmerged SFT adapter takes the base for the reference:
hiyouga/LlamaFactory#8459). Where the adapter was trained on quantised weights, it is merged into exactly those, dequantised.
Where it was trained on weights rounded to 16 bits, it is merged into exactly those, too, widened to what the reader asks for.
A reader of 32 bits (export, full training) gets what was trained and loses nothing. A reader of 16 bits (sampling, the next
adapter's training and its reference) gets the sum rounded to the nearest: of a change below half a step of a weight, 1/512
of it, nothing is left, so that this is another policy, a little, but the same one for all of these readers.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpo.errors import UserError
from vpo.storage.jsonio import write_json

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Base:
    """What an adapter stands on.

    Attributes:
        source: a policy folder, a model folder or a hub id.
        revision: of a hub id.
        bits: 4 or 8 where the adapter was trained on weights quantised to so many; None for whole ones.
        dtype: torch dtype, by name, of the 16-bit weights that the adapter was trained on; None for 32 bits, or where it is
            not known, and the base is read as the reader asks.
    """

    source: str
    revision: str | None = None
    bits: int | None = None
    dtype: str | None = None


def read_base(source: str) -> Base | None:
    """The base of the adapter in a folder; None where it is no adapter folder. Raises UserError when the base is gone."""
    config = Path(source) / "adapter_config.json"
    if not config.exists():
        return None
    pointer = config.with_name("base.json")
    if not pointer.exists():
        known = json.loads(config.read_text(encoding="utf-8"))
        return Base(known["base_model_name_or_path"], known.get("revision"))
    told = json.loads(pointer.read_text(encoding="utf-8"))
    folder = config.parent / told["folder"]
    if not folder.is_dir():
        raise UserError(
            f"{source}: the adapter's base {folder.resolve()} is not there; put it back, or name its place in {pointer}"
        )
    return Base(str(folder.resolve()), bits=told["bits"], dtype=told.get("dtype"))


def write_base(folder: Path, base: Path, bits: int | None, dtype: str = "float32") -> None:
    """Say where the base of the adapter in `folder` lies: relative to it, so that a store can be moved or copied.

    PEFT's own tools read the path (or hub id) in `adapter_config.json`, which gets what they can load.
    """
    where = os.path.relpath(base.resolve(), folder.resolve())
    told = {"folder": where, "bits": bits} | ({} if dtype == "float32" else {"dtype": dtype})
    write_json(folder / "base.json", told)
    released = base / "start.json"
    named = (
        json.loads(released.read_text(encoding="utf-8"))
        if released.exists()
        else {"model": str(base.resolve()), "revision": None}
    )
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": named["model"], "revision": named["revision"]}
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # a set, whose order differs from process to process
    write_json(path, config, indent=2, sort_keys=True)


def merge(model: Any, folder: str, dtype: "torch.dtype") -> Any:
    """The plain model that a base and the adapter in `folder` are together. Raises UserError where they do not fit.

    Args:
        model: the base, as the adapter was trained on it; it is changed in place.
        folder: of the adapter.
        dtype: in which they are added, and of the result.
    """
    from peft import PeftModel

    if getattr(model, "is_quantized", False):
        model = model.to("cpu").dequantize()  # whole weights may not fit where the quantised ones do
    for parameter in model.parameters():  # and no buffer: rotary frequencies stay in 32 bits
        parameter.data = parameter.data.to(dtype)
    try:
        # PEFT freezes the base; a merged policy is as trainable as any other.
        return PeftModel.from_pretrained(model, folder).merge_and_unload().requires_grad_(True)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{folder}: the adapter does not fit its base {model.name_or_path} ({reason})") from error
