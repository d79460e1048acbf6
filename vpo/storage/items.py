"""Item-by-item work that survives a kill: what is finished is written at once, and the next start does the rest.

While a stage works, `<name>.journal.jsonl` gets a line for every finished item: its id, a hash of what it was, and its record or
its failure. Lines come in the order in which items are finished. A line counts only for the item that it was written for: another
item of the same id is done anew. When all items are done, the records are written in the order of the items to `<name>.jsonl`, the
failures to `<name>.failures.jsonl`, and the journal goes. Shards (`vpo.storage.shards`) have a journal each.
"""

import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from vpo.errors import UserError
from vpo.interfaces import Executor, Task
from vpo.records import Clip, Failure, Score, Verdict, from_json, to_json
from vpo.storage.jsonio import canonical, dumps
from vpo.storage.progress import Bar
from vpo.storage.rows import read_rows, write_rows
from vpo.storage.shards import Shard, shard_in

R = TypeVar("R")
log = logging.getLogger(__name__)

# With so many failures and not one success the role is broken, not the items: to go on would waste hours of waiting.
BROKEN = 20
FEW = 3  # of fewer items all may fail: they are counted like any others
# Kinds of failures that say nothing of the role, however many there are: what others were to give for the item is not there, or is
# nothing on which the role's work is defined. (`too_long` alone is not among them: of a model's prompts it may be the role's.)
OF_ITEM = (
    "no_prompt", "no_clip", "no_file", "unreadable_file", "unusable", "clip_too_long", "clip_too_short", "clip_too_small",
    "no_label", "unnamable",
)  # fmt: skip

# The field by which a record of a role names its item. The other records are made here and not by a role.
ITEM_OF = {Verdict: "prompt_id", Clip: "prompt_id", Score: "clip_id"}


@dataclass(frozen=True)
class Work(Generic[R]):
    """What is to be done with each item, and where the results go.

    Attributes:
        path: of the finished records, `<name>.jsonl`.
        kind: of a record.
        task: builds the role and calls it.
        item_id: the id of an item, unique in the work.
        batch_size: items of one call. Batches are cut by position alone, and after a kill a batch is done whole, so that what an
            item meets in its batch is the same before and after it.
        label: for people.
    """

    path: Path
    kind: type[R]
    task: Task
    item_id: Callable[[Any], str]
    batch_size: int
    label: str

    def journal(self, shard: Shard | None = None) -> Path:
        """What is appended to: by a shard of the work, or (None) by a process that does all of it."""
        return self.path.with_suffix(f".{shard.name}.journal.jsonl" if shard else ".journal.jsonl")

    def shard_journals(self) -> list[Path]:
        """The journals that shards have left, by their numbers."""
        found = self.path.parent.glob(f"{self.path.stem}.shard-*.journal.jsonl")
        return sorted(found, key=lambda path: (len(path.name), path.name))


@dataclass(frozen=True)
class ItemResults(Generic[R]):
    """The records, in the order of their items, and the failures, by the id of the item; `fresh` were done just now."""

    records: list[R]
    failures: dict[str, Failure]
    fresh: int = 0


def complete(
    items: Sequence[Any], work: Work[R], executor: Executor, *, retry_failed: bool = False, gathered: bool = False
) -> ItemResults[R]:
    """Do the items that are not done yet, and write records and failures.

    Args:
        items: dataclasses, or tuples of them.
        work: what is done with each.
        executor: where.
        retry_failed: do those again that have failed, and only those.
        gathered: if shards have begun the work, they must have done all of it.

    Raises:
        UserError: All items failed; a shard has items left; or what the work raised.
    """
    names = _names(items, work)
    journals = [work.journal(), *work.shard_journals()]
    done = _finished(work, names, journals)
    if retry_failed:
        done = {name: outcome for name, outcome in done.items() if not isinstance(outcome, Failure)}
    missing = [place for place, name in enumerate(names) if name not in done]
    if gathered and len(journals) > 1:
        _check_shards([names[place][0] for place in missing], len(names), work)
    batches = list(_batches(missing, work.batch_size, len(items), alone=retry_failed))
    if batches or any(journal.exists() for journal in journals) or not work.path.exists():
        _do(items, names, batches, done, work, executor, work.journal())
        _write(work, names, done)
        for journal in journals:
            journal.unlink(missing_ok=True)
    return ItemResults(read_rows(work.path, work.kind), read_failures(work.path), sum(map(len, batches)))


class Reading(Generic[R]):
    """A work whose items are done part by part, into its journal; `complete` does the rest.

    Attributes:
        count: of items that were done.
        seconds: that they took.
    """

    def __init__(self, items: Sequence[Any], work: Work[R]) -> None:
        self.items, self.work = items, work
        self.count, self.seconds = 0, 0.0
        self._names = _names(items, work)
        self._done = _finished(work, self._names, [work.journal(), *work.shard_journals()])

    def do(self, places: Sequence[int], executor: Executor) -> None:
        """Do the items at these places; batches are cut among them by position, as ever.

        Raises:
            UserError: All items have failed so far; or what the work raised.
        """
        size, before, start = self.work.batch_size, len(self._done), time.monotonic()
        cut = [places[first : first + size] for first in range(0, len(places), size)]
        batches = [batch for batch in cut if any(self._names[place] not in self._done for place in batch)]
        if batches:
            _do(self.items, self._names, batches, self._done, self.work, executor, self.work.journal())
        self.count += len(self._done) - before
        self.seconds += time.monotonic() - start


def complete_shard(items: Sequence[Any], work: Work[R], executor: Executor, shard: Shard) -> int:
    """Do those items of a work that are a shard's and are not done yet, into the shard's own journal. Returns how many are its own.

    Batches are cut among the shard's own items, by position as ever.

    Raises:
        UserError: All its items failed; or what the work raised.
    """
    own = [item for item in items if shard.has(work.item_id(item))]
    names = _names(own, work)
    done = _finished(work, names, [work.journal(), work.journal(shard)])
    missing = [place for place, name in enumerate(names) if name not in done]
    batches = list(_batches(missing, work.batch_size, len(own), alone=False))
    if batches or not work.journal(shard).exists():  # an empty one says that the shard has been there
        _do(own, names, batches, done, work, executor, work.journal(shard))
    return len(own)


def check_count(work: Work[Any], shard: Shard) -> None:
    """Raise UserError where the work was begun by shards of another count: an item would be done by two of them."""
    others = sorted({one.count for path in work.shard_journals() if (one := shard_in(path))} - {shard.count})
    if others:
        raise UserError(
            f"{work.label}: shards of {others[0]} have begun it, so shard={shard} would do items again; give shard=<number>/"
            f"{others[0]}, or go on without shard, which keeps what they did"
        )


def _names(items: Sequence[Any], work: Work[Any]) -> list[tuple[str, str]]:
    """The id and the hash of each item."""
    names = [(work.item_id(item), fingerprint(item)) for item in items]
    if len({name for name, _ in names}) < len(names):
        raise RuntimeError(f"{work.label}: two items have the same id")
    return names


def _check_shards(missing: Sequence[str], total: int, work: Work[Any]) -> None:
    """Raise UserError where items of shards are not there; log it where all are."""
    shards = [one for path in work.shard_journals() if (one := shard_in(path))]
    count = shards[0].count
    if missing:
        lacking = sorted(
            {number for item in missing for number in range(1, count + 1) if Shard(number, count).has(item)}
        )
        named = ", ".join(f"{number}/{count}" for number in lacking[:8]) + (", ..." if len(lacking) > 8 else "")
        raise UserError(
            f"{work.label}: {len(missing)} of {total} items are not there, of shard{'s' * (len(lacking) > 1)} {named}; start these "
            "again, or go on with `vpo run` without shard, which does them here"
        )
    log.info("%s: %d shards gathered, each of %d items is there once", work.label, len(shards), total)


def read_failures(path: Path) -> dict[str, Failure]:
    """The failures beside the finished records in `path`, by the item's id."""
    beside = path.with_suffix(".failures.jsonl")
    rows = read_rows(beside, dict) if beside.exists() else []
    return {row["id"]: Failure(**row["failure"]) for row in rows}


def fingerprint(item: Any) -> str:
    """16 hex digits that name what an item is."""
    text = canonical(_plain(item))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _batches(missing: Sequence[int], size: int, total: int, *, alone: bool) -> Iterator[list[int]]:
    """The places of the items of each batch: whole batches that miss an item, or (`alone`) the missing items by themselves."""
    if alone:
        yield from (list(missing[start : start + size]) for start in range(0, len(missing), size))
        return
    for number in dict.fromkeys(place // size for place in missing):
        yield list(range(number * size, min((number + 1) * size, total)))


def _do(
    items: Sequence[Any],
    names: Sequence[tuple[str, str]],
    batches: Sequence[Sequence[int]],
    done: dict[tuple[str, str], Any],
    work: Work[R],
    executor: Executor,
    journal: Path,
) -> None:
    """Work through batches; each finished one is appended to the journal by one write, and added to `done`."""
    broken = None
    with journal.open("ab") as file, Bar(work.label, total=len(items), done=len(done)) as bar:
        for number, outcomes in executor.run(work.task, [[items[place] for place in batch] for batch in batches]):
            fresh = [
                (names[place], _checked(outcome, names[place][0], work))
                for place, outcome in zip(batches[number], outcomes, strict=True)
                if names[place] not in done
            ]
            file.write("".join(_line(name, outcome) for name, outcome in fresh).encode())
            file.flush()
            done.update(fresh)
            bar.advance(len(fresh))
            broken = _broken(done, len(items), work)
            if broken is not None:
                break
    if broken is not None:
        journal.unlink()  # so that the next start tries again
        raise UserError(broken)


def _checked(outcome: Any, item: str, work: Work[Any]) -> Any:
    """What a role gave for an item. Raises UserError where it is no record of the work's kind, or says that it is of another item."""
    if isinstance(outcome, Failure):
        return outcome
    if not isinstance(outcome, work.kind):
        raise UserError(
            f"{work.label}: {type(outcome).__name__} for item {item}; the role must give a {work.kind.__name__}, or a Failure in its "
            "place"
        )
    field = ITEM_OF.get(work.kind)
    if field is not None and getattr(outcome, field) != item:
        raise UserError(
            f"{work.label}: the {work.kind.__name__} for item {item} has {field}={getattr(outcome, field)!r}; the role must give "
            "results in the order of the items, each with its item's id"
        )
    return outcome


def _broken(done: Mapping[tuple[str, str], Any], total: int, work: Work[Any]) -> str | None:
    """What is wrong with the role where nothing but failures came: at the end of more than a few items, or early in a long work."""
    failures = [one for one in done.values() if isinstance(one, Failure)]
    if len(failures) < len(done) or len(failures) < min(max(total, FEW), BROKEN):
        return None
    if any(one.kind in OF_ITEM for one in failures):
        return None
    first = failures[0]
    return (
        f"{work.label}: {len(failures)} of {len(failures)} failed, the first by {first.kind} ({first.detail}); correct the cause, "
        "then start again"
    )


def _line(name: tuple[str, str], outcome: Any) -> str:
    if isinstance(outcome, Failure):
        outcome_field: dict[str, Any] = {"failure": to_json(outcome)}
    else:
        outcome_field = {"record": outcome if isinstance(outcome, dict) else to_json(outcome)}
    return dumps({"id": name[0], "item": name[1], **outcome_field}) + "\n"


def _finished(work: Work[R], names: Sequence[tuple[str, str]], journals: Sequence[Path]) -> dict[tuple[str, str], Any]:
    """What is done already, by the item's id and hash: of a work that was finished, or of one that was killed, in its journals.

    Only this process may be writing to these journals: a last line that a kill cut short is cut off.
    """
    wanted, done = set(names), {}
    if work.path.exists():
        failures = read_failures(work.path)
        records = iter(read_rows(work.path, work.kind))
        done = {name: failures[name[0]] if name[0] in failures else next(records) for name in names}
    for journal in journals:
        for line in _keep_whole_lines(journal):
            name = line["id"], line["item"]
            if name in wanted:
                done[name] = Failure(**line["failure"]) if "failure" in line else _record(work.kind, line["record"])
    return done


def _record(kind: type[R], data: Mapping[str, Any]) -> Any:
    return data if kind is dict else from_json(kind, data)


def _write(work: Work[R], names: Sequence[tuple[str, str]], done: Mapping[tuple[str, str], Any]) -> None:
    """Failures first: who finds the records finds all."""
    failures = [{"id": name[0], "failure": to_json(done[name])} for name in names if isinstance(done[name], Failure)]
    beside = work.path.with_suffix(".failures.jsonl")
    if failures:
        write_rows(beside, failures)
    else:
        beside.unlink(missing_ok=True)
    write_rows(work.path, [done[name] for name in names if not isinstance(done[name], Failure)])


def _keep_whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal; a last one that a kill cut short is cut off."""
    if not path.exists():
        return []
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
            os.fsync(file.fileno())
    return [json.loads(line) for line in content[:whole].split(b"\n") if line]
