"""Adapters on a base: how the files of a LoRA or QLoRA policy become a model again.

A policy folder holds whole weights, or an adapter alone. An adapter stands on a base: the policy that its training
started from, which may be an adapter itself (DPO on a merged SFT adapter) or a model of the hub. `base.json` beside the
adapter says where the base lies, how it was quantised and whether it was read in 16 bits; of an exported adapter it names the asset
that it was trained on. An adapter that PEFT saved elsewhere has no such file and is taken at its `adapter_config.json`.

Reading is one rule: an adapter is always *merged* into its base, so a loaded policy is a plain model. It is what DPO starts
from and what its reference is read with (LoRA-DPO on an unmerged SFT adapter takes the base for the reference:
hiyouga/LlamaFactory#8459). Where the adapter was trained on quantised weights, it is merged into exactly those, dequantised.
Where it was trained on weights rounded to 16 bits, it is merged into exactly those, too, widened to what the reader asks for.
A reader of 32 bits (export, full training) gets what was trained and loses nothing. A reader of 16 bits (sampling, the next
adapter's training and its reference) gets the sum rounded to the nearest: of a change below half a step of a weight, 1/512
of it, nothing is left, so that this is another policy, a little, but the same one for all of these readers.
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpo.assets.folder import PREFIX, find_asset, is_asset
from vpo.errors import UserError
from vpo.language.checkpoints.files import read_json
from vpo.storage.jsonio import write_json

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


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


def read_base(source: str, given: Mapping[str, Any] | None = None, where: str = "") -> Base | None:
    """The base of the adapter in a folder; None where it is no adapter folder.

    Args:
        source: the folder.
        given: `model` (a folder or hub id) and `revision` of the base to take, wherever the adapter's own files say it lies.
        where: what messages begin with; `source` if empty.

    Raises:
        UserError: The base is not named, or not there.
    """
    folder, where = Path(source), where or source
    config = folder / "adapter_config.json"
    if not config.exists():
        return None
    pointer = config.with_name("base.json")
    stored = read_json(pointer, where) if pointer.exists() else {}
    trained_on = {name: stored.get(name) for name in ("bits", "dtype")}
    if given is not None:
        return Base(given["model"], given["revision"], **trained_on)
    if not stored:
        known = read_json(config, where)
        return Base(find_base(known.get("base_model_name_or_path"), folder, where), known.get("revision"))
    if "asset" in stored:
        return _asset_base(stored, folder, where, trained_on)
    base = folder / stored["folder"]
    if not base.is_dir():
        raise UserError(
            f"{where}: the adapter's base {base.resolve()} is not there; put it back, or name its place in {pointer}"
        )
    return Base(str(base.resolve()), **trained_on)


def _asset_base(stored: Mapping[str, Any], folder: Path, where: str, trained_on: Mapping[str, Any]) -> Base:
    """The asset that an exported adapter was trained on, where it is at hand; else the model of the hub that its config names."""
    name, sha256 = f"{PREFIX}{stored['asset']}", stored.get("sha256")
    try:
        find_asset(name, sha256, where)
    except UserError as error:
        known = read_json(folder / "adapter_config.json", where)
        base = Base(find_base(known.get("base_model_name_or_path"), folder, where), known.get("revision"), **trained_on)
        log.info("%s; %s is taken, which differs from it a little", error, base.source)
        return base
    return Base(name, sha256, **trained_on)


def write_asset_base(folder: Path, name: str, sha256: str, base: Base) -> None:
    """Say that the adapter in `folder`, whose config names a model of the hub, was trained on an asset.

    Args:
        folder: of the adapter, to be used on other machines.
        name: of the asset.
        sha256: of what it was made from.
        base: how it was read.
    """
    settings = {"asset": name, "sha256": sha256, "bits": base.bits, "dtype": base.dtype}
    write_json(folder / "base.json", {key: value for key, value in settings.items() if value is not None})


def find_base(name: str | None, folder: Path, where: str) -> str:
    """Where the base lies that an adapter_config.json names: a folder as an absolute path, a hub id or an asset as it is.

    A path may be relative to where we work, as PEFT writes it, or to the adapter's folder; one from another machine may lie
    beside the adapter under its last name. Without a name it is the folder that holds the adapter, or the only model beside it.

    Raises:
        UserError: No such folder is there.
    """
    here = folder.resolve()
    if not name:
        beside = [one for one in sorted(here.parent.iterdir()) if (one / "config.json").is_file()]
        found = [here.parent] if (here.parent / "config.json").is_file() else beside
        if len(found) == 1:
            log.warning("%s: the adapter names no base; %s is taken, backbone.base= names another", where, found[0])
            return str(found[0])
        raise UserError(f"{where}: its adapter_config.json names no base; name it: backbone.base=<folder or hub id>")
    if not isinstance(name, str):
        raise UserError(
            f"{where}: its adapter_config.json has a base_model_name_or_path that is no text; name it: "
            "backbone.base=<folder or hub id>"
        )
    if is_asset(name):
        return name
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    is_path = name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1 or ":" in name
    places = [Path(name).expanduser(), here / name, *([here.parent / last] if is_path or "/" not in name else [])]
    for place in places:
        if _is_model(place, here):
            return str(place.resolve())
    if is_path:
        raise UserError(
            f"{where}: the adapter's base {name} is not there, neither from here nor from the adapter's folder; put it there, or "
            "name another place: backbone.base=<folder or hub id>"
        )
    return name


def _is_model(place: Path, adapter: Path) -> bool:
    """Whether a folder, other than the adapter's own, holds a model, an adapter or a pointer to one."""
    names = ("config.json", "adapter_config.json", "start.json")
    return place.is_dir() and place.resolve() != adapter and any((place / name).is_file() for name in names)


def write_base(folder: Path, base: Path, bits: int | None, dtype: str = "float32") -> None:
    """Say where the base of the adapter in `folder` lies: relative to it, so that a store can be moved or copied.

    PEFT's own tools read the path (or hub id) in `adapter_config.json`, which gets what they can load.
    """
    where = os.path.relpath(base.resolve(), folder.resolve())
    settings = {"folder": where, "bits": bits} | ({} if dtype == "float32" else {"dtype": dtype})
    write_json(folder / "base.json", settings)
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
    from vpo.language.checkpoints.adapters import merge_adapter

    if getattr(model, "is_quantized", False):
        model = model.to("cpu").dequantize()  # whole weights may not fit where the quantised ones do
    for parameter in model.parameters():  # and no buffer: rotary frequencies stay in 32 bits
        parameter.data = parameter.data.to(dtype)
    return merge_adapter(model, Path(folder), folder, model.name_or_path)
