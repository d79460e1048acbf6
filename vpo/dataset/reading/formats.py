"""The values of a data file, whatever its format, each with its place. Values are strings or objects (dicts)."""

import contextlib
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from vpo.dataset.reading.columns import TEXT_FIELDS, Columns, Repeated, field_name
from vpo.dataset.reading.json_shapes import entries_of
from vpo.dataset.reading.problems import FileProblem, Place, RowProblem, control_in
from vpo.dataset.reading.stream import Text, in_memory
from vpo.dataset.reading.tables import csv_rows

Value = tuple[Place, Any]  # the value may be a RowProblem: what stands there cannot be read


def read_values(suffix: str, text: Text, columns: Columns) -> Iterator[Value]:
    """Every value of a text file.

    Raises:
        FileProblem: the content is not what the suffix says, or has no place for queries.
    """
    if suffix == ".json":
        return iter(_json(text.whole(), columns))
    if suffix in (".jsonl", ".ndjson"):
        return _json_lines(text, columns)
    _refuse_json(text)
    if suffix == ".txt":
        return _text_lines(text)
    return csv_rows(text, "\t,;" if suffix == ".tsv" else ",;\t", columns)


def _json(text: str, columns: Columns) -> list[Value]:
    try:
        return entries_of(_parse(text), columns)
    except RecursionError as error:
        raise FileProblem("is not JSON (nested too deeply); correct it") from error
    except ValueError as error:
        values = _one_after_another(text) or list(_parsed_lines(in_memory(text)))
        if len(values) < 2 or isinstance(values[0][1], RowProblem):
            raise FileProblem(f"is not JSON ({_reason(error, text)}); correct it") from error
        return values


def _json_lines(text: Text, columns: Columns) -> Iterator[Value]:
    """The values of the lines; a single one is taken as a .json file."""
    values = _parsed_lines(text)
    first = list(itertools.islice(values, 2))
    if len(first) == 1 and isinstance(first[0][1], list | dict):
        with contextlib.suppress(FileProblem):  # an object with other fields is a row without a text
            return iter(entries_of(first[0][1], columns, first[0][0]))
    return itertools.chain(first, values)


def _parsed_lines(text: Text) -> Iterator[Value]:
    """The values of the lines. From the first that is no JSON on, values may each take several lines, as `jq` prints them."""
    whole = False  # whether what follows the first bad line was tried
    for number, line in _lines(text):
        try:
            yield Place("line", number), _parse(line)
        except (ValueError, RecursionError) as error:
            if not whole:
                whole = True
                rest = _one_after_another("".join(itertools.islice(text.lines(), number - 1, None)), number)
                if rest is not None:
                    yield from rest
                    return
            yield Place("line", number), _bad_line(error, line)


def _one_after_another(text: str, line: int = 1) -> list[Value] | None:
    """JSON values that may each take several lines; None if they are not that. `line` is where the text starts."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    values: list[Value] = []
    position = 0
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
    return values


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


def _refuse_json(text: Text) -> None:
    """JSON in a .txt or .csv file would be read as queries that look like code."""
    start = text.head.lstrip("\ufeff \t\r\n")[:1]
    if start not in ("{", "["):
        return
    for part, suffix in ((_first(text), ".jsonl"), (text.whole(), ".json")):
        try:
            value = json.loads(part)
        except (ValueError, RecursionError):
            continue
        if value:
            raise FileProblem(f"holds JSON; name it {'.json' if isinstance(value, list) else suffix}")


def _text_lines(text: Text) -> Iterator[Value]:
    for delimiter in ",;\t|":
        names = [field_name(cell.strip('"')) for cell in _first(text).split(delimiter)]
        if set(TEXT_FIELDS) & set(names) and {"id", "split", *TEXT_FIELDS} >= set(names) and len(names) > 1:
            raise FileProblem("starts with the names of columns; name it .csv (or .tsv)")
    return ((Place("line", number), control_in(line) or line) for number, line in _lines(text))


def _first(text: Text) -> str:
    return next((line for _, line in _lines(text)), "")


def _lines(text: Text) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, numbered from 1; Windows' and old Macs' line ends are line ends, too."""
    for number, line in enumerate(text.lines(), start=1):
        if line.strip():
            yield number, line.rstrip("\r\n")
