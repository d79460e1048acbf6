"""The rules that look at one query: each gives the reason to drop it, or None. Pure functions of the text and the rule's numbers.

VPO filters VidProM by "keywords, special characters and query length" (arXiv 2503.20491, section 3.2); its rules are not published, so
these and their numbers (`conf/curation/vpo.yaml`) are ours. `text` is what the user typed; flags such as `-ar 16:9` are no words.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from vpo.curation.reading import plain_text, words_of

PUNCTUATION = frozenset(".,;:!?'\"()-–—…‘’“”、。，！？：；「」¿¡%&/")  # of ordinary prose
_UNUSUAL = re.compile(rf"[^\w\s{re.escape(''.join(sorted(PUNCTUATION)))}]|_")


def length_reason(text: str, *, least_words: int, most_words: int, most_characters: int) -> str | None:
    """Too few or too many words without flags, or too many characters with them (a pasted document)."""
    if len(text) > most_characters:
        return f"{len(text)} characters, above {most_characters}"
    count = len(words_of(text))
    if count < least_words:
        return f"{count} word{'s' if count != 1 else ''}, below {least_words}"
    return f"{count} words, above {most_words}" if count > most_words else None


def characters_reason(text: str, *, most_special: float, longest_run: int) -> str | None:
    """Too large a share of characters that are neither letters, digits, spaces nor punctuation, or one of them again and again.

    Args:
        text: what the user typed.
        most_special: a share of the characters without flags, from 0 to 1. Letters of all scripts with their marks are no special
            characters; emoji, symbols, control characters and U+FFFD are.
        longest_run: how often one visible character may stand in a row.
    """
    plain = plain_text(text)
    if "\ufffd" in plain:
        return "a character that could not be decoded (U+FFFD)"
    special = sum(map(_is_special, _UNUSUAL.findall(plain)))
    if plain and special > most_special * len(plain):
        return f"{special / len(plain):.0%} special characters, above {most_special:.0%}"
    run = _run_pattern(longest_run).search(plain)
    return f"{run[1]!r} {len(run[0])} times in a row, above {longest_run}" if run else None


def keyword_reason(text: str, *, keywords: Iterable[str]) -> str | None:
    """One of the keywords, whatever its case: as whole words, so that neither "cats" nor "draw/imagine" has "cat" or "/imagine"."""
    found = keyword_pattern(tuple(keywords)).search(text)
    return f"the keyword {' '.join(found.group().lower().split())!r}" if found else None


@lru_cache(maxsize=64)
def keyword_pattern(keywords: tuple[str, ...]) -> re.Pattern[str]:
    """What finds the first of several keywords; white space in one stands for any. None of them finds nothing."""
    parts = [
        r"(?<!\w)" + r"\s+".join(map(re.escape, word.split())) + (r"\b" if word[-1:].isalnum() else "")
        for word in (one.strip() for one in keywords)
        if word
    ]
    return re.compile("|".join(parts) or r"(?!)", re.IGNORECASE)


@lru_cache(maxsize=16)
def _run_pattern(longest: int) -> re.Pattern[str]:
    return re.compile(rf"(\S)\1{{{longest},}}")


@lru_cache(maxsize=10_000)
def _is_special(character: str) -> bool:
    return not (
        character.isalnum()
        or character.isspace()
        or character in PUNCTUATION
        or unicodedata.category(character).startswith("M")
        or character in "\u200c\u200d"  # joiners, which Persian and Indic scripts need
    )
