"""Which texts are nearly the same, so that they must not stand on both sides of a split.

Benchmarks are made from templates ("A boat sailing leisurely along the Seine River ..., zoom in", "..., pan left"), and users send
a query again with another flag. A test query whose twin was trained on measures memory.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from vpo.dataset.reading.text import comparison_key

_WORD = re.compile(r"\w+")
# They say little of what a query is about; two queries that share only these are not near.
_FUNCTION_WORDS = {
    "a", "an", "the", "of", "in", "on", "at", "to", "and", "is", "are", "with", "by", "for", "from", "its", "it", "his", "her",
    "their", "as", "this", "that", "then", "into",
}  # fmt: skip
CONTAINED = (
    0.9  # of the shorter text's words, where it has at least LONG of them: one is the other with something added
)
LONG = 5


def content_words(text: str) -> frozenset[str]:
    """The different words of a text in lower case, without English function words; flags and punctuation are no words."""
    return frozenset(_WORD.findall(comparison_key(text))) - _FUNCTION_WORDS


def near_groups(texts: Sequence[str], least: float) -> list[int]:
    """The group of each text: texts that are near one another, or near a third one that links them, are in one group.

    Two texts are near if their content words have a Jaccard index of at least `least`, or if one with five or more of them has
    nearly all of its words in the other. Texts without content words (of emoji, say) are near none.

    Args:
        texts: what users typed.
        least: in (0, 1]; 1 groups texts of the same words only.

    Returns:
        For each text the place of the first text of its group.
    """
    words = [content_words(text) for text in texts]
    group = list(range(len(texts)))
    having: dict[str, list[int]] = defaultdict(list)
    for place, own in enumerate(words):
        shared = Counter(other for word in own for other in having[word])
        for other, both in shared.items():
            if _near(both, len(own), len(words[other]), least):
                _join(group, place, other)
        for word in own:
            having[word].append(place)
    return [_first(group, place) for place in range(len(texts))]


def _near(both: int, one: int, other: int, least: float) -> bool:
    """Whether two texts of `one` and `other` different words, of which they share `both`, are near."""
    shorter = min(one, other)
    return both >= least * (one + other - both) or (shorter >= LONG and both >= CONTAINED * shorter)


def _first(group: list[int], place: int) -> int:
    while group[place] != place:
        group[place] = group[group[place]]
        place = group[place]
    return place


def _join(group: list[int], one: int, other: int) -> None:
    first, second = sorted((_first(group, one), _first(group, other)))
    group[second] = first
