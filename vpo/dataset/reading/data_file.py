"""A data file as a whole: its values, and a hash of what they depend on."""

import hashlib
import logging
from collections.abc import Iterator
from typing import Any

from vpo.dataset.reading.decoding import decode
from vpo.dataset.reading.formats import read_values
from vpo.dataset.reading.problems import FileProblem, Place
from vpo.dataset.reading.source import local_path, read_bytes, recognised, shown_path, suffix_of, unpack

log = logging.getLogger(__name__)


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
        suffix, content = unpack(suffix, packed)
        if suffix == ".parquet":
            return read_values(suffix, content)
        text, encoding = decode(content)
        other = recognised(text.encode("utf-8", "surrogatepass"))  # a pointer or a page that was written as UTF-16, say
        if other:
            raise FileProblem(f"is {other}")
        if encoding:
            log.warning("  %s: read as %s", shown_path(self._given), encoding)
        return read_values(suffix, text)

    def _content(self) -> tuple[str, bytes]:
        path = local_path(self._given)
        return suffix_of(path), read_bytes(path)


def _hash(suffix: str, content: bytes) -> str:
    return hashlib.sha256(suffix.encode() + b"\0" + content).hexdigest()
