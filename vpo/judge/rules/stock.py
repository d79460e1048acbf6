"""Short stock sentences for what a text does not name: motion, light, place, camera, or words enough."""

from collections.abc import Sequence
from functools import cache

from vpo.judge.rules import helpfulness, lexicon
from vpo.judge.rules.sentences import SENTENCE_END
from vpo.judge.rules.words import Reading, read, stem_phrase

_MORE = 4  # sentences that a short text is given at most
# What a next sentence begins with when it goes on speaking of the one before: nothing is put between the two.
_GOES_ON = frozenset(
    {
        "it",
        "its",
        "he",
        "his",
        "she",
        "her",
        "they",
        "their",
        "this",
        "these",
        "that",
        "those",
        "then",
        "both",
        "each",
        "one",
        "another",
    }
)
_LOOKED_AT = 4  # words of a sentence's beginning


def sentences_for(text: str, facets: Sequence[str], min_words: int, seed: int) -> list[str]:
    """Sentences for the facets that the text lacks, and for its length, each true of the text's scenes."""
    reading = read(text)
    absent = [facet for facet in facets if helpfulness.signs_of(facet).isdisjoint(reading.places)]
    tail = [_sentence(facet, reading, seed) for facet in absent]
    offset = seed
    while len(f"{text} {' '.join(tail)}".split()) < min_words and offset < seed + _MORE:
        tail.append(_sentence("more", reading, offset))
        offset += 1
    return tail


def put_in(text: str, sentences: Sequence[str], after: Sequence[str] = ()) -> str:
    """The text with the sentences after its first one that the next does not go on from; weak video models do not read the end.

    Where sentences that were put in before (`after`) stand there, behind them.
    """
    if not sentences:
        return text
    parts = SENTENCE_END.split(text) if text else []
    earlier = [at + 1 for at, part in enumerate(parts) if part in after]
    free = (at for at in range(1, len(parts)) if not _goes_on(parts[at]))
    place = max(earlier) if earlier else next(free, len(parts))
    return " ".join([*parts[:place], *sentences, *parts[place:]])


def _goes_on(sentence: str) -> bool:
    return any(token.word in _GOES_ON for token in read(sentence).tokens[:_LOOKED_AT])


def _sentence(facet: str, reading: Reading, seed: int) -> str:
    rows = [sentence for name, scenes, sentence in _rows() if name == facet and not scenes & _scenes_of(reading)]
    return rows[seed % len(rows)]


def _scenes_of(reading: Reading) -> frozenset[str]:
    return frozenset(scene for scene, signs in _signs().items() if not signs.isdisjoint(reading.places))


@cache
def _rows() -> tuple[tuple[str, frozenset[str], str], ...]:
    rows = []
    for head, sentence in lexicon.patterns("facet_sentences"):
        facet, _, scenes = head.partition("|")
        rows.append((facet.strip(), frozenset(scenes.replace(",", " ").split()), sentence))
    return tuple(rows)


@cache
def _signs() -> dict[str, frozenset[str]]:
    return {scene: frozenset(map(stem_phrase, signs)) for scene, signs in lexicon.table("scenes").items()}
