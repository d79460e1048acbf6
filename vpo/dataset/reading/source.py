"""From a path to the bytes of a data file: what kind of file it is, by its suffix, and what it must not be."""

import gzip
import hashlib
import io
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from vpo.dataset.reading.problems import FileProblem

TEXT_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")
MAX_BYTES = 10**9  # of the file, and of what it unpacks to

_CURE = "set dataset.path to a file of queries"
_SUFFIX_CURE = f"name the file {', '.join(SUFFIXES[:-1])} (any of them with .gz) or .parquet"

# (offset, first bytes, what has them)
_SIGNATURES = (
    (0, b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (0, b"version https://hawser.github.com/spec/", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (0, b"/annex/objects/", "a git-annex pointer, not the file itself; run `git annex get`"),
    (0, b"\x1f\x8b", "compressed by gzip; add .gz to its name"),
    (0, b"BZh91AY&SY", "compressed by bzip2; unpack it"),
    (0, b"\xfd7zXZ\0", "compressed by xz; unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (0, b"Rar!\x1a\x07", "a RAR archive; unpack it"),
    (0, b"PK\x03\x04", "a zip archive or an Office document; unpack it, or save the table as CSV"),
    (0, b"PK\x05\x06", "an empty zip archive; " + _CURE),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document; save the table as CSV"),
    (257, b"ustar\0", "a tar archive; unpack it"),
    (257, b"ustar  \0", "a tar archive; unpack it"),
    (0, b"PAR1\x15", "a Parquet file; name it .parquet"),
    (0, b"ARROW1\0\0", "an Arrow file; save it as Parquet or CSV"),
    (0, b"SQLite format 3\0", "an SQLite database; save the table as CSV"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file; save the texts as JSON or CSV"),
    (0, b"\x93NUMPY", "a NumPy file; save the texts as JSON or CSV"),
    (4, b"ftyp", "an MP4 video; " + _CURE),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video; " + _CURE),
    (0, b"\x89PNG\r\n", "a PNG picture; " + _CURE),
    (0, b"\xff\xd8\xff", "a JPEG picture; " + _CURE),
    (0, b"GIF87a", "a GIF picture; " + _CURE),
    (0, b"GIF89a", "a GIF picture; " + _CURE),
    (0, b"%PDF-", "a PDF document; copy its texts into a text file"),
    (0, b"{\\rtf", "an RTF document; save it as plain text"),
    (0, b"\x7fELF", "a program; " + _CURE),
    (0, b"OggS", "an Ogg file; " + _CURE),
    (0, b"ID3\x03", "an MP3 file; " + _CURE),
    (0, b"ID3\x04", "an MP3 file; " + _CURE),
    (0, b"fLaC\0", "a FLAC file; " + _CURE),
)
_PICKLE = re.compile(rb"\x80[\x02-\x05][^\n]{0,16}")
# What GitHub and the hub of Hugging Face send, as the whole file, where a name is wrong or a login is missing.
_ANSWER = re.compile(
    rb"(?:\d{3}: )?(?:not found|entry not found|bad request|forbidden|unauthorized|invalid username or password|"
    rb"repository not found|invalid rev id: \S*|access denied)\.?",
    re.IGNORECASE,
)
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!doctype\s+html|<html[\s>]|<\?xml\s)", re.IGNORECASE)


def local_path(given: object) -> Path:
    """The path that `dataset.path` gives, a tilde expanded. Raises FileProblem for a URL and for what is no path."""
    if not isinstance(given, str | os.PathLike):
        raise FileProblem("is no path; put it in quotes")
    text = os.fspath(given)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        url = urlsplit(text)
        if url.scheme.lower() == "file":
            raise FileProblem(f"is a URL; give the path alone: dataset.path={url.path}")
        how = "`hf download --repo-type dataset <name> <file>`" if url.scheme.lower() == "hf" else "`curl -fLO <URL>`"
        raise FileProblem(f"is a URL; download the file first, as with {how}, and set dataset.path to it")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # no such user
        raise FileProblem("names a home folder that does not exist; give the whole path") from error


def shown_path(given: object) -> str:
    """The path as messages name it: of a URL neither user, password nor query."""
    text = str(given)
    if "://" not in text:
        return text
    return re.sub(r"://[^/?#]*@", "://", text).partition("?")[0].partition("#")[0]


def suffix_of(path: Path) -> str:
    """The suffix in lower case, with what stands before a last `.gz`: ".csv", ".jsonl.gz"."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() + last if last == ".gz" else last


def check_file(path: Path, limit: int = MAX_BYTES) -> None:
    """Raise FileProblem for a folder, a device or pipe, an unknown suffix, no bytes, more than `limit` and what cannot be opened."""
    with _os_problems():
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise FileProblem("is a folder; set dataset.path to one file in it")
        if not stat.S_ISREG(status.st_mode):
            raise FileProblem("is a device or a pipe, not a file; save the queries in a file")
        suffix = suffix_of(path)
        if suffix.removesuffix(".gz") not in SUFFIXES or suffix == ".parquet.gz":
            raise FileProblem(f"unknown suffix {suffix!r}; {_SUFFIX_CURE}")
        if status.st_size > limit:
            raise _too_large(f"has {status.st_size / 1e9:,.1f} GB", limit)
        with path.open("rb") as file:
            if not file.read(1):
                raise FileProblem(f"the file is empty; {_CURE}")


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The file as it is. Raises FileProblem for what `check_file` refuses."""
    check_file(path, limit)
    with _os_problems(), path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise _too_large("grows while it is read", limit)
    return content


def hash_of(path: Path) -> str:
    """The sha256 of the suffix and the content of a file. Raises FileProblem for what `check_file` refuses."""
    check_file(path)
    digest = hashlib.sha256(suffix_of(path).encode() + b"\0")
    with _os_problems(), path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _os_problems() -> Iterator[None]:
    """What the system says of a file becomes a FileProblem."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise FileProblem(f"{reason}; {_CURE}") from error


def unpack(suffix: str, content: bytes, limit: int = MAX_BYTES) -> tuple[str, bytes]:
    """The suffix without `.gz` and the bytes without gzip. Raises FileProblem where the bytes are not what the suffix says."""
    if suffix.endswith(".gz"):
        if not content.startswith(b"\x1f\x8b"):
            raise FileProblem(f"is {recognised(content) or 'not compressed by gzip; take .gz off its name'}")
        try:
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(limit + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise FileProblem(f"is damaged ({' '.join(str(error).split())}); download or make it again") from error
        if len(content) > limit:
            raise _too_large("unpacks to more", limit)
        if not content:
            raise FileProblem(f"the file is empty; {_CURE}")
        suffix = suffix.removesuffix(".gz")
    other = recognised(content)
    if other and not (suffix == ".parquet" and content.startswith(b"PAR1")):
        raise FileProblem(f"is {other}")
    return suffix, content


def recognised(content: bytes) -> str | None:
    """What kind of file that holds no queries these bytes are, and what to do about it; None if they may be text."""
    for offset, start, name in _SIGNATURES:
        if content.startswith(start, offset):
            return name
    if content.startswith(b"RIFF") and content[8:12] in (b"AVI ", b"WAVE", b"WEBP"):
        return f"a {content[8:12].decode().strip()} file; {_CURE}"
    if _PICKLE.match(content) and content.endswith(b"."):
        return "a Python pickle; save the texts as JSON or CSV"
    if _ANSWER.fullmatch(content.strip()):
        return f"a server's answer, not the file itself ({content.strip().decode()}); download it again, with the right URL"
    if _PAGE.match(content):
        return "a web page or an XML document, not the file itself; download the raw file"
    return None


def _too_large(how: str, limit: int) -> FileProblem:
    size = f"{limit / 1e9:g} GB" if limit >= 10**7 else f"{limit:,} bytes"
    return FileProblem(f"{how}; at most {size} are read: take a part of it, such as its first million lines")
