"""Item-by-item work that survives a kill: what is finished is written at once, and the next start does the rest.

While a stage works, `<name>.journal.jsonl` gets a line for every finished item: its id, a hash of what it was, and its record or
its failure. Lines come in the order in which items are finished. A line counts only for the item that it was written for: another
item of the same id is done anew. When all items are done, the records are written in the order of the items to `<name>.jsonl`, the
failures to `<name>.failures.jsonl`, and the journal goes.
"""

import dataclasses
import hashlib
import json
import os
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

R = TypeVar("R")

# With so many failures and not one success the role is broken, not the items: to go on would waste hours of waiting.
BROKEN = 20
FEW = 3  # of fewer items all may fail: they are counted like any others

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

    @property
    def journal(self) -> Path:
        return self.path.with_suffix(".journal.jsonl")


@dataclass(frozen=True)
class ItemResults(Generic[R]):
    """The records, in the order of their items, and the failures, by the id of the item."""

    records: list[R]
    failures: dict[str, Failure]


def complete(items: Sequence[Any], work: Work[R], executor: Executor, *, retry_failed: bool = False) -> ItemResults[R]:
    """Do the items that are not done yet, and write records and failures.

    Args:
        items: dataclasses, or tuples of them.
        work: what is done with each.
        executor: where.
        retry_failed: do those again that have failed, and only those.

    Raises:
        UserError: All items failed; or what the work raised.
    """
    names = [(work.item_id(item), fingerprint(item)) for item in items]
    if len({name for name, _ in names}) < len(names):
        raise RuntimeError(f"{work.label}: two items have the same id")
    done = _finished(work, names)
    if retry_failed:
        done = {name: outcome for name, outcome in done.items() if not isinstance(outcome, Failure)}
    missing = [place for place, name in enumerate(names) if name not in done]
    batches = list(_batches(missing, work.batch_size, len(items), alone=retry_failed))
    if batches or work.journal.exists() or not work.path.exists():
        _do(items, names, batches, done, work, executor)
        _write(work, names, done)
    return ItemResults(read_rows(work.path, work.kind), read_failures(work.path))


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
) -> None:
    """Work through batches; each finished one is appended to the journal by one write, and added to `done`."""
    broken = None
    with work.journal.open("ab") as file, Bar(work.label, total=len(items), done=len(done)) as bar:
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
        work.journal.unlink()  # so that the next start tries again
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


def _finished(work: Work[R], names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    """What is done already, by the item's id and hash: of a work that was finished, or of one that was killed."""
    wanted, done = set(names), {}
    if work.path.exists():
        failures = read_failures(work.path)
        records = iter(read_rows(work.path, work.kind))
        done = {name: failures[name[0]] if name[0] in failures else next(records) for name in names}
    for line in _keep_whole_lines(work.journal):
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
    work.journal.unlink(missing_ok=True)


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
