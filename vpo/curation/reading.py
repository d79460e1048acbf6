"""What the rules read of a query: its text without flags and links, and the words of that."""

import re

from vpo.dataset.reading.text import comparison_key
from vpo.language.markup import without_marks

# Every flag, link, file name and piece of markup has one of these; most queries have none, and are not searched for them.
_MAY_BE_MARKED = re.compile(r"[^\w\s,.!?'\"()]|_|\w\.\w|^\s*\d", re.M)
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def plain_text(text: str) -> str:
    """The text without flags (`-ar 16:9`), links, file names and markup, as `vpo.language.markup` finds them."""
    return without_marks(text) if _MAY_BE_MARKED.search(text) else text


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, in their order, without punctuation. Scripts without spaces give one long word."""
    return _WORD.findall(comparison_key(text))


def shingles_of(text: str, size: int) -> set[str]:
    """The different runs of `size` characters of the words of a text, joined by spaces; a shorter text is its own one."""
    joined = " ".join(words_of(text))
    return {joined[at : at + size] for at in range(max(1, len(joined) - size + 1))} if joined else set()
