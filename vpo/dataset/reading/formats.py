"""The values of a data file, whatever its format, each with its place. Values are strings or objects (dicts)."""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

from vpo.dataset.reading.entries import TEXT_FIELDS, Repeated, field_name
from vpo.dataset.reading.json_shapes import entries_of
from vpo.dataset.reading.problems import FileProblem, Place, RowProblem, control_in
from vpo.dataset.reading.tables import csv_rows, parquet_rows

Value = tuple[Place, Any]  # the value may be a RowProblem: what stands there cannot be read

_LINE_END = re.compile("\r\n|\r|\n")  # not splitlines(): a query may hold U+2028, U+2029 or U+0085


def read_values(suffix: str, content: bytes | str) -> Iterator[Value]:
    """Every value of a file: `content` is bytes of a .parquet file and text of any other.

    Raises:
        FileProblem: the content is not what the suffix says, or has no place for queries.
    """
    if isinstance(content, bytes):
        return parquet_rows(content)
    if suffix == ".json":
        return iter(_json(content))
    if suffix in (".jsonl", ".ndjson"):
        return iter(_json_lines(content))
    _refuse_json(content)
    if suffix == ".txt":
        return _text_lines(content)
    return csv_rows(content, delimiters="\t,;" if suffix == ".tsv" else ",;\t")


def _json(text: str) -> list[Value]:
    try:
        return entries_of(_parse(text))
    except RecursionError as error:
        raise FileProblem("is not JSON (nested too deeply); correct it") from error
    except ValueError as error:
        values = _one_after_another(text) or _json_lines(text)
        if len(values) < 2 or isinstance(values[0][1], RowProblem):
            raise FileProblem(f"is not JSON ({_reason(error, text)}); correct it") from error
        return values


def _json_lines(text: str) -> list[Value]:
    values: list[Value] = []
    for number, line in _lines(text):
        try:
            values.append((Place("line", number), _parse(line)))
        except (ValueError, RecursionError) as error:
            values.append((Place("line", number), _bad_line(error, line)))
    if len(values) == 1 and isinstance(values[0][1], list | dict):
        with contextlib.suppress(FileProblem):  # an object with other fields is a row without a text
            return entries_of(values[0][1], values[0][0])
    if any(isinstance(value, RowProblem) for _, value in values):
        return _one_after_another(text) or values
    return values


def _one_after_another(text: str) -> list[Value] | None:
    """JSON values that may each take several lines, as `jq` prints them; one alone is taken as a .json file. None if they
    are not that."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    values: list[Value] = []
    position, line = 0, 1
    try:
        while position < len(text):
            if text[position] in " \t\r\n":
                line += text[position] == "\n"
                position += 1
                continue
            value, end = decoder.raw_decode(text, position)
            values.append((Place("line", line), value))
            line += text.count("\n", position, end)
            position = end
    except (ValueError, RecursionError):
        return None
    return entries_of(values[0][1]) if len(values) == 1 else values


def _parse(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    names = [name for name, _ in pairs]
    return Repeated(pairs, next(name for name in names if names.count(name) > 1))


def _bad_line(error: Exception, line: str) -> RowProblem:
    reason = _reason(error, line) if isinstance(error, ValueError) else "nested too deeply"
    return RowProblem(f"is not JSON ({reason.replace(' at line 1,', ' at')})", "that are not JSON", differs=True)


def _reason(error: ValueError, text: str) -> str:
    """What is wrong and where; a comma too many is the most frequent one, and Python's message does not say so."""
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    # Python 3.13 points at the comma, earlier ones at what follows it or just before that.
    comma = re.compile(r",\s*[\]}]").search(text, max(0, text.rfind(",", 0, error.pos + 1)))
    position, what = error.pos, error.msg.removesuffix(" at")
    if comma and comma.start() <= position <= comma.end():
        position, what = comma.start(), "a comma too many"
    elif what == "Extra data" and text[position] == ",":  # items of a list without the list
        what = "a comma too many"
    line = text.count("\n", 0, position) + 1
    return f"{what} at line {line}, column {position - text.rfind(chr(10), 0, position)}"


def _refuse_json(text: str) -> None:
    """JSON in a .txt or .csv file would be read as queries that look like code."""
    start = text.lstrip("\ufeff \t\r\n")[:1]
    if start not in ("{", "["):
        return
    first = next((line for _, line in _lines(text)), "")
    for part, suffix in ((first, ".jsonl"), (text, ".json")):
        try:
            value = json.loads(part)
        except (ValueError, RecursionError):
            continue
        if value:
            raise FileProblem(f"holds JSON; name it {'.json' if isinstance(value, list) else suffix}")


def _text_lines(text: str) -> Iterator[Value]:
    first = next((line for _, line in _lines(text)), "")
    for delimiter in ",;\t|":
        names = [field_name(cell.strip('"')) for cell in first.split(delimiter)]
        if set(TEXT_FIELDS) & set(names) and {"id", "split", *TEXT_FIELDS} >= set(names) and len(names) > 1:
            raise FileProblem("starts with the names of columns; name it .csv (or .tsv)")
    for number, line in _lines(text):
        yield Place("line", number), control_in(line) or line


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, numbered from 1; Windows' and old Macs' line ends are line ends, too."""
    for number, line in enumerate(_LINE_END.split(text.removesuffix("\x1a")), start=1):  # DOS ends a text with U+001A
        if line.strip():
            yield number, line
