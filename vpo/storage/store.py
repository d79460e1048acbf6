"""Where stage results live: `<root>/<stage>/<key>/` with a `manifest.json` and the payload.

The key hashes the stage's config node and the keys of its inputs, nothing else, so an equal request finds its result
whichever experiment asks. Fields that cannot change a result are left out of the key; the stage names each by its full path.
A stage writes into `<key>.partial` and the folder is renamed when it is complete; a kill leaves the partial folder, which says
what it is made from (`vpo.storage.partial`), for the next start. Of two processes that need the same result one computes and
the other waits. Who uses the store is listed in the store (`vpo.storage.users`).
"""

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial as partial_of
from pathlib import Path
from typing import Any, TypeVar

from filelock import BaseFileLock, FileLock, Timeout

from vpo.errors import UserError
from vpo.records import Failure
from vpo.storage.code_hash import code_hash, templates_of
from vpo.storage.disk import disk_problem
from vpo.storage.folders import discard
from vpo.storage.items import read_failures
from vpo.storage.jsonio import canonical, write_json
from vpo.storage.partial import STATEMENT, open_partial, reopen
from vpo.storage.redact import redact
from vpo.storage.rows import read_rows
from vpo.storage.shards import Shard, ShardDone, shard_in, shard_locks
from vpo.storage.users import Registration, references
from vpo.templates import template_facts

R = TypeVar("R")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A stage result, finished or (in a plan) only named. `label` says for readers what it is of: a method, "drafts"."""

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
    """Finds stage results by what they depend on, or has each computed once.

    Args:
        root: the folder of all results.
        recompute: names of stages whose results are to be made anew, once, with everything that depends on them.
        dry: name results without making them; for plans and for tests of keys.
        shard: of the item-by-item work that this process does; None does all of it.
    """

    def __init__(
        self, root: Path, recompute: tuple[str, ...] = (), dry: bool = False, shard: Shard | None = None
    ) -> None:
        self.root, self.recompute, self.dry, self.shard = root, recompute, dry, shard
        self.used: dict[str, Entry] = {}
        # Called before each result is made, with the results that the run has asked for so far; the run's folder keeps
        # the list for `prune`.
        self.announce: Callable[[list[str]], None] = lambda names: None
        self._registration: Registration | None = None
        self._redone: set[str] = set()  # by this process: recompute redoes a stage once
        self._held: tuple[Entry, BaseFileLock] | None = None  # the result that is being made, and its lock
        self._work: dict[str, Any] | None = None  # of the result that is being made
        self._for_others = 0.0  # seconds of its work that went into other results
        self._older: dict[str, bool] = {}  # stages with results of older code: whether the log has the warning

    @property
    def made_last(self) -> Entry:
        """The result that was last worked on, or is now."""
        if self._held is None:
            raise RuntimeError("nothing was made yet")
        return self._held[0]

    def register(self, run: Path, runs: Path, config: Mapping[str, Any]) -> None:
        """List a run folder, which lies in the folder of all runs, as a user of this store, before the run's first stage."""
        self._registration = Registration(self.root, run, runs, references(config, self.root))

    def finish(self) -> None:
        """Say that the registered run is done: it uses what it has asked for, and nothing that an earlier start did."""
        if self._registration is not None:
            self._registration.finish(self.used)

    def get(
        self,
        stage: str,
        node: Mapping[str, Any],
        inputs: Mapping[str, Entry],
        work: Callable[[Path], Mapping[str, Any]],
        label: str = "",
        exempt: Collection[str] = (),
        retry_failed: bool = False,
        runs: Collection[str] = (),
    ) -> Entry:
        """The result of `stage` for this node and these inputs; `work(folder)` makes it and returns counts for the manifest.

        Args:
            stage, node, inputs: what the key names.
            work: makes the result.
            label: for log and plan alone; it is no part of the key.
            exempt: fields of the node that cannot change the result, by their full dotted paths ("trainer.memory_gb").
            retry_failed: give a finished result, of which some items failed, to `work` once more.
            runs: modules that the work starts without importing them; its code hash covers them.
        """
        key = stage_key(stage, node, inputs, exempt)
        entry = Entry(stage, key, self.root / stage / key, label if label != stage else "")
        self.used[f"{stage}/{key}"] = entry
        if self.dry:
            return entry
        if self._registration is not None:
            self._registration.write(self.used)
        self.announce(sorted(self.used))
        asked = stage in self.recompute and key not in self._redone
        retry = retry_failed and key not in self._redone and _has_failures(entry)
        if self._fresh(entry, inputs) and not asked and not retry:
            self._check_code(entry, node, runs)
            return entry
        with self._lock(entry) as lock:
            self._held = entry, lock
            if entry.done and (asked or not self._fresh(entry, inputs)):
                log.info("%s: made anew (%s)", entry.called, "recompute" if asked else "its inputs were")
                discard(entry.folder)
            statement = self._statement(entry, node, inputs, exempt, runs)
            before: dict[str, Any] = {}
            if entry.done and retry:
                log.info("%s: the items that failed are done again", entry.called)
                statement, before = reopen(entry.folder, statement)
            if not entry.done:
                self._make(entry, statement, work, anew=asked, before=before)
            self._redone.add(key)
        return entry

    def note_work(self, items: int, seconds: float, workers: int, busy: float, for_others: float = 0.0) -> None:
        """Keep in the manifest of the result that is being made how long its items took: so many workers were at work for `busy`
        seconds, all together. Plans of other runs read it. `for_others`: seconds that went into other results meanwhile."""
        self._for_others = for_others
        self._work = {"items": items, "seconds": round(seconds, 3), "workers": workers, "busy": round(busy, 3)}

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Within the work on a result: let other shards work on it, too, and whoever wants to finish it wait for this one.

        What follows must write nothing to the result.

        Raises:
            UserError: Another process does this shard.
        """
        if self._held is None or self.shard is None:
            raise RuntimeError("only the work of a shard is shared")
        entry, whole = self._held
        own = FileLock(entry.folder.with_name(f"{entry.key}.{self.shard.name}.lock"))
        try:
            own.acquire(timeout=5)  # a scheduler may start a job again while the old one is ending
        except Timeout as error:
            raise UserError(
                f"{entry.called}: another process works on shard={self.shard}; give this one another shard, or wait for it"
            ) from error
        whole.release()
        try:
            yield
        finally:
            own.release()

    def _wait_for_shards(self, entry: Entry) -> None:
        """Wait until no shard works on the result, whose lock is held, so that none can begin."""
        for path in shard_locks(entry.folder):
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.info("%s: shard %s works on it; waiting", entry.called, shard_in(path))
                lock.acquire()
            lock.release()

    def _statement(
        self,
        entry: Entry,
        node: Mapping[str, Any],
        inputs: Mapping[str, Entry],
        exempt: Collection[str],
        runs: Collection[str],
    ) -> dict[str, Any]:
        """What a result is made from, known before the work begins."""
        return {
            "stage": entry.stage,
            "key": entry.key,
            "node": redact(node),
            "not_in_key": sorted(exempt),
            "inputs": {name: f"{one.stage}/{one.key}" for name, one in inputs.items()},
            "stamps": _stamps(inputs),  # as they are now: after the work they might be those of inputs it has not seen
            "code": code_hash(entry.stage, node, runs),
            "templates": {file.stem: template_facts(file.stem) for file in templates_of(entry.stage, node, runs)},
        }

    def _make(
        self,
        entry: Entry,
        statement: Mapping[str, Any],
        work: Callable[[Path], Mapping[str, Any]],
        *,
        anew: bool,
        before: Mapping[str, Any],
    ) -> None:
        """Make a result; `before` is the manifest of one whose failures are done again."""
        self.warn_of_older_code()
        partial = entry.folder.with_name(entry.key + ".partial")
        try:
            if self.shard is None:
                self._wait_for_shards(entry)
            open_partial(
                partial,
                statement,
                called=entry.called,
                anew=anew,
                before_discarding=partial_of(self._wait_for_shards, entry),
            )
            start, self._work, self._for_others = time.time(), None, 0.0
            counts = work(partial)
            manifest = {
                **statement,
                # What failed again has changed nothing for those who read the result.
                "stamp": before["stamp"] if before.get("counts") == dict(counts) else uuid.uuid4().hex,
                "counts": dict(counts),
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "seconds": round(time.time() - start - self._for_others, 2),
            } | ({} if self._work is None else {"work": self._work})
            write_json(partial / "manifest.json", manifest, indent=1)
            partial.rename(entry.folder)
            for lock in shard_locks(entry.folder):  # nobody can hold or want one: the result's own lock is held
                lock.unlink(missing_ok=True)
            (entry.folder / STATEMENT).unlink(missing_ok=True)  # the manifest holds all of it
        except (UserError, ShardDone):
            raise
        except Exception as error:
            problem = disk_problem(error, self.root)
            if problem is None:
                raise
            where, cure = self.root, "make room (`vpo store prune`) or set paths.store"
            if problem.elsewhere is not None:
                where, cure = problem.elsewhere, problem.cure
            raise UserError(
                f"{where}: {problem.reason} while writing {entry.stage}; {cure}, then start again: what was finished is kept"
            ) from error
        shown = ", ".join(f"{name} {value}" for name, value in counts.items())
        log.info("%s: %s (%.1f s)", entry.called, shown or "done", manifest["seconds"])

    def _fresh(self, entry: Entry, inputs: Mapping[str, Entry]) -> bool:
        """Whether the result is there and was made from its inputs as they are now.

        An input that was recomputed has the same key and another stamp. The stamps are in the manifests, so that this holds
        after a kill and for every other run that shares the input.
        """
        if not entry.done:
            return False
        return bool(read_manifest(entry.folder)["stamps"] == _stamps(inputs))

    def warn_of_older_code(self) -> None:
        """Warn once, in one line, of stages whose stored results were computed by older code. Called before something is
        computed from them, and at the end of a run."""
        stages = ",".join(stage for stage, warned in self._older.items() if not warned)
        if stages:
            log.warning("the code has changed since results of these were stored; recompute=[%s] redoes them", stages)
        self._older = dict.fromkeys(self._older, True)

    def _check_code(self, entry: Entry, node: Mapping[str, Any], runs: Collection[str]) -> None:
        if read_manifest(entry.folder)["code"] != code_hash(entry.stage, node, runs):
            self._older.setdefault(entry.stage, False)

    def _lock(self, entry: Entry) -> AbstractContextManager[BaseFileLock]:
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


def stage_key(stage: str, node: Mapping[str, Any], inputs: Mapping[str, Entry], exempt: Collection[str] = ()) -> str:
    """16 hex digits that name a result: stage, node without secrets and exempt fields, and the inputs' keys."""
    named = {name: one.key for name, one in sorted(inputs.items())}
    counted = redact(without(node, exempt), environment=False)
    return hashlib.sha256(canonical([stage, counted, named]).encode()).hexdigest()[:16]


def without(node: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """The node without the fields at these full dotted paths; one that is not there is no error."""
    kept: dict[str, Any] = {}
    for key, value in node.items():
        below = [path.removeprefix(f"{key}.") for path in paths if path.startswith(f"{key}.")]
        if key not in paths:
            kept[key] = without(value, below) if below and isinstance(value, Mapping) else value
    return kept


def _has_failures(entry: Entry) -> bool:
    return entry.done and any(any(entry.folder.glob(f"{below}*.failures.jsonl")) for below in ("", "*/"))


def _stamps(inputs: Mapping[str, Entry]) -> dict[str, str]:
    return {name: read_manifest(one.folder)["stamp"] for name, one in inputs.items()}


def read_manifest(folder: Path) -> dict[str, Any]:
    """A stored result's manifest. Raises UserError when it cannot be read."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return manifest
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}/manifest.json cannot be read ({error}); delete this folder to redo it") from error
