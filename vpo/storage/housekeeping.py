"""`vpo store ls` and `vpo store prune`: what is stored, how large it is, and who refers to it.

The store lists the run folders that use it, wherever they lie (`vpo.storage.users`). A run also refers to what its own
`entries.json` and `results.json` name, which is all that is known of runs from before there was such a list: these are found
below paths.runs.

Rendered clips lie in `<store>/clips` too (`vpo.storage.clip_store`), and a clip in a stage's folder is mostly another name of the same
file. Its bytes are counted there, and not with the stage's folder, so that the sizes add up to what the disk holds.
"""

import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from vpo.errors import UserError
from vpo.storage.clip_store import clips_in, delete_clips, unused
from vpo.storage.folders import discard
from vpo.storage.shards import at_work
from vpo.storage.store import read_manifest
from vpo.storage.users import User, is_gone, is_there, registered


@dataclass(frozen=True)
class StoredFolder:
    """One folder of the store: its size in bytes without clips that lie in the clip store, when it was made (or its state), and the
    runs that refer to it."""

    name: str
    folder: Path
    size: int
    created: str
    used_by: tuple[str, ...]


def users_of(store: Path, runs: Path, gone: Iterable[Path] = ()) -> dict[str, list[str]]:
    """The runs that refer to each "stage/key". Raises UserError for a file that cannot be read.

    Args:
        store: lists run folders that use it.
        runs: where further run folders are looked for.
        gone: run folders that are listed, and known not to be there any more.
    """
    missing, home = set(gone), runs.resolve()
    entries = {user.run: set(user.entries) for user in registered(store) if user.run not in missing}
    files = (path for name in ("entries.json", "results.json") for path in runs.rglob(name))
    for folder in [*entries, *(path.parent.resolve() for path in files)]:
        entries.setdefault(folder, set()).update(_entries(folder))
    users: dict[str, list[str]] = {}
    for folder in sorted(entries):
        called = str(folder.relative_to(home)) if folder.is_relative_to(home) else str(folder)
        for name in sorted(entries[folder]):
            users.setdefault(name, []).append(called)
    return users


def gone_runs(store: Path, named: Path | None) -> set[Path]:
    """The listed run folders that are gone: deleted, as far as this can be known, or below `named`, which the user says is gone."""
    known = registered(store)
    return {user.run for user in known if is_gone(user, store) or (not is_there(user) and _is_named(user, named))}


def _is_named(user: User, named: Path | None) -> bool:
    return named is not None and user.run.is_relative_to(named.resolve())


def check_gone(store: Path, named: Path) -> None:
    """Raise UserError where run folders below `named`, which the user says are gone, are there, or none of them uses the store."""
    there = [user for user in registered(store) if _is_named(user, named) and is_there(user)]
    if there:
        raise UserError(
            f"store: gone={named}: {there[0].run} is still there; delete it first if its results may be pruned"
        )
    if not any(_is_named(user, named) for user in registered(store)):
        raise UserError(
            f"store: gone={named}: no run there uses {store}; `vpo store ls` lists the runs that cannot be seen"
        )


def report_missing(store: Path, gone: set[Path], sure: bool) -> None:
    """One line for each listed run folder that is not there; with `sure`, those that are gone are removed from the list."""
    for user in registered(store):
        if user.run in gone:
            sys.stdout.write(f"{user.run} is gone: {'forgotten' if sure else 'it no longer counts as a user'}\n")
            if sure:
                user.file.unlink(missing_ok=True)
        elif not is_there(user):
            sys.stdout.write(
                f"{user.run} cannot be seen (a disk that is not mounted, another machine's?): its results are kept; if it is gone "
                f"for good, add gone={user.run}\n"
            )


def stored(
    store: Path, users: Mapping[str, list[str]], clips: Collection[tuple[int, int]] = ()
) -> Iterator[StoredFolder]:
    """Every finished result of the store, by stage and time; `clips` are the identities of those in the clip store."""
    manifests = [path for path in store.glob("*/*/manifest.json") if not path.parent.suffix]
    for path in sorted(manifests, key=lambda path: (path.parent.parent.name, path.stat().st_mtime)):
        folder = path.parent
        name = f"{folder.parent.name}/{folder.name}"
        used_by = tuple(users.get(name, ()))
        yield StoredFolder(name, folder, size_of(folder, clips), read_manifest(folder)["created"], used_by)


def leftovers(
    store: Path, users: Mapping[str, list[str]], clips: Collection[tuple[int, int]] = ()
) -> Iterator[StoredFolder]:
    """Unfinished results, which a run that refers to them goes on with, and what a killed prune left."""
    for suffix, label in ((".partial", "unfinished"), (".trash", "half deleted")):
        for folder in sorted(path for path in store.glob(f"*/*{suffix}") if path.is_dir()):
            name = f"{folder.parent.name}/{folder.name}"
            yield StoredFolder(name, folder, size_of(folder, clips), label, tuple(users.get(_wanted_as(name), ())))


def answers_in(cache: Path) -> list[Path]:
    """The answers of servers in a cache of them (`vpo.language.serving.cache`)."""
    return sorted(cache.glob("[0-9a-f][0-9a-f]/*.json"))


def delete_answers(answers: Iterable[Path]) -> None:
    """Delete answers, and the folders that are empty then. A run that is at work asks the server again for what it has not read."""
    for path in answers:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: it holds other answers, or the lock of a request
            path.parent.rmdir()


def size_of(folder: Path, without: Collection[tuple[int, int]] = ()) -> int:
    """Bytes of all files under a folder; `without` those of these identities, (device, inode)."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # a run that is at work renames its files
                facts = os.stat(os.path.join(root, name))
                total += facts.st_size if (facts.st_dev, facts.st_ino) not in without else 0
    return total


def readable(size: int) -> str:
    """Bytes as a person reads them: 1536 is '1.5 kB'."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1024 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def _entries(folder: Path) -> set[str]:
    paths = (folder / "entries.json", folder / "results.json")
    return {name for path in paths if path.exists() for name in _names(path)}


def _names(path: Path) -> list[str]:
    """The "stage/key" names in a run's file. A damaged one is an error, as its results would be taken for unused.

    Nothing else of results.json is checked here: any version of it names what must be kept.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = content if path.name == "entries.json" else content["run"].get("entries", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError('expected a list of "stage/key"')
        return names
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); start its run again, or delete the file if its results may be pruned"
        ) from error


def prune(found: list[StoredFolder], store: Path, runs: Path) -> None:
    """Delete what no run refers to, then the clips that no result uses any more, and say how much that was."""
    deleted = [one for one in found if not one.used_by and _delete(one, store, runs)]
    sys.stdout.write(f"deleted {readable(sum(one.size for one in deleted))} in {len(deleted)} results\n")
    idle = unused(clips_in(store))
    if idle:
        sys.stdout.write(f"deleted {readable(delete_clips(idle))} in {len(idle)} clips that no result uses\n")


def _delete(one: StoredFolder, store: Path, runs: Path) -> bool:
    """Delete one folder under its result's lock; False where it is kept, which is printed, or gone already."""
    # The lock file stays: to unlink it could split one lock into two. It is empty, and the next run takes it again.
    lock = FileLock(one.folder.with_name(_key(one.folder) + ".lock"))
    try:
        with lock.acquire(timeout=0):
            # Looked up again: a run may have asked for it since the folders were measured.
            if _wanted_as(one.name) in users_of(store, runs):
                sys.stdout.write(f"kept {one.name}: a run refers to it by now\n")
                return False
            if not one.folder.exists():
                return False
            if any(at_work(one.folder)):
                raise Timeout(str(one.folder))
            discard(one.folder)
            return True
    except Timeout:
        sys.stdout.write(f"kept {one.name}: another process holds it\n")
        return False
    except OSError as error:
        raise UserError(
            f"{one.folder}: {(error.strerror or str(error)).lower()}; make it deletable, then prune again"
        ) from error


def _key(folder: Path) -> str:
    return folder.name.split(".")[0]


def _wanted_as(name: str) -> str:
    """What a run calls the result that a folder holds or will hold; no run uses trash, which keeps its name."""
    return name.removesuffix(".partial")
