"""The files of a model folder, without loading the model: JSON, the headers of safetensors, who may read them.

What stands in a file's place when a download went wrong is recognised: a Git LFS pointer, a web page, the first part of a
file, nothing at all. Every fault is a UserError of one line that names the file and the cure.
"""

import json
import stat
from pathlib import Path
from typing import Any, NamedTuple

from vpo.errors import UserError

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
WEIGHTS, INDEX, ADAPTER_WEIGHTS = "model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"
# The JSON files that loading a model, a tokenizer or an adapter reads; a folder may hold others, which are nobody's business.
JSON_FILES = (
    "config.json", "generation_config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "chat_template.json", INDEX,
)  # fmt: skip
# What else a tokenizer is made of, as text or in a format of its own.
OTHER_FILES = ("merges.txt", "vocab.txt", "chat_template.jinja", "*.model")


class Header(NamedTuple):
    """What a safetensors file says of a tensor: its shape, and its dtype by the format's name ("F32", "BF16", "U8")."""

    shape: tuple[int, ...]
    dtype: str


def read_json(path: Path, where: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: the file.
        where: what the message begins with, such as `backbone.model=<folder>`.

    Raises:
        UserError: It is missing, is another file's stand-in, is not UTF-8, is not valid JSON or is no object.
    """
    data = _bytes(path, where)
    _check_content(path, data, where)
    if data.startswith(BYTE_ORDER_MARK):
        raise UserError(f"{where}: {path.name} begins with a byte order mark; save it as UTF-8 without one")
    try:
        value = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}: {path.name} is not UTF-8 (byte {error.start}); save it as UTF-8 without a byte order mark"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: {path.name} is not valid JSON ({error}); fix it there, or copy it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{where}: {path.name} holds a {type(value).__name__}, not an object {{...}}; copy it again")
    return value


def check_folder(folder: Path, where: str) -> None:
    """Raise UserError unless every JSON and every tokenizer file of a model folder can be read."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.exists():
            raise UserError(
                f"{where}: {path.name} is a link to {path.readlink()}, which is not there; copy the files themselves (`cp -rL`), or "
                "fetch them with `hf download`"
            )
    for name in JSON_FILES:
        if (folder / name).exists():
            read_json(folder / name, where)
    for pattern in OTHER_FILES:
        for path in sorted(folder.glob(pattern)):
            _check_content(path, _bytes(path, where, 1024), where)


def weight_files(folder: Path, where: str) -> list[Path]:
    """The safetensors files of a model, as transformers chooses them. Raises UserError where there are none, or too few."""
    if (folder / INDEX).exists():
        parts = read_json(folder / INDEX, where).get("weight_map")
        if not isinstance(parts, dict) or not parts or not all(isinstance(name, str) for name in parts.values()):
            raise UserError(f"{where}: {INDEX} has no weight_map from weights to files; copy it again")
        names = sorted(set(parts.values()))
        missing = [name for name in names if not (folder / name).exists()]
        if missing:
            raise UserError(
                f"{where}: {len(missing)} of {len(names)} weight files are missing, such as {missing[0]}; copy them"
            )
        if not (folder / WEIGHTS).exists():
            return [folder / name for name in names]
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    found = sorted(path.name for path in folder.glob("*.safetensors") if path.name != ADAPTER_WEIGHTS)
    if found:
        raise UserError(
            f"{where}: no {WEIGHTS} and no {INDEX}, only {found[0]}; rename it, or save the model with save_pretrained"
        )
    pickles = sorted(path.name for glob in ("*.bin", "*.pt", "*.pth") for path in folder.glob(glob))
    have = f"only {pickles[0]}, a pickle, which can run code" if pickles else "no weights"
    raise UserError(f"{where}: {have}; save the model as safetensors (save_pretrained does) where you trust its source")


def headers(path: Path, where: str) -> dict[str, Header]:
    """The tensors in a safetensors file by name; their values are not read. Raises UserError where it is damaged."""
    from safetensors import SafetensorError, safe_open

    _check_content(path, _bytes(path, where, 1024), where)
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return {name: Header(tuple(one.get_shape()), one.get_dtype()) for name, one in slices.items()}
    except SafetensorError as error:
        size, due = path.stat().st_size, _size_due(path)
        if due is not None and size < due:
            reason = f"is cut off, {size} of {due} bytes"
        else:
            reason = f"is no safetensors file, or damaged ({' '.join(str(error).split())[:120]})"
        raise UserError(f"{where}: {path.name} {reason}; copy it again") from error


def _size_due(path: Path) -> int | None:
    """The bytes that a safetensors file should have, by its header; None where that cannot be read.

    The format: 8 bytes with the header's length, the header as JSON, the tensors at the offsets that it gives.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            return None
        try:
            tensors = json.loads(file.read(length))
            ends = [one["data_offsets"][1] for name, one in tensors.items() if name != "__metadata__"]
            return 8 + length + max(ends, default=0)
        except (ValueError, LookupError, TypeError, AttributeError):
            return None


def _bytes(path: Path, where: str, count: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{where}: {path.name} cannot be read ({reason}); copy it again") from error


def _check_content(path: Path, data: bytes, where: str) -> None:
    """Raise UserError for what a failed download leaves in a file's place."""
    if not data.strip():
        raise UserError(f"{where}: {path.name} is empty; copy it again")
    if data.startswith(LFS_POINTER):
        raise UserError(
            f"{where}: {path.name} is a Git LFS pointer, not the file itself; fetch it with `git lfs pull` or `hf download`"
        )
    if path.suffix != ".jinja" and data.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise UserError(f"{where}: {path.name} is a web page, not the file itself; fetch it with `hf download`")


def share(folder: Path) -> None:
    """Let whoever may list a folder read its files: safetensors are written for their owner alone, whatever the umask says."""
    mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
    for path in folder.iterdir():
        if path.is_file():
            path.chmod(mode)
