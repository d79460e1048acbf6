"""Whether a prompt helps: it starts directly, has the right length, and names motion, light, place and camera."""

import re
from collections.abc import Sequence
from functools import cache

from vpo.judge import lexicon
from vpo.judge.words import Reading, stem_phrase
from vpo.records import Reason


def flaws(prompt: Reading, facets: Sequence[str], min_words: int, max_words: int) -> list[Reason]:
    """Every way in which the prompt does not help; none means helpful."""
    found = []
    opening = lead_in(prompt.text)
    if opening:
        found.append(Reason("helpful", "lead_in", opening))
    words = len(prompt.text.split())
    if words > max_words:
        found.append(Reason("helpful", "too_long", f"{words} words"))
    if words < min_words:
        found.append(Reason("helpful", "too_short", f"{words} words"))
    found += [Reason("helpful", "no_facet", facet) for facet in facets if signs_of(facet).isdisjoint(prompt.places)]
    return found


def lead_in(text: str) -> str:
    """The words that announce a prompt instead of beginning it, or nothing."""
    return _match("lead_ins", text)


def refusal(text: str) -> str:
    """The words with which an answer declines, or nothing; only at the start, so that a story may quote them."""
    return _match("refusals", text)


def _match(name: str, text: str) -> str:
    for pattern in _compiled(name):
        match = pattern.match(text[:300])
        if match:
            return match.group().strip()
    return ""


@cache
def _compiled(name: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(r"\W*" + pattern, re.I) for _, pattern in lexicon.patterns(name))


@cache
def signs_of(facet: str) -> frozenset[str]:
    """The stems that show a facet."""
    return frozenset(stem_phrase(word) for word in lexicon.table("facets")[facet])
