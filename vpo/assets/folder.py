"""Where assets lie on this machine, and finding one by its name.

`asset:<name>` stands for a model wherever a config names a folder or a hub id. It does not say where the folder lies, so that a
result's key is the same on every machine.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from platformdirs import user_cache_path

from vpo.assets.manifest import NAME, Asset, read_manifest
from vpo.errors import UserError
from vpo.storage.jsonio import write_json

PREFIX = "asset:"
TINY = "tiny"  # the folder of the small random models, whose names begin with it: "tiny/cogvideox"
VARIABLE = "VPO_ASSETS"  # how paths.assets is passed on to the processes that a run starts
RECORD = "asset.json"


@dataclass(frozen=True)
class Record:
    """What the folder of an asset says of itself.

    Attributes:
        name: of the asset.
        origin: the wheel it is from, "name==version"; of a tiny model, the package whose code makes it.
        sha256: of that wheel; of a tiny model, of its files.
        files: {path in the folder: {"sha256", "size" in bytes}} of all its files.
        made_with: versions of the packages that prepared it.
    """

    name: str
    origin: str
    sha256: str
    files: dict[str, dict[str, str | int]]
    made_with: dict[str, str]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(int(one["size"]) for one in self.files.values())

    def write(self, folder: Path) -> None:
        """Write it into an asset's folder."""
        write_json(folder / RECORD, asdict(self), indent=1, sort_keys=True)


def assets_folder() -> Path:
    """The folder of all assets: paths.assets of the run, else $VPO_ASSETS, else in the user's cache."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else user_cache_path("vpo", appauthor=False) / "assets"


def use_folder(folder: str | Path | None) -> None:
    """Make a folder that of all assets, for this process and those that it starts; None changes nothing."""
    if folder is not None:
        os.environ[VARIABLE] = str(Path(folder).expanduser().absolute())


def read_record(folder: Path) -> Record | None:
    """The record of an asset's folder; None where the asset is not there. Raises UserError where it cannot be read."""
    try:
        return Record(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"assets: {folder / RECORD} cannot be read ({' '.join(str(error).split())[:120]}); "
            f"get the asset again: `vpo assets get {name_of(folder)} force=true`"
        ) from error


def is_tiny(name: str) -> bool:
    """Whether an asset's name is that of a small random model."""
    return name.startswith(f"{TINY}/") and NAME.fullmatch(name.removeprefix(f"{TINY}/")) is not None


def is_name(name: str) -> bool:
    """Whether an asset can have this name."""
    return NAME.fullmatch(name) is not None or is_tiny(name)


def name_of(folder: Path) -> str:
    """The name of the asset that lies in a folder."""
    return f"{TINY}/{folder.name}" if folder.parent.name == TINY else folder.name


def is_asset(source: object) -> bool:
    """Whether a model is named as an asset, `asset:<name>`."""
    return isinstance(source, str) and source.startswith(PREFIX)


def known_asset(source: str) -> Asset | None:
    """What the manifest says of the asset that is named `asset:<name>`; None where it has no such entry."""
    return read_manifest().get(source.removeprefix(PREFIX))


def find_asset(source: str, sha256: str | None, key: str) -> tuple[Path, str]:
    """The folder of the asset that is named `asset:<name>`, and the sha256 of what it was made from.

    Args:
        source: `asset:<name>`.
        sha256: of the asset that is wanted; None is the one that the manifest names.
        key: who names it, for messages: "backbone.model".

    Raises:
        UserError: It is not there, or another version of it is.
    """
    name = source.removeprefix(PREFIX)
    known = known_asset(source)
    folder = assets_folder() / name
    record = read_record(folder) if is_name(name) else None
    if record is None and is_tiny(name):
        raise UserError(
            f"{key}={source}: this tiny model is not in {folder.parent}; make them with `vpo assets get {TINY}`, or set paths.assets "
            "to where they lie"
        )
    if record is None and known is None:
        raise UserError(f"{key}={source}: there is no such asset; `vpo assets ls` lists them")
    if record is None:
        raise UserError(
            f"{key}={source}: this asset is not in {folder.parent}; get it with `vpo assets get {name}`, or set paths.assets to "
            "where it lies"
        )
    wanted = sha256 or (known.origin.sha256 if known else record.sha256)
    if record.sha256 != wanted:
        raise UserError(
            f"{key}={source}: {folder} holds another version of it (of {record.origin}, sha256 {record.sha256[:12]}, wanted "
            f"{wanted[:12]}); get it anew: `vpo assets get {name} force=true`"
        )
    return folder, record.sha256


def version_of(source: str) -> str | None:
    """The sha256 by which an asset's content enters a result's key, whether it is there or not; None where nobody knows it."""
    name = source.removeprefix(PREFIX)
    known = known_asset(source)
    if known is not None:
        return known.origin.sha256
    record = read_record(assets_folder() / name) if is_name(name) else None
    return record.sha256 if record else None


def local_path(source: str, key: str) -> Path:
    """Where a file or folder lies that is given by its path, or as `asset:<name>`; `key` names it in messages.

    Raises:
        UserError: It is an asset that is not there.
    """
    return find_asset(source, None, key)[0] if is_asset(source) else Path(source).expanduser()
