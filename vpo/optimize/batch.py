"""A file of queries in, a file of records out: in order, one record a query, whatever kills the process in between."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vpo.dataset.reading.columns import Columns
from vpo.dataset.reading.data_file import DataFile
from vpo.dataset.reading.decoding import decode
from vpo.dataset.reading.entries import raw_entry, read_id
from vpo.dataset.reading.formats import read_values
from vpo.dataset.reading.problems import FileProblem, Place, RowProblem, in_one_line
from vpo.dataset.reading.stream import in_memory
from vpo.errors import UserError
from vpo.optimize.options import Options
from vpo.optimize.outputs import FORMATS, write_as
from vpo.optimize.queries import read_query
from vpo.optimize.records import Optimized
from vpo.records import to_json
from vpo.storage.jsonio import dumps


@dataclass(frozen=True)
class Row:
    """A query of a file.

    Attributes:
        place: where it stands, such as "line 7".
        id: that the file gives it, or None.
    """

    place: str
    id: str | None
    query: str


def read_file(path: str, options: Options) -> list[Row]:
    """The queries of a file (.txt, .json, .jsonl, .csv, .tsv, .parquet, also .gz); a text that stands twice is read twice.

    Raises:
        UserError: the file, or rows of it, cannot be used; all of these are named.
    """
    try:
        return _rows(DataFile(path).values(), options)
    except FileProblem as problem:
        raise UserError(f"{path}: {_own_words(problem)}") from problem


def read_stdin(options: Options) -> list[Row]:
    """The queries on standard input: one a line, or JSON lines."""
    content = sys.stdin.buffer.read()
    try:
        text, _ = decode(content)
        return _rows(read_values(".jsonl" if _is_json(text) else ".txt", in_memory(text), Columns()), options)
    except FileProblem as problem:
        raise UserError(f"standard input: {_own_words(problem)}") from problem


def _is_json(text: str) -> bool:
    first = text.lstrip().partition("\n")[0]
    try:
        return isinstance(json.loads(first), dict | list)
    except (ValueError, RecursionError):
        return False


def _rows(values: Iterator[tuple[Place, Any]], options: Options) -> list[Row]:
    rows, problems = [], []
    for place, value in values:
        try:
            if isinstance(value, RowProblem):
                raise value
            text, given, *_ = raw_entry(value)
            name = read_id(given)
            read_query(text, options.max_chars, options.language)
            rows.append(Row(str(place), name, text))
        except RowProblem as problem:
            problems.append((place, problem))
    if problems:
        raise FileProblem(in_one_line(problems))
    if not rows:
        raise FileProblem("no queries in it; write one a line")
    return rows


def _own_words(problem: FileProblem) -> str:
    """The reading room speaks of a run's data set; here the file is an argument."""
    words = str(problem).replace(", or say in dataset.columns.query how it is called", "")
    return words.replace("set dataset.path to", "give").replace("dataset.path", "the input")


class Journal:
    """The output, as far as it goes: one JSON record a query, in order, each written whole when it is made.

    A record file (.jsonl) is its own journal. For other formats the journal lies beside the output until all is there.

    Args:
        output: .jsonl, or .json, .csv or .txt.
        made: what its records are made with (model, search, seed ...); records that were made otherwise are not mixed with.
        force: begin anew where something lies there.
    """

    def __init__(self, output: Path, made: Mapping[str, Any], *, force: bool) -> None:
        if output.suffix.lower() not in FORMATS:
            raise UserError(f"output={output}: unknown suffix {output.suffix!r}; name it {', '.join(FORMATS)}")
        if not output.parent.is_dir():
            raise UserError(f"output={output}: there is no folder {output.parent}; make it first")
        if output.is_dir():
            raise UserError(f"output={output}: is a folder; name a file in it")
        self.output, self.made, self.force = output, json.loads(dumps(made)), force
        self.is_output = output.suffix.lower() == ".jsonl"
        self.path = output if self.is_output else output.with_name(f"{output.name}.partial.jsonl")
        self.spending = output.with_name(f".{output.name}.spending.jsonl")  # of all starts, until all is there

    @contextmanager
    def started(self, rows: Sequence[Row]) -> Iterator[int]:
        """Go on where an earlier start ended. Yields how many rows are done; the last line is cut off if it is not whole.

        Raises:
            UserError: what lies there is of other queries or was made otherwise, or another process is writing it.
        """
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(
                f"{self.output}: another process is writing it; wait for it, or name another output"
            ) from None
        try:
            with self._errors():
                if not self.is_output and self.output.exists() and not self.path.exists() and not self.force:
                    raise UserError(
                        f"{self.output}: is there already; name another output, or set force=true to replace it"
                    )
                done = self._done(rows)
                self._file = self.path.open("ab", buffering=0)
                try:
                    yield done
                finally:
                    self._file.close()
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: nobody else's is deleted
            lock.release()

    def append(self, row: Row, record: Optimized) -> None:
        """Write the record of the next row."""
        line = {"place": row.place, **({"id": row.id} if row.id else {}), **to_json(record), "made": self.made}
        self._file.write(f"{dumps(line)}\n".encode())

    def finish(self) -> Counter[str]:
        """Turn the journal into the output's format, where it is another. Returns how many records came how."""
        with self._errors():
            records = [json.loads(line) for line in self._lines()]
            if not self.is_output:
                write_as(self.output, records)
                self.path.unlink()
            self._forget_spending()
        return Counter(record["how"] for record in records)

    def _forget_spending(self) -> None:
        for file in (self.spending, self.spending.with_name(f"{self.spending.name}.lock")):
            file.unlink(missing_ok=True)

    def _done(self, rows: Sequence[Row]) -> int:
        """How many rows the journal holds; a line without its end is cut off."""
        if self.force:
            self.path.unlink(missing_ok=True)
            self._forget_spending()
        if not self.path.exists():
            return 0
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(self._lines(), start=1):
            self._check(number, line, rows)
        if whole < len(content):
            if not content[whole:].lstrip(b"\0").startswith(b"{"):
                raise UserError(f"{self.path}: {_FOREIGN}")
            with self.path.open("r+b") as file:
                file.truncate(whole)
        return content[:whole].count(b"\n")

    def _lines(self) -> list[str]:
        """The whole lines."""
        return self.path.read_bytes().decode("utf-8", "replace").split("\n")[:-1]

    def _check(self, number: int, line: str, rows: Sequence[Row]) -> None:
        """Raise UserError unless a line of the journal is the record of the row of its number, made as this start would."""
        where = f"{self.path}: line {number}"
        try:
            record = json.loads(line)
            query, made = record["query"], record["made"]
        except (ValueError, LookupError, TypeError):
            raise UserError(f"{where}: {_FOREIGN}") from None
        if number > len(rows) or query != json.loads(dumps(rows[number - 1].query)):
            raise UserError(f"{where} is of another query than the input's; name another output, or set force=true")
        if made != self.made:
            keys = sorted(key for key in {*made, *self.made} if made.get(key) != self.made.get(key))
            before = ", ".join(f"{key}={made.get(key, 'default')}" for key in keys)
            raise UserError(
                f"{where} was made with {before}; ask the same again, name another output, or set force=true"
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.filename is None and error.errno is None:
                raise
            raise UserError(
                f"{self.output}: {(error.strerror or str(error)).lower()}; what is written stays, and the same command goes on "
                "from there"
            ) from error


_FOREIGN = "holds what `vpo optimize` did not write; name another output, or set force=true to replace it"
