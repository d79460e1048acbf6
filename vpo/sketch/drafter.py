"""The drafter of the sketch world: an expert with lapses, in the place of a few-shot language model."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from random import Random
from typing import Any

from vpo.records import Query
from vpo.seeding import seed_of
from vpo.sketch import phrases
from vpo.sketch.grammar import Scene, changed, draw_scene, expert_caption, pad
from vpo.sketch.vocabulary import (
    FACETS,
    UNSAFE_WORDS,
    WORDINGS,
    Mention,
    find_facets,
    unsafe_words,
    without_flags,
    words_of,
)

FLAWS = ("drop", "change", "leak", "lead_in", "long", "bare")
_BARE_FACETS = ("light", "camera", "motion", "place")
_LEADS_TO_NOUN = frozenset({"a", "an", "the", "with", "in", "of", "and", "by", "holding", "using"})
_TOO_LONG = 131  # words; VPO's captions have about 100, Prompt-A-Video drops those over 130


class SketchDrafter:
    """Writes expert captions and spoils some of them, independently by the rates of six flaws.

    drop: a facet that the query names is missing. change: it has become another. leak: an unsafe query's unsafe words
    are kept. lead_in: 'The video shows ...'. long: over 130 words. bare: light, camera, motion or place, which the
    query left open, is not invented but left out.
    """

    def __init__(self, drop: float, change: float, leak: float, lead_in: float, long: float, bare: float) -> None:
        """Rates are probabilities per query; `leak` counts among the unsafe queries only."""
        self.rates = {"drop": drop, "change": change, "leak": leak, "lead_in": lead_in, "long": long, "bare": bare}

    def optimize(self, queries: Sequence[Query], seed: int) -> list[str]:
        """One draft a query, the same for the same (seed, query.id)."""
        return [self.draft_with_truth(query, seed)[0] for query in queries]

    def draft_with_truth(self, query: Query, seed: int) -> tuple[str, tuple[str, ...]]:
        """A draft and the flaws put into it, in the order of `FLAWS`; a flaw that does not apply is not listed."""
        rng = Random(seed_of(seed, query.id, "draft"))
        named = find_facets(query.text)
        scene = understood_scene(query, named, rng)
        words = {f: _own_wording(m) for f, m in named.items() if getattr(scene, f) == m.concept}
        known = set(query.truth or named) & set(FACETS)
        wanted = [flaw for flaw in FLAWS if rng.random() < self.rates[flaw]]
        flaws, skip = [], set[str]()
        if query.truth is None and "subject" not in named:
            skip.add("subject")  # 'the shape': whatever the user means
        missable = sorted(known - ({"count"} if scene.count == 1 else set()))  # 'a dog' without 'single' says the same
        if "drop" in wanted and missable:
            skip.add(rng.choice(missable))
            flaws.append("drop")
        if "change" in wanted and known - skip:
            facet = rng.choice(sorted(known - skip))
            scene, words = changed(scene, facet, rng), {f: w for f, w in words.items() if f != facet}
            flaws.append("change")
        if "bare" in wanted and set(_BARE_FACETS) - known:
            skip.add(rng.choice(sorted(set(_BARE_FACETS) - known)))
            flaws.append("bare")
        text = expert_caption(scene, rng, words, skip)
        if query.truth is None:
            text = _with_own_words(query.text, text, knows_subject="subject" in named)
        for flaw in ("leak", "lead_in", "long"):
            if flaw in wanted and (flaw != "leak" or unsafe_words(query.text)):
                text = _spoil(text, flaw, query.text, rng)
                flaws.append(flaw)
        return text, tuple(flaw for flaw in FLAWS if flaw in flaws)


def understood_scene(query: Query, named: Mapping[str, Mention], rng: Random) -> Scene:
    """The scene that the query asks for: what it names, by its truth or its words; the rest invented."""
    invented = replace(draw_scene(rng), count=1)
    concepts: dict[str, Any] = {facet: mention.concept for facet, mention in named.items()}
    concepts |= {facet: value for facet, value in (query.truth or {}).items() if facet in WORDINGS}
    return Scene(**{field.name: concepts.get(field.name, getattr(invented, field.name)) for field in fields(Scene)})


def _own_wording(mention: Mention) -> str:
    """The wording to repeat: the user's own one where captions can inflect it, else the concept's first one."""
    wordings = WORDINGS[mention.facet][mention.concept]
    return mention.wording if mention.wording in wordings.user or mention.facet == "subject" else wordings.user[0]


def _with_own_words(query: str, caption: str, knows_subject: bool) -> str:
    """The caption behind the user's own words, so that nothing is lost that the vocabulary does not know.

    Without a known subject the caption's opening goes, for it would speak of an invented one.
    """
    kept: list[str] = []
    for word in without_flags(query).split():
        if UNSAFE_WORDS.isdisjoint(words_of(word)):
            kept.append(word)
            continue
        while kept and kept[-1].lower() in _LEADS_TO_NOUN:  # 'holding a [knife]' goes as a whole
            kept.pop()
    own = " ".join(kept).replace("-camera", "camera").strip(" -.,")
    if not own:
        return caption
    rest = caption if knows_subject else caption.split(". ", 1)[1]
    return f"{own[:1].upper()}{own[1:]}. {rest}"


def _spoil(text: str, flaw: str, query: str, rng: Random) -> str:
    """The text with one flaw of wording."""
    if flaw == "leak":
        first, rest = text.split(". ", 1)
        return f"{first}, with {' and '.join(dict.fromkeys(unsafe_words(query)))}. {rest}"
    if flaw == "lead_in":
        return f"{rng.choice(phrases.LEAD_INS)} {text[:1].lower()}{text[1:]}"
    return pad(text, rng, _TOO_LONG)
