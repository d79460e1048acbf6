"""Text to stems: the rule judge compares words in the form in which their inflections fall together.

A hand-written stemmer rather than a lemma library: the judge only asks whether two words are the same one, so a stem
need not be a word, and 60 lines without data are quicker to import than any dictionary. It undoes regular endings in
the manner of Porter's step 1 (An algorithm for suffix stripping, 1980) and irregular ones by table.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from vpo.judge.rules import lexicon

_WORD = re.compile(r"[^\W_]+(?:'[a-z]+)?")
_VOWEL = re.compile("[aeiouy]")


@dataclass(frozen=True)
class Token:
    """One word of a text: its place there, folded form, stem, and the number of its sentence."""

    start: int
    end: int
    word: str
    stem: str
    sentence: int


@dataclass(frozen=True)
class Reading:
    """A text read once: its tokens, and where each word or phrase (stems joined by a blank) begins."""

    text: str
    tokens: tuple[Token, ...]
    places: Mapping[str, tuple[int, ...]]

    def has(self, phrase: str) -> bool:
        """Whether the phrase (any inflection) occurs."""
        return stem_phrase(phrase) in self.places

    def at(self, phrase: str) -> tuple[int, ...]:
        """Indices of the tokens at which the phrase begins."""
        return self.places.get(stem_phrase(phrase), ())


def fold(text: str) -> str:
    """Lower case without accents, every character in its place, so that offsets into the text stay true."""
    if text.isascii():
        return text.lower()
    plain = (unicodedata.normalize("NFKD", char)[0].lower()[:1] or char for char in text.replace("’", "'"))
    return "".join(plain)


def read(text: str) -> Reading:
    """Tokens, stems and phrases of a text, in time linear in its length."""
    folded = fold(text)
    tokens: list[Token] = []
    sentence = 0
    end = 0
    for match in _WORD.finditer(folded):
        if tokens and any(mark in folded[end : match.start()] for mark in ".!?;\n"):
            sentence += 1
        start, end = match.span()
        word = match.group().split("'")[0] if match.group().endswith("'s") else match.group()
        tokens.append(Token(start, start + len(word), word, stem(word), sentence))
    return Reading(text, tuple(tokens), _places([token.stem for token in tokens]))


def _places(stems: Sequence[str]) -> dict[str, tuple[int, ...]]:
    known = _phrase_heads()
    places: dict[str, list[int]] = {}
    for index, one in enumerate(stems):
        places.setdefault(one, []).append(index)
        for length in range(2, known.get(one, 2) + 1):
            if index + length <= len(stems):
                places.setdefault(" ".join(stems[index : index + length]), []).append(index)
    return {phrase: tuple(found) for phrase, found in places.items()}


@cache
def _phrase_heads() -> dict[str, int]:
    """First stems of the lexicon's phrases, with the length of the longest phrase: no others are looked for."""
    heads: dict[str, int] = {}
    tables = ("kinds", "signs", "styles", "camera", "unsafe", "facets")
    phrases = [p for name in tables for head, items in lexicon.table(name).items() for p in (head, *items)]
    phrases += [p for name in ("same", "safe") for group in lexicon.groups(name) for p in group]
    for phrase in phrases:
        parts = stem_phrase(phrase).split()
        if parts:
            heads[parts[0]] = max(len(parts), heads.get(parts[0], 2))
    return heads


@lru_cache(maxsize=50_000)
def stem_phrase(phrase: str) -> str:
    """The stems of a phrase, joined by a blank: the key by which readings know it."""
    return " ".join(stem(word.split("'")[0] if word.endswith("'s") else word) for word in _WORD.findall(fold(phrase)))


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """The part of a word that its inflections share: 'running', 'ran' and 'runs' give 'run'; 'waves' gives 'wav'."""
    return _ending(_irregular().get(word, word))


@cache
def _irregular() -> dict[str, str]:
    return {form: lemma for lemma, forms in lexicon.table("irregular").items() for form in forms}


def _ending(word: str) -> str:
    if len(word) <= 3 or not word.isascii() or word.isdigit():
        return word
    if word.endswith("ies"):
        word = word[:-3] + ("ie" if len(word) == 4 else "y")
    elif (word.endswith("es") and word[-3] in "sxz") or word.endswith(("ches", "shes")):
        word = word[:-2]
    elif word.endswith("s") and word[-2] not in "sui":
        word = word[:-1]
    for suffix in ("ing", "ied", "ed"):
        base = word[: -len(suffix)]
        if word.endswith(suffix) and not word.endswith("eed") and len(base) >= (2 if suffix == "ied" else 3):
            if suffix == "ied":
                word = base + "y"
            elif _VOWEL.search(base):
                word = _single(base)
            break
    if word.endswith("ly") and len(word) > 5:
        word = word[:-2]
    if word.endswith("e") and len(word) > 3:
        word = word[:-1]
    return word


def _single(base: str) -> str:
    """Undoes the doubled consonant of 'running', not the one of 'rolling'."""
    return base[:-1] if base[-1] == base[-2] and base[-1] not in "lsz" else base


def near(a: str, b: str, most: int) -> bool:
    """Whether two words are at most `most` typing errors apart (Damerau's insert, drop, change, swap of neighbours)."""
    if abs(len(a) - len(b)) > most:
        return False
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if before and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return False
        before, last = last, row
    return last[-1] <= most
