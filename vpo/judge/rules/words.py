"""Text to lemmas: the rule judge compares words in the form in which their inflections fall together.

Lemmas come from lemminflect's dictionary and, for words that it lacks, from its rules. Where a form may come from several words
('leaves': leaf, leave), a text is found by each of them; `stem` names one, by which tables and phrases are looked up.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from lemminflect import getAllLemmas, getAllLemmasOOV

from vpo.judge.rules import lexicon

_WORD = re.compile(r"[^\W_]+(?:'[a-z]+)?")


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
    return Reading(text, tuple(tokens), _places(tokens))


def _places(tokens: Sequence[Token]) -> dict[str, tuple[int, ...]]:
    known = _phrase_heads()
    places: dict[str, list[int]] = {}
    for index, token in enumerate(tokens):
        for one in {token.stem, *lemmas(token.word)}:
            places.setdefault(one, []).append(index)
        for length in range(2, known.get(token.stem, 2) + 1):
            if index + length <= len(tokens):
                places.setdefault(" ".join(t.stem for t in tokens[index : index + length]), []).append(index)
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


def keys_of(words: Iterable[str]) -> frozenset[str]:
    """Lemmas and phrases as the keys by which readings know them."""
    return frozenset(stem_phrase(word) if " " in word else word for word in words)


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """The lemma by which tables know a word: 'running', 'ran' and 'runs' give 'run'; a noun or adjective that is one stays."""
    chosen = _chosen().get(word)
    if chosen:
        return chosen
    found = lemmas(word)
    verb = _by_part(word).get("VERB", ())
    if word.endswith(("ing", "ed")) and verb:
        return min(verb, key=len)
    return word if word in found else min(found, key=lambda one: (len(one), one))


@lru_cache(maxsize=50_000)
def lemmas(word: str) -> tuple[str, ...]:
    """Every word of which this may be a form; itself where nothing is known of it."""
    found = {one for row in _by_part(word).values() for one in row}
    if word.endswith("ly") and len(word) > 5:
        found.add(_adjective(word))
    return tuple(sorted(found)) or (word,)


@lru_cache(maxsize=50_000)
def _by_part(word: str) -> dict[str, tuple[str, ...]]:
    """Lemmas by part of speech, as lemminflect calls them: 'NOUN', 'VERB', 'ADJ', 'ADV'."""
    if len(word) < 3 or not word.isascii() or word.isdigit():
        return {}
    known = {part: row for part, row in getAllLemmas(word).items() if part in ("NOUN", "VERB", "ADJ", "ADV")}
    if known or not word.endswith(("s", "ing", "ed")):
        return known
    part = "NOUN" if word.endswith("s") else "VERB"
    return dict(getAllLemmasOOV(word, part)) if not word.endswith(("ss", "us", "is")) else {}


def verb_of(word: str) -> str | None:
    """The verb of which the word is a form, if it is one."""
    return min(_by_part(word).get("VERB", ()), key=len, default=None)


def noun_of(word: str) -> str | None:
    """The noun of which the word is a form, if it is one."""
    return min(_by_part(word).get("NOUN", ()), key=len, default=None)


def _adjective(word: str) -> str:
    """The adjective of an adverb: 'slowly', 'gently', 'happily'."""
    base = word[:-2]
    if base.endswith("i"):
        return base[:-1] + "y"
    return next((one for one in (base, base + "le", base + "l") if "ADJ" in getAllLemmas(one)), base)


@cache
def _chosen() -> dict[str, str]:
    """Forms of several words, with the one that is meant in descriptions of scenes."""
    return {form: lemma for lemma, forms in lexicon.table("lemmas").items() for form in forms}


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
