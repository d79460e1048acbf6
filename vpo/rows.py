"""One JSON object a line: how records lie on disk, and how item-by-item work survives a kill."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vpo.errors import UserError
from vpo.interfaces import Executor
from vpo.progress import Bar
from vpo.records import from_json, to_json
from vpo.storage.jsonio import dumps

T = TypeVar("T")
R = TypeVar("R")


def write_rows(path: Path, records: Iterable[Any]) -> None:
    """Write records (dataclasses or dicts) as JSONL, all or nothing: a temporary name, then a rename."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(_line(record))
    partial.replace(path)


def read_rows(path: Path, kind: type[R]) -> list[R]:
    """Read the records of a finished JSONL file. Raises UserError naming the line of a broken one."""
    records = []
    with path.open(encoding="utf-8", newline="\n") as file:  # not splitlines(), which also splits at U+2028 in a query
        for number, line in enumerate(file, start=1):
            try:
                records.append(json.loads(line) if kind is dict else from_json(kind, json.loads(line)))
            except (ValueError, TypeError) as error:
                raise UserError(
                    f"{path}: line {number} is not a {kind.__name__} ({error}); delete its folder to redo it"
                ) from error
    return records


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSONL file that may be missing, or whose last line a running job may just be writing."""
    if not path.exists():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.split("\n") if line]


def complete(
    items: Sequence[T],
    work: Callable[[Sequence[T]], Sequence[R]],
    path: Path,
    *,
    kind: type[R],
    chunk: int,
    executor: Executor,
    label: str,
) -> list[R]:
    """Do the items that `path` does not hold yet, appending one line per finished item; return all records in item order.

    Items are cut into chunks by their position alone, and a chunk is always worked on whole, so that what an item meets in
    its batch is the same before and after a kill. A chunk's lines are appended by one write. A line that a kill cut short
    is dropped and done again.
    """
    done = _keep_whole_lines(path)
    chunks = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    missing = [(number, part) for number, part in enumerate(chunks) if number * chunk + len(part) > done]
    with path.open("ab") as file, Bar(label, total=len(items), done=min(done, len(items))) as bar:
        for (number, part), records in zip(missing, executor.map(work, [part for _, part in missing]), strict=True):
            if len(records) != len(part):
                raise RuntimeError(f"{label}: {len(records)} results for {len(part)} items")
            fresh = records[max(0, done - number * chunk) :]
            file.write("".join(map(_line, fresh)).encode())
            file.flush()
            bar.advance(len(fresh))
    return read_rows(path, kind)


def _line(record: Any) -> str:
    data = record if isinstance(record, dict) else to_json(record)
    return dumps(data) + "\n"


def _keep_whole_lines(path: Path) -> int:
    """Cut a torn last line off; return how many whole lines stay."""
    if not path.exists():
        return 0
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
            os.fsync(file.fileno())
    return content.count(b"\n", 0, whole)
