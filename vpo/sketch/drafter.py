"""The drafter of the sketch world: an expert with lapses, in the place of a few-shot language model.

It knows scenes of the sketch world's grammar and nothing else. For any other query (`dataset=file`, `dataset=vpo`) it cannot
write an expert's caption, so it invents nothing: it keeps the user's own words, without flags, markup and unsafe words, and adds
sentences that could stand beside any query for what the words leave open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from random import Random
from typing import Any

from vpo.language.markup import strip_marks
from vpo.records import Query
from vpo.seeding import seed_of
from vpo.sketch import phrases
from vpo.sketch.grammar import MIN_WORDS, Scene, changed, draw_scene, expert_caption, pad
from vpo.sketch.vocabulary import (
    FACETS,
    UNSAFE_PHRASES,
    UNSAFE_WORDS,
    WORDINGS,
    Mention,
    find_facets,
    find_mentions,
    plural,
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
    query left open, is not invented but left out. For a query beyond the grammar the first two cannot happen.
    """

    def __init__(self, drop: float, change: float, leak: float, lead_in: float, long: float, bare: float) -> None:
        """Rates are probabilities per query; `leak` counts among the unsafe queries only."""
        self.rates = {"drop": drop, "change": change, "leak": leak, "lead_in": lead_in, "long": long, "bare": bare}

    def optimize(self, queries: Sequence[Query], seed: int) -> list[str]:
        """One draft a query, the same for the same (seed, query.id)."""
        return [self.draft_with_truth(query, seed)[0] for query in queries]

    def draft_with_truth(self, query: Query, seed: int, scene: Scene | None = None) -> tuple[str, tuple[str, ...]]:
        """A draft and the flaws put into it, in the order of `FLAWS`; a flaw that does not apply is not listed.

        The scene that is told is the given one, or what the query leaves open is invented.
        """
        rng = Random(seed_of(seed, query.id, "draft"))
        if query.truth is None and not in_grammar(query.text):
            return self._plain_draft(query.text, rng)
        named = find_facets(query.text)
        scene = scene or understood_scene(query, named, rng)
        words = {f: _own_wording(m) for f, m in named.items() if getattr(scene, f) == m.concept}
        known = set(query.truth or named) & set(FACETS)
        wanted = [flaw for flaw in FLAWS if rng.random() < self.rates[flaw]]
        flaws, skip = [], set[str]()
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
            text = f"{_own_sentence(without_flags(query.text).replace('-camera', 'camera'))} {text}"
        text, worded = _worded(text, wanted, query.text, rng)
        return text, tuple(flaw for flaw in FLAWS if flaw in (*flaws, *worded))

    def _plain_draft(self, query: str, rng: Random) -> tuple[str, tuple[str, ...]]:
        """A draft that holds nothing but the query's words and sentences at odds with nothing."""
        plain = strip_marks(query)
        own = _own_sentence(plain.text)
        if plain.camera:
            move = phrases.CAMERA_VERBS.get(plain.camera)
            own = f"{own} The camera {move}." if move else f"{own} The camera move is {plain.camera}."
        open_facets = [facet for facet in _BARE_FACETS if facet not in find_facets(own)]
        wanted = [flaw for flaw in FLAWS if rng.random() < self.rates[flaw]]
        bare = "bare" in wanted and bool(open_facets)
        if bare:
            open_facets.remove(rng.choice(open_facets))
        rng.shuffle(open_facets)
        added = [rng.choice(phrases.NEUTRAL[facet]) for facet in open_facets]
        padding = rng.sample(phrases.NEUTRAL_PADDING, len(phrases.NEUTRAL_PADDING))
        while padding and len(" ".join([own, *added]).split()) < MIN_WORDS:
            added.append(padding.pop())
        text, worded = _worded(" ".join([own, *added]).strip(), wanted, query, rng, phrases.NEUTRAL_PADDING)
        return text, tuple(flaw for flaw in FLAWS if flaw in worded or (flaw == "bare" and bare))


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


def in_grammar(text: str) -> bool:
    """Whether a user of the sketch world could have typed the text: one subject, each facet once, and no other words."""
    if any(mark.text not in phrases.FLAGS and not mark.text.startswith("-camera ") for mark in strip_marks(text).marks):
        return False
    words = words_of(without_flags(text))
    mentions = [mention for mention in find_mentions(words) if mention.wording not in ("a", "an")]
    facets = [mention.facet for mention in mentions]
    if "subject" not in facets or len(facets) > len(set(facets)) or not _grammar_words().issuperset(words):
        return False
    return all(mention.wording in WORDINGS[mention.facet][mention.concept].user for mention in mentions)


@cache
def _grammar_words() -> frozenset[str]:
    """Every word of the queries that `grammar.user_query` writes."""
    wordings = {wording for concepts in WORDINGS.values() for one in concepts.values() for wording in one.user}
    nouns = {plural(wording) for one in WORDINGS["subject"].values() for wording in one.user}
    places = {
        f"{phrases.PLACE_PREPOSITIONS[wording]} the" for one in WORDINGS["place"].values() for wording in one.user
    }
    lights = {phrases.LIT[wording] for one in WORDINGS["light"].values() for wording in one.user}
    around = {*phrases.ASKING, *phrases.QUALITY, *phrases.TYPOS.values(), *UNSAFE_PHRASES, "a an the style camera"}
    return frozenset(word for part in wordings | nouns | places | lights | around for word in words_of(part))


def _own_sentence(text: str) -> str:
    """The user's words as a sentence, without the unsafe ones; empty where nothing else is there."""
    kept: list[str] = []
    for word in text.split():
        if UNSAFE_WORDS.isdisjoint(words_of(word)):
            kept.append(word)
            continue
        while kept and kept[-1].lower() in _LEADS_TO_NOUN:  # 'holding a [knife]' goes as a whole
            kept.pop()
    own = " ".join(kept).strip(" -.,")
    return f"{own[:1].upper()}{own[1:]}{'' if own[-1] in '!?' else '.'}" if own else ""


def _worded(
    text: str, wanted: Sequence[str], query: str, rng: Random, padding: Sequence[str] = phrases.PADDING
) -> tuple[str, list[str]]:
    """The text with those flaws of wording that are wanted and can happen, and their names."""
    found = []
    unsafe = dict.fromkeys(unsafe_words(query))
    if "leak" in wanted and unsafe:
        first, stop, rest = text.partition(". ")
        text = f"{first}, with {' and '.join(unsafe)}{stop or '.'}{rest}"
        found.append("leak")
    if "lead_in" in wanted:
        text = f"{rng.choice(phrases.LEAD_INS)} {text[:1].lower()}{text[1:]}"
        found.append("lead_in")
    if "long" in wanted:
        text = pad(text, rng, _TOO_LONG, padding)
        found.append("long")
    return text, found
