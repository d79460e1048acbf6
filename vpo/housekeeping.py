"""`vpo store ls` and `vpo store prune`: what is stored, how large it is, and who refers to it."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vpo.errors import UserError
from vpo.store import read_manifest

USAGE = (
    "`vpo store ls` or `vpo store prune`, with paths.store=... and paths.runs=... where they are not store/ and runs/; "
    "prune deletes with yes=true"
)


@dataclass(frozen=True)
class Stored:
    """One result in the store: its size in bytes, and the run folders whose results name it."""

    name: str
    folder: Path
    size: int
    created: str
    used_by: tuple[str, ...]


def store_command(arguments: list[str]) -> int:
    """Run `ls` or `prune`. Returns the exit code."""
    verb = arguments[0] if arguments else ""
    options = dict(part.split("=", 1) for part in arguments[1:] if "=" in part)
    unknown = sorted(set(options) - {"paths.store", "paths.runs", "yes"}) + [
        one for one in arguments[1:] if "=" not in one
    ]
    if verb not in ("ls", "prune") or unknown:
        raise UserError(f"store: {unknown[0] + ' is unknown; ' if unknown else ''}use {USAGE}")
    store, runs = Path(options.get("paths.store", "store")), Path(options.get("paths.runs", "runs"))
    if not store.is_dir():
        raise UserError(f"store: {store} is no folder; set paths.store")
    results = list(stored(store, runs))
    if verb == "ls":
        _list(results, store)
    else:
        _prune(results, store, really=options.get("yes") == "true")
    return 0


def stored(store: Path, runs: Path) -> Iterator[Stored]:
    """Every finished result of the store, by stage and time."""
    users: dict[str, list[str]] = {}
    for path in sorted(runs.rglob("results.json")):
        for name in json.loads(path.read_text())["run"].get("entries", ()):
            users.setdefault(name, []).append(str(path.parent.relative_to(runs)))
    manifests = sorted(
        store.glob("*/*/manifest.json"), key=lambda path: (path.parent.parent.name, path.stat().st_mtime)
    )
    for path in manifests:
        folder = path.parent
        name = f"{folder.parent.name}/{folder.name}"
        yield Stored(name, folder, size_of(folder), read_manifest(folder)["created"], tuple(users.get(name, ())))


def size_of(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def readable(size: int) -> str:
    """Bytes as a person reads them: 1536 is '1.5 kB'."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1024 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def _list(results: list[Stored], store: Path) -> None:
    lines = [f"{readable(one.size):>10}  {one.created}  {one.name:<30} {_users(one)}" for one in results]
    partial = list(store.glob("*/*.partial"))
    lines += [f"{readable(size_of(one)):>10}  {'unfinished':<20}  {one.relative_to(store)}" for one in partial]
    total = sum(one.size for one in results)
    free = sum(one.size for one in results if not one.used_by)
    lines.append(
        f"{readable(total):>10}  in {len(results)} results; {readable(free)} of it in results that no run refers to"
    )
    sys.stdout.write("\n".join([*lines, ""]))


def _users(one: Stored) -> str:
    return (
        "no run"
        if not one.used_by
        else one.used_by[0] + (f" and {len(one.used_by) - 1} more" if len(one.used_by) > 1 else "")
    )


def _prune(results: list[Stored], store: Path, really: bool) -> None:
    idle = [one for one in results if not one.used_by]
    total = readable(sum(one.size for one in idle))
    if not really:
        lines = [f"{readable(one.size):>10}  {one.name}" for one in idle]
        sys.stdout.write(
            "\n".join(
                [*lines, f"{total} in {len(idle)} results that no run refers to; add yes=true to delete them", ""]
            )
        )
        return
    for one in idle:
        shutil.rmtree(one.folder)
        one.folder.with_name(one.folder.name + ".lock").unlink(missing_ok=True)
    sys.stdout.write(f"deleted {total} in {len(idle)} results\n")
