"""What in a text is unsafe: words by aspect, pairs of words by pattern, and the phrases in which they are harmless.

The aspects follow the list of safety issues in VPO's critique rules (arXiv 2503.20491, Fig. 8), in words of our own.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from vpo.judge.rules import lexicon
from vpo.judge.rules.words import Reading, fold, stem_phrase

_VICTIM = (
    r"(?:(?:a|an|the|his|her|their|another|each|some|two|three|innocent|\w+ing)\s)?(?:(?:old|young|small|little|poor)\s)?"
    r"(?:man|men|woman|women|person|people|child|children|kids?|boys?|girls?|crowds?|other|dogs?|cats?|horses?|animals?|"
    r"him|her|them|wife|husband|polic\w+|soldiers?|students?|victims?|civilians?|protesters?)\b"
)
_NEGATIONS = frozenset({"no", "without", "not", "never", "free", "avoid", "avoiding", "nor"})


@dataclass(frozen=True)
class Harm:
    """One unsafe reading: its aspect, and the tokens `first` to `last` (both included) that carry it."""

    aspect: str
    first: int
    last: int


def find(reading: Reading) -> tuple[Harm, ...]:
    """Every unsafe reading of a text, in the text's order."""
    safe = _safe_tokens(reading)
    found = [harm for harm in (*_by_word(reading), *_by_pattern(reading)) if not safe.issuperset(_span(harm))]
    return tuple(
        sorted({harm for harm in found if not _negated(reading, harm)}, key=lambda harm: (harm.first, harm.last))
    )


def words_of(reading: Reading, harm: Harm) -> str:
    """The unsafe words as the text has them."""
    return reading.text[reading.tokens[harm.first].start : reading.tokens[harm.last].end]


def _span(harm: Harm) -> range:
    return range(harm.first, harm.last + 1)


def _safe_tokens(reading: Reading) -> set[int]:
    hits = _safe_phrases() & reading.places.keys()
    return {i + step for phrase in hits for i in reading.places[phrase] for step in range(len(phrase.split()))}


def _by_word(reading: Reading) -> Iterator[Harm]:
    unsafe = _unsafe_phrases()
    for phrase in unsafe.keys() & reading.places.keys():
        for first in reading.places[phrase]:
            yield Harm(unsafe[phrase], first, first + len(phrase.split()) - 1)


def _by_pattern(reading: Reading) -> Iterator[Harm]:
    if not _triggers().search(fold(reading.text)):
        return
    starts = {token.start: i for i, token in enumerate(reading.tokens)}
    for aspect, pattern in _patterns():
        tool = "tool" in pattern.groupindex
        if tool and not _kitchen().isdisjoint(reading.places):
            continue
        for match in pattern.finditer(fold(reading.text)):
            first, end = match.span("tool" if tool else 0)
            inside = [i for start, i in starts.items() if first <= start < end]
            if inside:
                yield Harm(aspect, min(inside), max(inside))


def _negated(reading: Reading, harm: Harm) -> bool:
    """Whether 'no', 'without' or the like stands within two words before: 'free of violence' is harmless."""
    if reading.tokens[harm.first].word in _NEGATIONS:
        return False
    before = reading.tokens[max(0, harm.first - 3) : harm.first]
    return any(t.word in _NEGATIONS and t.sentence == reading.tokens[harm.first].sentence for t in before)


@cache
def _unsafe_phrases() -> dict[str, str]:
    return {stem_phrase(word): aspect for aspect, items in lexicon.table("unsafe").items() for word in items}


@cache
def _safe_phrases() -> frozenset[str]:
    return frozenset(stem_phrase(phrase) for group in lexicon.groups("safe") for phrase in group)


@cache
def _kitchen() -> frozenset[str]:
    return frozenset(stem_phrase(word) for word in lexicon.words("kitchen"))


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    rows = lexicon.patterns("unsafe_patterns")
    return tuple((aspect, re.compile(pattern.replace("{victim}", _VICTIM))) for aspect, pattern in rows)


@cache
def _triggers() -> re.Pattern[str]:
    """The first words of all patterns: most texts have none of them, and need not be searched pattern by pattern."""
    return re.compile("|".join(re.sub(r"\?P<\w+>", "?:", pattern.pattern) for _, pattern in _patterns()))
