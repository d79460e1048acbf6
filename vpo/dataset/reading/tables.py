"""Tables: CSV in its dialects, and Parquet."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, BinaryIO

from vpo.dataset.reading.columns import ALPACA, CHATS, CHOSEN, REJECTED, TEXT_FIELDS, Columns, field_name
from vpo.dataset.reading.problems import BrokenTable, FileProblem, Place, RowProblem, control_in, names_in_short, shown
from vpo.dataset.reading.source import recognised
from vpo.dataset.reading.stream import Text

_SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?[\t ,;]*(?:\r\n|\r|\n|$)', re.IGNORECASE)  # Excel's first line

# Names that the only column of a table may have in its first line, which would else be read as a query.
_OTHER_NAMES = (
    "queries texts prompts prompt_en caption captions description descriptions sentence sentences input inputs instruction "
    "instructions content contents question questions title titles user uuid"
)

_ONE_OF = Columns().one_of()
_START = 2**20  # bytes in which the kind of a file is looked for

_BESIDE_NAMES = (
    "video image user original raw source input short simple en english"  # `video_prompt`, `original_text_en`
)


def csv_rows(text: Text, delimiters: str, columns: Columns) -> Iterator[tuple[Place, Any]]:
    """The rows of a CSV file as objects, or as strings where it has one column without a name.

    The delimiter is the one that Excel's `sep=` line says, else the one of `delimiters` that makes the most known names of
    the first line. A row is named by its first line.
    """
    separator = _SEPARATOR_LINE.match(text.head)
    skipped = separator.end() if separator else 0
    if separator:
        delimiters = separator[1]
    # A bar may stand in a query, so that it counts only where it makes names.
    headers = {one: _first_row(text.head[skipped:], one) for one in (delimiters if separator else f"{delimiters}|")}
    named = bool(columns.names or columns.labels)  # whoever names columns has a first line that does
    delimiter = max(  # the first of equals
        headers, key=lambda one: (len({*headers[one]} & columns.headers), len(headers[one]) if named else 0)
    )
    names = headers[delimiter]
    if not named and not {*names} & columns.headers:
        return _texts(text, delimiters, skipped)
    _check_columns(names, columns)
    if not {*CHATS}.isdisjoint(names):
        raise FileProblem("has chats in the cells of a table; save them as JSON lines or Parquet")
    return _named(_rows(text, delimiter, skipped), names, columns)


def _first_row(text: str, delimiter: str) -> list[str]:
    """The cells of the first row, as the names of columns are looked for."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        row = next(filter(None, reader), [])
    except csv.Error:
        return []
    return [field_name(cell) for cell in row]


def _check_columns(names: Sequence[str], columns: Columns) -> None:
    """Raise FileProblem for a name that stands twice, and where there is no column of queries or of a label."""
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice:
        raise FileProblem(f"names the column {shown(twice)} twice; rename or remove one")
    training = (ALPACA[0] in names and bool({*ALPACA[1:], CHOSEN} & {*names})) or not {*CHATS}.isdisjoint(names)
    implicit = {CHOSEN, REJECTED} <= {*names}  # TRL's pairs with the prompt in both sides
    if not ({*columns.texts} & {*names} or ("query" not in columns.names and (training or implicit))):
        raise FileProblem(
            f"has no column {columns.one_of()}; found {names_in_short(names)}; rename the column of queries, or say in "
            "dataset.columns.query how it is called"
        )
    lacking = next((name for name in (*columns.names.values(), *columns.labels) if name not in names), None)
    if lacking:
        raise FileProblem(f"has no column {shown(lacking)}, which dataset.columns names; found {names_in_short(names)}")


def _rows(text: Text, delimiter: str, skipped: int) -> Iterator[tuple[Place, list[str] | RowProblem]]:
    """The rows that are not empty, with the line that each starts in. What follows a broken quote is not read."""
    # The line ends inside of quotes are left to the parser.
    reader = csv.reader(text.lines(skipped), delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        place = Place("line", reader.line_num + 1 + bool(skipped))
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield place, _broken(error)
            return
        if row:
            yield place, row


def _broken(error: csv.Error) -> BrokenTable:
    if "unexpected end of data" in str(error):
        return BrokenTable("opens a quote that never closes", "that are not CSV", "close its quotes")
    return BrokenTable(f"is not CSV ({error})", "that are not CSV", "close its quotes or shorten the field")


def _named(rows: Iterator[tuple[Place, Any]], names: Sequence[str], columns: Columns) -> Iterator[tuple[Place, Any]]:
    wanted = columns.wanted
    place, header = next(rows)
    if isinstance(header, RowProblem):
        yield place, header
    for place, row in rows:
        yield place, row if isinstance(row, RowProblem) else _object(row, names, wanted)


def _object(row: list[str], names: Sequence[str], wanted: frozenset[str]) -> dict[str, str] | RowProblem:
    if any(cell.strip() for cell in row[len(names) :]):
        return RowProblem(
            f"has more columns than the header's {len(names)}",
            f"with more columns than the header's {len(names)}",
            "put a query that holds commas in double quotes",
        )
    cells = zip_longest(names, row[: len(names)], fillvalue="")
    return control_in("".join(row)) or {name: cell for name, cell in cells if name in wanted}


def _texts(text: Text, delimiters: str, skipped: int) -> Iterator[tuple[Place, Any]]:
    """The rows of a table of one column without a header. Raises FileProblem for several columns."""
    for delimiter in delimiters:
        widths = {len(row) for _, row in _rows(text, delimiter, skipped) if not isinstance(row, RowProblem)}
        if len(widths) == 1 and widths != {1}:
            raise FileProblem(
                f"none of the {widths.pop()} columns is named {_ONE_OF}; name the columns in the first line, or "
                "name the file .txt if each line is a query"
            )
    only = _first_row(text.head[skipped:], delimiters[0])
    if only and _is_name(only[0]):
        raise FileProblem(f"its column is named {shown(only[0])}; name it {_ONE_OF}")
    return _single(_rows(text, delimiters[0], skipped))


def _single(rows: Iterator[tuple[Place, Any]]) -> Iterator[tuple[Place, Any]]:
    """The only cell of each row."""
    for place, row in rows:
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


def parquet_rows(source: BinaryIO, columns: Columns) -> Iterator[tuple[Place, Any]]:
    """The rows of a Parquet file as objects; only the columns that matter are read, a part of a row group at a time."""
    import pyarrow
    from pyarrow import parquet

    start = source.read(_START)
    other = recognised(start)
    if other and not start.startswith(b"PAR1"):
        raise FileProblem(f"is {other}")
    source.seek(0)
    try:
        file = parquet.ParquetFile(source)
        found = file.schema_arrow.names
        known = {name: field_name(name) for name in found}
        _check_columns([known[name] for name in found], columns)
        wanted = [name for name, name_of in known.items() if name_of in columns.wanted]
        number = 0
        for batch in file.iter_batches(batch_size=4096, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield Place("row", number), row
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FileProblem(f"is damaged or not Parquet ({reason[:200]}); download or make it again") from error
    finally:
        source.close()
