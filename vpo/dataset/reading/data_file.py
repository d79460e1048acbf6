"""A data file as a whole: its values, and a hash of what they depend on."""

from collections.abc import Iterator
from typing import Any, BinaryIO

from vpo.dataset.reading.columns import Columns
from vpo.dataset.reading.content import read_content
from vpo.dataset.reading.formats import read_values
from vpo.dataset.reading.problems import FileProblem, Place
from vpo.dataset.reading.source import check_file, hash_of, local_path, read_bytes, shown_path, suffix_of
from vpo.dataset.reading.stream import text_file
from vpo.dataset.reading.tables import parquet_rows


class DataFile:
    """One file of JSON, JSON lines, CSV, TSV, Parquet or plain text.

    Large files are read row by row, those of one JSON document and those that are not UTF-8 excepted.

    Args:
        path: relative to the working folder; a tilde is the user's home.
        columns: what it calls its fields.
    """

    def __init__(self, path: object, columns: Columns | None = None) -> None:
        self._given, self._columns, self._fingerprint = path, columns or Columns(), ""
        self._file: BinaryIO | None = None

    def fingerprint(self) -> str:
        """The sha256 of the suffix and the content: what is read, in which encoding and format, depends on these alone.

        Raises:
            FileProblem: the file cannot be read.
        """
        self._fingerprint = hash_of(local_path(self._given))
        return self._fingerprint

    def values(self) -> Iterator[tuple[Place, Any]]:
        """The file's values, each with its place. One that cannot be read is a RowProblem.

        Raises:
            FileProblem: the file cannot be read, or has changed since `fingerprint()`.
        """
        path = local_path(self._given)
        check_file(path)
        suffix = suffix_of(path)
        if self._fingerprint not in ("", hash_of(path)):
            raise FileProblem("has changed while the run looked at it; start again")
        if suffix == ".parquet":
            file = path.open("rb")
            self._opened(file)
            return parquet_rows(file, self._columns)
        text = text_file(path, suffix, self._opened)
        if text is not None:
            return read_values(suffix.removesuffix(".gz"), text, self._columns)
        return read_content(suffix, read_bytes(path), shown_path(self._given), self._columns)

    @property
    def size(self) -> int:
        """The bytes of the file, 0 where there is none."""
        try:
            return local_path(self._given).stat().st_size
        except (OSError, ValueError, FileProblem):
            return 0

    @property
    def position(self) -> int:
        """How many bytes of the file are read so far; all of one that is read as a whole."""
        return self.size if self._file is None or self._file.closed else self._file.tell()

    def _opened(self, file: BinaryIO) -> None:
        self._file = file
