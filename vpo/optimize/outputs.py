"""Records in the formats that a user may ask for."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.storage.jsonio import dumps, write_json

FORMATS = (".jsonl", ".json", ".csv", ".txt")
_COLUMNS = ("id", "query", "prompt", "how", "fell_back")


def write_as(output: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write all records, whole or not at all: .json a list of them, .csv their main columns, .txt one prompt a line.

    A query that was refused has an empty prompt, so that lines stay beside their queries.
    """
    if output.suffix.lower() == ".json":
        write_json(output, list(records), indent=1)
        return
    text = _csv(records) if output.suffix.lower() == ".csv" else "".join(f"{one['prompt'] or ''}\n" for one in records)
    partial = output.with_name(f"{output.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="")
    partial.replace(output)


def line_of(record: Mapping[str, Any], *, whole: bool) -> str:
    """One record for standard output: as JSON, or its prompt alone."""
    return dumps(record) if whole else record["prompt"] or ""


def _csv(records: Sequence[Mapping[str, Any]]) -> str:
    columns = [name for name in _COLUMNS if any(name in one for one in records)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for one in records:
        writer.writerow(["" if one.get(name) is None else one.get(name) for name in columns])
    return text.getvalue()
