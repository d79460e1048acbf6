"""What WordNet says of words: synonyms, kinds, members, opposites, words of one root (Miller, 1995; Fellbaum, 1998).

The table `lexicon/wordnet.txt.gz` is made from WordNet 3.1 by `.ci/wordnet.py`. A word has many meanings, the most frequent first;
only the first few are looked at. Words are lemmas in lower case, parts of speech the letters of `PARTS`.
"""

import gzip
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources

from vpo.judge.rules import lexicon

NOUN, VERB, ADJECTIVE, ADVERB = PARTS = ("n", "v", "a", "r")
MEANINGS = 3  # of a word, that are looked at: rarer ones join words that nobody would take for each other
# lexnames(5WN): categories of nouns that can be seen.
VISIBLE = frozenset({"05", "06", "08", "13", "15", "17", "18", "19", "20", "27"})


@dataclass
class Synset:
    """One meaning: its words, and the numbers of the meanings to which it is related."""

    part: str
    category: str
    words: tuple[str, ...]
    related: dict[str, tuple[int, ...]] = field(default_factory=dict)


Senses = dict[tuple[str, str], tuple[tuple[int, int], ...]]


@cache
def _table() -> tuple[tuple[Synset, ...], Senses]:
    """The meanings by number; and of each word and part of speech its meanings, the most frequent first: number and count."""
    packed = resources.files(lexicon.__name__).joinpath("wordnet.txt.gz").read_bytes()
    synsets, found = [], defaultdict(list)
    for line in gzip.decompress(packed).decode().splitlines():
        if line.startswith("#"):
            continue
        number, part, category, row, *relations = line.split("\t")
        words = [word.split("/") for word in row.split("|")]
        for name, sense, count in words:
            found[name, part].append((int(sense), int(number), int(count)))
        pairs = (relation.split(":") for relation in relations)
        related = {name: tuple(map(int, numbers.split(","))) for name, numbers in pairs}
        synsets.append(Synset(part, category, tuple(name for name, _, _ in words), related))
    senses = {key: tuple((number, count) for _, number, count in sorted(rows)) for key, rows in found.items()}
    return tuple(synsets), senses


def _synsets() -> tuple[Synset, ...]:
    return _table()[0]


def _senses() -> Senses:
    return _table()[1]


def meanings(word: str, part: str, most: int = MEANINGS) -> tuple[int, ...]:
    """Numbers of the word's first meanings as this part of speech."""
    return tuple(number for number, _ in _senses().get((word, part), ())[:most])


def known(word: str, part: str) -> bool:
    """Whether the word has a meaning as this part of speech."""
    return (word, part) in _senses()


@lru_cache(maxsize=20_000)
def frequency(word: str, part: str) -> int:
    """How often the word was met as this part of speech in texts with tagged senses."""
    return sum(count for _, count in _senses().get((word, part), ()))


def words_of(numbers: Iterable[int], usual: int = MEANINGS) -> frozenset[str]:
    """The words that usually have one of these meanings: among their first `usual` ones, and in their main part of speech."""
    found: set[str] = set()
    for number in numbers:
        synset = _synsets()[number]
        found.update(
            word for word in synset.words if number in meanings(word, synset.part, usual) and mainly(word, synset.part)
        )
    return frozenset(found)


@lru_cache(maxsize=50_000)
def mainly(word: str, part: str) -> bool:
    """Whether the word is this part of speech at least half as often as any other."""
    others = (frequency(word, other) for other in PARTS if other != part)
    return known(word, part) and 2 * frequency(word, part) >= max(others)


@lru_cache(maxsize=20_000)
def categories(word: str, part: str, most: int = 1) -> frozenset[str]:
    """lexnames(5WN) numbers of the word's first meanings."""
    return frozenset(_synsets()[number].category for number in meanings(word, part, most))


def visible(word: str) -> bool:
    """Whether the noun's first meaning is something that can be seen."""
    return not categories(word, NOUN).isdisjoint(VISIBLE)


@lru_cache(maxsize=20_000)
def synonyms(word: str, part: str) -> frozenset[str]:
    """Words that share one of the word's first meanings, among the first ones of their own."""
    return words_of(meanings(word, part)) - {word}


@lru_cache(maxsize=20_000)
def below(word: str, part: str, levels: int = 3) -> frozenset[str]:
    """Words for kinds of what the word names: hyponyms of nouns, manners of verbs, similar adjectives."""
    relation = "similar" if part in (ADJECTIVE, ADVERB) else "kind"
    return words_of(_closure(meanings(word, part), relation, levels, down=part in (NOUN, VERB))) - {word}


@lru_cache(maxsize=20_000)
def above(word: str, part: str, levels: int = 2) -> frozenset[str]:
    """Words for the kinds to which what the word names belongs."""
    return words_of(_closure(meanings(word, part, 2), "kind", levels)) - {word}


@lru_cache(maxsize=20_000)
def opposites(word: str, part: str) -> frozenset[str]:
    """Antonyms; of an adjective also those of the adjective that it is similar to."""
    numbers = set(meanings(word, part))
    if part == ADJECTIVE:
        numbers |= _closure(numbers, "similar", 1)
    return words_of(_closure(numbers, "opposite", 1) - numbers) - {word}


@lru_cache(maxsize=20_000)
def cognates(word: str, part: str) -> frozenset[str]:
    """Words of the same root in other parts of speech: 'oxidation' and 'oxidize', 'slowly' and 'slow'."""
    numbers = set(meanings(word, part))
    return frozenset(
        other
        for name in ("derived", "pertains")
        for other in words_of(_closure(numbers, name, 1) - numbers)
        if other[:3] == word[:3]
    ) - {word}


def sisters(numbers: Iterable[int]) -> frozenset[str]:
    """Words for the other members of the kinds to which these meanings belong."""
    return words_of(_closure(_closure(numbers, "kind", 1), "kind", 1, down=True))


def _closure(numbers: Iterable[int], relation: str, levels: int, *, down: bool = False) -> set[int]:
    """Meanings within so many steps of the relation, without those at which it starts; `down` follows it backwards."""
    start = set(numbers)
    found, edge = set(start), set(start)
    for _ in range(levels):
        edge = {other for number in edge for other in _steps(number, relation, down)} - found
        found |= edge
    return found - start


def _steps(number: int, relation: str, down: bool) -> Iterator[int]:
    if down:
        yield from _members().get(number, ())
    else:
        yield from _synsets()[number].related.get(relation, ())


@cache
def _members() -> dict[int, tuple[int, ...]]:
    found: dict[int, list[int]] = defaultdict(list)
    for number, synset in enumerate(_synsets()):
        for kind in synset.related.get("kind", ()):
            found[kind].append(number)
    return {kind: tuple(members) for kind, members in found.items()}
