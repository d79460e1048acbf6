"""Which run folders use a store, wherever they lie: the store keeps a list of its own.

Every run writes `<store>/users/<hash of its folder>.json` before its first stage and again with every result that it asks for:
{"run": its folder, "runs": the folder of all runs (paths.runs) in which it lies, "store": where the store lay, "entries":
["stage/key", ...]}. So results are
known to be in use although the run lies on a disk that is not mounted now, and a store that is moved takes the list with it.

A run folder that was deleted uses nothing, one that is out of reach uses what it did. The two look alike: the folder is not
there. It is taken for deleted where a folder above it shows that the disk is there:

- the folder of all runs, or one below it, and it is not empty (an unmounted disk leaves an empty folder in its place);
- or a folder that holds this store, too, other than the root of the file system (`runs/` beside `store/`, deleted as a whole). That
  tells nothing where the store has been moved since: the folder that was renamed may hold the run, too.

A run that lies where it did as seen from the store was moved with it, as in a project folder that got another name.

Anything else (the disk is not mounted, the run was made on another machine) counts as in use until `vpo store prune
gone=<folder>` says that it is gone.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vpo.errors import UserError
from vpo.storage.jsonio import write_json

USERS = "users"


@dataclass(frozen=True)
class User:
    """A run that uses the store.

    Attributes:
        file: where the store says so.
        run, runs: its folder, and the folder of all runs in which that lies.
        store: where the store lay when the run wrote this; None where it did not say so.
        entries: the results that it uses, as "stage/key".
    """

    file: Path
    run: Path
    runs: Path
    store: Path | None
    entries: tuple[str, ...]


class Registration:
    """The entry of one run in the store's list of users.

    While the run is at work the list also keeps what an earlier start of the same run asked for: prune must not delete what
    the run is going to use.
    """

    def __init__(self, store: Path, run: Path, runs: Path, refers_to: Iterable[str] = ()) -> None:
        """`refers_to`: results that the run's config names by a path. Raises UserError where the store cannot be written."""
        self.store, self.run, self.runs = store, run.resolve(), runs.resolve()
        self.refers_to = frozenset(refers_to)
        self.file = store / USERS / f"{hashlib.sha256(str(self.run).encode()).hexdigest()[:16]}.json"
        self._earlier = frozenset(_read(self.file).entries if self.file.exists() else ())
        self.write(())

    def write(self, entries: Iterable[str]) -> None:
        """Say what the run uses so far."""
        self._write(self._earlier.union(entries))

    def finish(self, entries: Iterable[str]) -> None:
        """Say what the finished run uses, and nothing else."""
        self._earlier = frozenset()
        self._write(entries)

    def _write(self, entries: Iterable[str]) -> None:
        content = {
            "run": str(self.run), "runs": str(self.runs), "store": str(self.store.resolve()),
            "entries": sorted(self.refers_to.union(entries)),
        }  # fmt: skip
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.file, content)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UserError(f"{self.store}: {reason}; set paths.store to a folder that can be written") from error


def registered(store: Path) -> list[User]:
    """All users of a store. Raises UserError for a file of the list that cannot be read."""
    return [_found(_read(file), store.resolve()) for file in sorted((store / USERS).glob("*.json"))]


def _found(user: User, store: Path) -> User:
    """The user where it is now: a run that is not there, and is beside the store as it was before, was moved with it."""
    if user.store in (None, store) or _is_folder(user.run):
        return user
    run, runs = (store / os.path.relpath(one, user.store) for one in (user.run, user.runs))
    return replace(user, run=run.resolve(), runs=runs.resolve(), store=store) if _is_folder(run) else user


def _read(file: Path) -> User:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        entries = content["entries"]
        if not isinstance(entries, list) or not all(isinstance(name, str) for name in entries):
            raise TypeError('expected a list of "stage/key"')
        home = content.get("store")
        return User(file, Path(content["run"]), Path(content["runs"]), home and Path(home), tuple(entries))
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(
            f"{file}: cannot be read ({error}); start its run again, or delete the file if its results may be pruned"
        ) from error


def is_there(user: User) -> bool:
    """Whether the run's folder can be seen."""
    return _is_folder(user.run)


def is_gone(user: User, store: Path) -> bool:
    """Whether the run's folder was deleted, as far as this can be known; see the top of this file."""
    if _is_folder(user.run):
        return False
    nearest = next((folder for folder in user.run.parents if _is_folder(folder)), None)
    if nearest is None or nearest == Path(nearest.anchor):
        return False
    if nearest.is_relative_to(user.runs):
        return nearest != user.runs or _is_not_empty(nearest)
    return store.resolve() == user.store and user.store.is_relative_to(nearest)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a disk that answers with an error counts as out of reach
        return False


def _is_not_empty(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return False


def references(value: Any, store: Path) -> set[str]:
    """The results that a config names by a path into the store, as `backbone.model=store/dpo/<key>/policy` does, and what
    these were made from."""
    root = store.resolve()
    found: set[str] = set()
    waiting = [_entry_at(text, root) for text in _texts(value)]
    while waiting:
        name = waiting.pop()
        if name is not None and name not in found:
            found.add(name)
            waiting += _inputs(root / name / "manifest.json")
    return found


def _entry_at(text: str, root: Path) -> str | None:
    """The "stage/key" of a path to, or into, a finished result."""
    try:
        path = Path(text).resolve()
        parts = path.relative_to(root).parts
        return (
            "/".join(parts[:2]) if len(parts) >= 2 and (root / parts[0] / parts[1] / "manifest.json").exists() else None
        )
    except (OSError, ValueError):  # not below the root; too long, or with a NUL, for a path
        return None


def _inputs(manifest: Path) -> list[str]:
    try:
        return list(json.loads(manifest.read_text(encoding="utf-8"))["inputs"].values())
    except (OSError, ValueError, LookupError, AttributeError):
        return []


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
