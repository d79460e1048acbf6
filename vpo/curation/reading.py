"""What the rules read of a query: its text without flags and links, and the words of that."""

import re
from functools import lru_cache

from vpo.dataset.reading.text import comparison_key
from vpo.language.markup import without_marks

# Every flag, link, file name and piece of markup has one of these; most queries have none, and are not searched for them.
_MAY_BE_MARKED = re.compile(r"[^\w\s,.!?'\"()]|_|\w\.\w|^\s*\d", re.M)
_WORD = re.compile(r"\w+(?:['’]\w+)*")


@lru_cache(maxsize=4096)
def plain_text(text: str) -> str:
    """The text without flags (`-ar 16:9`), links, file names and markup, as `vpo.language.markup` finds them.

    Cached, as the words are, because several rules read the same query one after another.
    """
    return without_marks(text) if _MAY_BE_MARKED.search(text) else text


@lru_cache(maxsize=4096)
def words_of(text: str) -> tuple[str, ...]:
    """The words of `plain_text` in lower case, in their order, without punctuation. Scripts without spaces give one long word."""
    return tuple(_WORD.findall(comparison_key(plain_text(text))))


def shingles_of(text: str, size: int) -> set[str]:
    """The different runs of `size` characters of a text's words, joined by spaces; a shorter text is its own one."""
    joined = " ".join(words_of(text))
    return {joined[at : at + size] for at in range(max(1, len(joined) - size + 1))} if joined else set()
