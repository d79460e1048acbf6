"""A data file as a whole: its values, and a hash of what they depend on."""

import hashlib
from collections.abc import Iterator
from typing import Any

from vpo.dataset.reading.content import read_content
from vpo.dataset.reading.problems import FileProblem, Place
from vpo.dataset.reading.source import local_path, read_bytes, shown_path, suffix_of


class DataFile:
    """One file of JSON, JSON lines, CSV, TSV, Parquet or plain text.

    Args:
        path: relative to the working folder; a tilde is the user's home.
    """

    def __init__(self, path: object) -> None:
        self._given, self._fingerprint = path, ""

    def fingerprint(self) -> str:
        """The sha256 of the suffix and the content: what is read, in which encoding and format, depends on these alone.

        Raises:
            FileProblem: the file cannot be read.
        """
        self._fingerprint = _hash(*self._content())
        return self._fingerprint

    def values(self) -> Iterator[tuple[Place, Any]]:
        """The file's values, each with its place. One that cannot be read is a RowProblem.

        Raises:
            FileProblem: the file cannot be read, or has changed since `fingerprint()`.
        """
        suffix, packed = self._content()
        if self._fingerprint not in ("", _hash(suffix, packed)):
            raise FileProblem("has changed while the run looked at it; start again")
        return read_content(suffix, packed, shown_path(self._given))

    def _content(self) -> tuple[str, bytes]:
        path = local_path(self._given)
        return suffix_of(path), read_bytes(path)


def _hash(suffix: str, content: bytes) -> str:
    return hashlib.sha256(suffix.encode() + b"\0" + content).hexdigest()
