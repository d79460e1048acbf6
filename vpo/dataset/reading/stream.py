"""A text that is read line by line, from memory or from a file, however large it is."""

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from vpo.dataset.reading.decoding import may_be_wide
from vpo.dataset.reading.source import MAX_BYTES, recognised

WHOLE = 2**20  # bytes up to which a file is read at once
_CHUNK = 2**20
_HEAD = 2**20  # characters in which the first row and the form of a file are looked for
_DOS_END = "\x1a"


@dataclass(frozen=True)
class Text:
    """A text that can be read again and again.

    Attributes:
        head: its first characters; all of a short text.
        start: a new stream from its start, with line ends as they are.
    """

    head: str
    start: Callable[[], TextIO]

    def whole(self) -> str:
        """All of it, without the character that DOS ends a text with."""
        with self.start() as stream:
            return stream.read().removesuffix(_DOS_END)

    def lines(self, skip: int = 0) -> Iterator[str]:
        r"""The lines with their ends, which are "\r\n", "\r" or "\n": not those of `splitlines()`, for a query may hold U+2028.

        Args:
            skip: characters at the start that are left out.
        """
        with self.start() as stream:
            stream.read(skip)
            last = ""
            for line in stream:
                if last:
                    yield last
                last = line
            last = last.removesuffix(_DOS_END)
            if last:
                yield last


def in_memory(text: str) -> Text:
    """A text that is there already."""
    return Text(text[:_HEAD], lambda: io.StringIO(text, newline=""))


def text_file(path: Path, suffix: str, opened: Callable[[BinaryIO], None] = lambda file: None) -> Text | None:
    """The text of a large file of UTF-8, packed by gzip where its suffix says so, which is looked through once.

    None for a small file, and for one that is not what it should be (damaged, in another encoding, too large): it is to be read as a
    whole, which finds out what is wrong with it.

    Args:
        path, suffix: of the file.
        opened: is called with the file whenever it is opened, so that whoever reads can see how far that is.
    """

    def open_bytes() -> BinaryIO:
        file = path.open("rb")
        opened(file)
        return cast(BinaryIO, _Unpacked(file)) if suffix.endswith(".gz") else file

    try:
        with open_bytes() as stream:
            head = stream.read(_CHUNK + 1)
            if (
                len(head) <= WHOLE
                or recognised(head.removeprefix(codecs.BOM_UTF8))
                or may_be_wide(head)
                or not _is_utf8(stream, head)
            ):
                return None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return None
    start = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    return Text(start[:_HEAD], lambda: io.TextIOWrapper(open_bytes(), encoding="utf-8-sig", newline=""))


class _Unpacked(gzip.GzipFile):
    """The content of a packed file, which is closed with it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file)
        self._packed = file

    def close(self) -> None:
        super().close()
        self._packed.close()


def _is_utf8(stream: BinaryIO, head: bytes) -> bool:
    """Whether the stream, of which the head is read, ends within `MAX_BYTES`. Raises UnicodeDecodeError for what is not UTF-8."""
    decoder, size, chunk = codecs.getincrementaldecoder("utf-8")(), 0, head
    while chunk:
        size += len(chunk)
        decoder.decode(chunk)
        chunk = stream.read(_CHUNK)
    decoder.decode(b"", final=True)
    return size <= MAX_BYTES
