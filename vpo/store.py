"""Where stage results live: `<root>/<stage>/<key>/` with a `manifest.json` and the payload.

The key hashes the stage's config node and the keys of its inputs, nothing else, so an equal request finds its result
whichever experiment asks. A stage writes into `<key>.partial` and the folder is renamed when it is complete; a kill leaves
the partial folder for the next start. Of two processes that need the same result one computes and the other waits.
"""

import hashlib
import json
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from vpo.code_hash import code_hash
from vpo.errors import DISK_ERRORS, UserError
from vpo.items import read_failures
from vpo.records import Failure
from vpo.rows import read_rows

R = TypeVar("R")
log = logging.getLogger(__name__)

# Fields that cannot change a result. They may stand in a stage's node, at any depth, and are left out of its key. `policy` names
# what a stage is given or makes: its input and the stage itself are in the key.
# A test changes every other leaf of the composed config and expects a new key.
NOT_IN_KEYS = (
    "workers", "progress", "path", "cache_dir", "checkpoint_every", "label", "peak_tflops", "memory_gb", "policy"
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A finished (or, in a plan, a promised) stage result. `label` says to people what it is of: a method, "drafts"."""

    stage: str
    key: str
    folder: Path
    label: str = ""

    def rows(self, name: str, kind: type[R]) -> list[R]:
        """The records of one of the payload's JSONL files."""
        return read_rows(self.folder / name, kind)

    def failures(self, name: str) -> dict[str, Failure]:
        """What failed beside the records of one of the payload's JSONL files, by the id of the item."""
        return read_failures(self.folder / name)

    @property
    def called(self) -> str:
        """The stage and what it is of, as people read it: "render sft"."""
        return f"{self.stage} {self.label}".rstrip()

    @property
    def done(self) -> bool:
        return (self.folder / "manifest.json").exists()


class Store:
    """Finds stage results by what they depend on, or has them made once.

    Args:
        root: the folder of all results.
        recompute: names of stages whose results are to be made anew, once, with everything that depends on them.
        dry: promise results without making them; for plans and for tests of keys.
    """

    def __init__(self, root: Path, recompute: tuple[str, ...] = (), dry: bool = False) -> None:
        self.root, self.recompute, self.dry = root, recompute, dry
        self.used: dict[str, Entry] = {}
        # Told which results the run has asked for so far, before each is made; a run's folder keeps the list for `prune`.
        self.announce: Callable[[list[str]], None] = lambda names: None
        self._redone: set[str] = set()  # by this process: recompute redoes a stage once
        self._older: dict[str, bool] = {}  # stages with results of older code: whether that was said

    def get(
        self,
        stage: str,
        node: Mapping[str, Any],
        inputs: Mapping[str, Entry],
        work: Callable[[Path], Mapping[str, Any]],
        label: str = "",
    ) -> Entry:
        """The result of `stage` for this node and these inputs; `work(folder)` makes it and returns counts for the manifest.

        `label` is for log and plan alone: it is no part of the key.
        """
        key = stage_key(stage, node, inputs)
        entry = Entry(stage, key, self.root / stage / key, label if label != stage else "")
        self.used[f"{stage}/{key}"] = entry
        if self.dry:
            return entry
        self.announce(sorted(self.used))
        asked = stage in self.recompute and key not in self._redone
        if self._fresh(entry, inputs) and not asked:
            self._check_code(entry, node)
            return entry
        with self._lock(entry):
            if entry.done and (asked or not self._fresh(entry, inputs)):
                log.info("%s: made anew (%s)", entry.called, "recompute" if asked else "its inputs were")
                discard(entry.folder)
            if not entry.done:
                self._make(entry, node, inputs, work)
            self._redone.add(key)
        return entry

    def _make(
        self,
        entry: Entry,
        node: Mapping[str, Any],
        inputs: Mapping[str, Entry],
        work: Callable[[Path], Mapping[str, Any]],
    ) -> None:
        self.warn_of_older_code()
        partial = entry.folder.with_name(entry.key + ".partial")
        try:
            partial.mkdir(parents=True, exist_ok=True)
            start = time.time()
            counts = work(partial)
            manifest = {
                "stage": entry.stage,
                "key": entry.key,
                "node": node,
                "inputs": {name: f"{one.stage}/{one.key}" for name, one in inputs.items()},
                "stamp": uuid.uuid4().hex,
                "stamps": _stamps(inputs),
                "counts": dict(counts),
                "code": code_hash(entry.stage, node),
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "seconds": round(time.time() - start, 2),
            }
            (partial / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
            partial.rename(entry.folder)
        except OSError as error:
            if error.errno in DISK_ERRORS:
                raise UserError(
                    f"{self.root}: {error.strerror.lower()} while writing {entry.stage}; make room (`vpo store prune`) or set "
                    "paths.store, then start again: what was finished is kept"
                ) from error
            raise
        shown = ", ".join(f"{name} {value}" for name, value in counts.items())
        log.info("%s: %s (%.1f s)", entry.called, shown or "done", manifest["seconds"])

    def _fresh(self, entry: Entry, inputs: Mapping[str, Entry]) -> bool:
        """Whether the result is there and was made from its inputs as they are now.

        An input that was recomputed has the same key and another stamp. The stamps are in the manifests, so that this holds
        after a kill and for every other run that shares the input.
        """
        if not entry.done:
            return False
        return read_manifest(entry.folder)["stamps"] == _stamps(inputs)

    def warn_of_older_code(self) -> None:
        """Say once, in one line, of which stages results were found that other code has made. Before something is made of
        them, and at the end of a run."""
        stages = ",".join(stage for stage, said in self._older.items() if not said)
        if stages:
            log.warning("the code has changed since results of these were stored; recompute=[%s] redoes them", stages)
        self._older = dict.fromkeys(self._older, True)

    def _check_code(self, entry: Entry, node: Mapping[str, Any]) -> None:
        if read_manifest(entry.folder)["code"] != code_hash(entry.stage, node):
            self._older.setdefault(entry.stage, False)

    def _lock(self, entry: Entry) -> AbstractContextManager[object]:
        try:
            entry.folder.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(entry.folder.with_name(entry.key + ".lock"))
            try:
                return lock.acquire(timeout=1)
            except Timeout:
                log.info("%s: another process is making it; waiting", entry.called)
                return lock.acquire()
        except OSError as error:
            raise UserError(
                f"{self.root}: {error.strerror}; set paths.store to a folder that can be written"
            ) from error


def numbered(name: str, entries: Sequence[Entry]) -> dict[str, Entry]:
    """Several inputs of one kind: `pairs`, `pairs_2`, ..., so that a second one does not rename the first."""
    return {name if number == 1 else f"{name}_{number}": entry for number, entry in enumerate(entries, 1)}


def stage_key(stage: str, node: Mapping[str, Any], inputs: Mapping[str, Entry]) -> str:
    """16 hex digits that name a result: stage, node without the fields that cannot matter, and the inputs' keys."""
    named = {name: one.key for name, one in sorted(inputs.items())}
    return hashlib.sha256(canonical([stage, without_idle_fields(node), named]).encode()).hexdigest()[:16]


def canonical(value: Any) -> str:
    """One text for equal values, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def without_idle_fields(value: Any) -> Any:
    """The value without the fields of NOT_IN_KEYS, at any depth."""
    if isinstance(value, Mapping):
        return {key: without_idle_fields(inner) for key, inner in value.items() if key not in NOT_IN_KEYS}
    if isinstance(value, list | tuple):
        return [without_idle_fields(inner) for inner in value]
    return value


def discard(folder: Path) -> None:
    """Delete a result so that a kill on the way leaves no manifest over half a payload: rename, then remove."""
    trash = folder.with_name(folder.name + ".trash")
    shutil.rmtree(trash, ignore_errors=True)
    folder.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def _stamps(inputs: Mapping[str, Entry]) -> dict[str, str]:
    return {name: read_manifest(one.folder)["stamp"] for name, one in inputs.items()}


def read_manifest(folder: Path) -> dict[str, Any]:
    """A stored result's manifest. Raises UserError when it cannot be read."""
    try:
        return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}/manifest.json cannot be read ({error}); delete this folder to redo it") from error
