"""Tables: CSV in its dialects, and Parquet."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from vpo.dataset.reading.entries import CHATS, FIELDS, TEXT_FIELDS, field_name, layout_of
from vpo.dataset.reading.problems import FileProblem, Place, RowProblem, control_in, names_in_short, shown

_SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?[\t ,;]*(?:\r\n|\r|\n|$)', re.IGNORECASE)  # Excel's first line
_ONE_OF = f"{', '.join(TEXT_FIELDS[:-1])} or {TEXT_FIELDS[-1]}"

# Names that the only column of a table may have in its first line, which would else be read as a query.
_OTHER_NAMES = (
    "queries texts prompts prompt_en caption captions description descriptions sentence sentences input inputs instruction "
    "instructions content contents question questions title titles user uuid"
)

_BESIDE_NAMES = (
    "video image user original raw source input short simple en english"  # `video_prompt`, `original_text_en`
)


def csv_rows(text: str, delimiters: str) -> Iterator[tuple[Place, Any]]:
    """The rows of a CSV file as objects, or as strings where it has one column without a name.

    The delimiter is the one that Excel's `sep=` line says, else the one of `delimiters` that makes the most known names of
    the first line. A row is named by its first line.
    """
    text, skipped = text.removesuffix("\x1a"), 0
    separator = _SEPARATOR_LINE.match(text)
    if separator:
        text, skipped, delimiters = text[separator.end() :], 1, separator[1]
    # A bar may stand in a query, so that it counts only where it makes names.
    headers = {one: _first_row(text, one) for one in (delimiters if separator else f"{delimiters}|")}
    delimiter = max(headers, key=lambda one: len(set(headers[one]) & set(FIELDS)))  # the first of equals
    names = headers[delimiter]
    if not set(names) & set(FIELDS):
        return _texts(text, delimiters, skipped)
    _check_columns(names)
    return _named(_rows(text, delimiter, skipped), names)


def _first_row(text: str, delimiter: str) -> list[str]:
    """The cells of the first row, as the names of columns are looked for."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        row = next(filter(None, reader), [])
    except csv.Error:
        return []
    return [field_name(cell) for cell in row]


def _check_columns(names: Sequence[str]) -> None:
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice:
        raise FileProblem(f"names the column {shown(twice)} twice; rename or remove one")
    layout = layout_of(dict.fromkeys(names)) or next((CHATS[name] for name in names if name in CHATS), None)
    if layout:
        raise FileProblem(
            f"its columns look like {layout}; only queries are read: name the column of queries {_ONE_OF}"
        )
    if not set(names) & set(TEXT_FIELDS):
        raise FileProblem(f"has no column {_ONE_OF}; found {names_in_short(names)}; rename the column of queries")


def _rows(text: str, delimiter: str, skipped: int) -> Iterator[tuple[Place, list[str] | RowProblem]]:
    """The rows that are not empty, with the line that each starts in. What follows a broken quote is not read."""
    # newline="" leaves the line ends inside of quotes to the parser.
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        place = Place("line", reader.line_num + 1 + skipped)
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield place, _broken(error)
            return
        if row:
            yield place, row


def _broken(error: csv.Error) -> RowProblem:
    if "unexpected end of data" in str(error):
        return RowProblem("opens a quote that never closes", "that are not CSV", "close its quotes")
    return RowProblem(f"is not CSV ({error})", "that are not CSV", "close its quotes or shorten the field")


def _named(rows: Iterator[tuple[Place, Any]], names: Sequence[str]) -> Iterator[tuple[Place, Any]]:
    place, header = next(rows)
    if isinstance(header, RowProblem):
        yield place, header
    for place, row in rows:
        yield place, row if isinstance(row, RowProblem) else _object(row, names)


def _object(row: list[str], names: Sequence[str]) -> dict[str, str] | RowProblem:
    if any(cell.strip() for cell in row[len(names) :]):
        return RowProblem(
            f"has more columns than the header's {len(names)}",
            f"with more columns than the header's {len(names)}",
            "put a query that holds commas in double quotes",
        )
    cells = zip_longest(names, row[: len(names)], fillvalue="")
    return control_in("".join(row)) or {name: cell for name, cell in cells if name in FIELDS}


def _texts(text: str, delimiters: str, skipped: int) -> Iterator[tuple[Place, Any]]:
    """The rows of a table of one column without a header. Raises FileProblem for several columns."""
    for delimiter in delimiters:
        widths = {len(row) for _, row in _rows(text, delimiter, skipped) if not isinstance(row, RowProblem)}
        if len(widths) == 1 and widths != {1}:
            raise FileProblem(
                f"none of the {widths.pop()} columns is named {_ONE_OF}; name the columns in the first line, or name the "
                "file .txt if each line is a query"
            )
    only = _first_row(text, delimiters[0])
    if only and _is_name(only[0]):
        raise FileProblem(f"its column is named {shown(only[0])}; name it {_ONE_OF}")
    for place, row in _rows(text, delimiters[0], skipped):
        if isinstance(row, RowProblem):
            yield place, row
        elif len(row) > 1:
            yield place, _too_wide(row)
        else:
            yield place, control_in(row[0]) or row[0]


def _is_name(cell: str) -> bool:
    """Whether the first cell of a table of one column is its name, such as `caption` or `user_query`."""
    words = re.split(r"[ _-]+", cell)
    known = {*_OTHER_NAMES.split(), *TEXT_FIELDS}
    return cell in known or (
        1 < len(words) <= 3 and {*words} <= {*known, *_BESIDE_NAMES.split()} and not known.isdisjoint(words)
    )


def _too_wide(row: list[str]) -> RowProblem:
    return RowProblem(
        f"has {len(row)} columns, and none is named {_ONE_OF}",
        f"of several columns, none of which is named {_ONE_OF}",
        "put a query that holds commas in double quotes, name the columns in the first line, or name the file .txt",
    )


def parquet_rows(content: bytes) -> Iterator[tuple[Place, Any]]:
    """The rows of a Parquet file as objects; only the columns that matter are read."""
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(content))
        columns = {name: field_name(name) for name in file.schema_arrow.names}
        _check_columns(
            list(columns.values()) if len(columns) == len(file.schema_arrow.names) else file.schema_arrow.names
        )
        wanted = [name for name, known in columns.items() if known in FIELDS]
        number = 0
        for batch in file.iter_batches(columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield Place("row", number), row
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FileProblem(f"is damaged or not Parquet ({reason[:200]}); download or make it again") from error
