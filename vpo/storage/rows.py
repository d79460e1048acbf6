"""One JSON object a line: how records lie on disk."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from vpo.errors import UserError
from vpo.records import from_json, to_json
from vpo.storage.jsonio import dumps

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


def new_lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """The whole lines behind an offset of a file that others append to, and the offset behind them.

    A last line that is being written, or that a kill has cut short, is none yet.
    """
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read()
    whole = content.rfind(b"\n") + 1
    return content[:whole].split(b"\n"), offset + whole


def _line(record: Any) -> str:
    data = record if isinstance(record, dict) else to_json(record)
    return dumps(data) + "\n"
