"""How an id becomes the name of a file, on every file system."""

import hashlib
import re

LONGEST = (
    100  # characters of a name, so that there is room for a suffix and for the folders before it (Windows: 260 in all)
)
_PLAIN = re.compile(r"[a-z0-9_-](?:[a-z0-9._-]*[a-z0-9_-])?")
# Devices of Windows, with any suffix: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


def file_name(id: str) -> str:
    """A name for a file or folder, without a suffix, that stands for this id and for no other.

    An id of small ASCII letters, digits and `-_.` that every file system takes is its own name. Any other id (capitals, which
    macOS and Windows do not tell from small letters; spaces, `:`, `/`, line ends; letters with accents, which macOS may
    store in another form; a dot at an end; Windows' `con`; more than 100 characters) gets what is plain of it, `~` and 16
    hex digits of its SHA-256. A plain name has no `~`, so the two kinds never meet.
    """
    if _PLAIN.fullmatch(id) and not _RESERVED.fullmatch(id) and len(id) <= LONGEST:
        return id
    digest = hashlib.sha256(id.encode("utf-8", errors="surrogatepass")).hexdigest()[:16]
    readable = re.sub(r"[^a-z0-9_-]+", "_", id.lower())[: LONGEST - 17]
    return f"{readable}~{digest}"
