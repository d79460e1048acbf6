"""Words that are written so as not to be read: 'k i l l', 'k.i.l.l', 'n4ked', 'murd*r', 'kiiill', letters of another script."""

import itertools
import re
import unicodedata
from collections.abc import Iterator
from functools import cache

from vpo.judge.rules import lexicon

# Letters as digits and signs that look like them; the first of each is the usual one.
_LOOKS = {"0": "o", "1": "il", "3": "e", "4": "a", "5": "s", "6": "g", "7": "t", "8": "b", "9": "g", "@": "a", "$": "s",
          "!": "i", "|": "il", "+": "t", "\u20ac": "e", "\u00a3": "l"}  # fmt: skip
# Cyrillic and Greek letters that look like Latin ones.
_TWINS = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0455\u0458\u04bb\u0501\u0261\u03bf\u03b1\u03b5\u03b9\u03ba\u03bd"
    "\u03c1\u03c4\u03c5",
    "aeopcyxisjhdgoaeikvptu",
)
_HIDDEN = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
_SPACED = re.compile(r"(?<![\w'])[^\W_]((?P<gap>[ .\-_*\u00b7/|~+,]{1,3})[^\W_])(?:(?P=gap)[^\W_])+(?![\w'])")
_WORD = re.compile(rf"[\w@$!|+*#\u20ac\u00a3{_HIDDEN}]*[^\W\d_][\w@$!|+*#\u20ac\u00a3{_HIDDEN}]*")
_CUT = re.compile(r"(?<![\w-])[^\W\d_]{2,8}[-.\u00b7*/|~][^\W\d_]{2,8}(?![\w-])")
_THRICE = re.compile(r"(.)\1{2,}")
_LONGEST = 20  # characters; a longer token is no word
_MOST = 16  # readings of one token
_BLANKS = "*#_"  # each hides one letter


def readings(text: str) -> Iterator[tuple[int, int, list[str]]]:
    """What may be meant by each disguised word: where it begins and ends in the text, and the words it may be."""
    lower = text.lower()
    if len(lower) != len(text):
        lower = "".join(char.lower()[:1] or char for char in text)
    for match in _SPACED.finditer(lower):
        letters = [char for char in match.group() if char.isalnum()]
        whole = "".join(letters)
        yield (
            match.start(),
            match.end(),
            [*_readings_of(whole), *(word for word in _words() if len(word) > 3 and word in whole)],
        )
    for match in _CUT.finditer(lower):
        yield match.start(), match.end(), [re.sub(r"\W", "", match.group())]
    for match in _WORD.finditer(lower):
        if len(match.group()) <= _LONGEST and _suspicious(match.group()):
            yield match.start(), match.end(), _readings_of(match.group().rstrip("!|+*#_"))


def _suspicious(word: str) -> bool:
    return (
        not word.isascii()
        or any(char in _LOOKS or char in _BLANKS for char in word[:-1])
        or word[-1] in _LOOKS
        or any(a == b == c for a, b, c in zip(word, word[1:], word[2:], strict=False))
    )


def _readings_of(word: str) -> list[str]:
    plain = "".join(char for char in word if char not in _HIDDEN).translate(_TWINS)
    plain = "".join(unicodedata.normalize("NFKD", char)[0] for char in plain)
    if any(char in _BLANKS for char in plain[1:]):
        return [one for one in _words_of(len(plain)) if _fits(one, plain)]
    choices = itertools.product(*(_LOOKS.get(char, char) for char in plain))
    spelled = ["".join(choice) for choice in itertools.islice(choices, _MOST)]
    return spelled + [_THRICE.sub(kept, one) for one in spelled if _THRICE.search(one) for kept in (r"\1", r"\1\1")]


def _fits(word: str, pattern: str) -> bool:
    """Whether a word has the pattern's letters, which are most of it, in their places."""
    shown = [(a, b) for a, b in zip(word, pattern, strict=True) if b not in _BLANKS]
    return 2 * len(shown) >= len(word) and all(a == b or a in _LOOKS.get(b, "") for a, b in shown)


def _words_of(length: int) -> list[str]:
    """The unsafe words of this length, with those that an -s makes as long."""
    return [form for word in _words() for form in (word, f"{word}s") if len(form) == length]


@cache
def _words() -> tuple[str, ...]:
    return tuple(word for items in lexicon.table("unsafe").values() for word in items if word.isalpha())
