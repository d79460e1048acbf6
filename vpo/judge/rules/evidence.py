"""How surely a prompt keeps a thing that its query asks for: by its name, by another name, by a kind of it, or only by a hint."""

import itertools
from functools import lru_cache

from vpo.judge.rules import quotes, wordnet
from vpo.judge.rules.actions import action, vague, words_for
from vpo.judge.rules.attributes import colour_names
from vpo.judge.rules.items import (
    ACTION,
    CAMERA,
    COLOUR,
    FULL,
    HINT,
    NAME,
    NOTHING,
    OBJECT,
    PART,
    QUOTED,
    SOFT,
    STYLE,
    WORD,
    Found,
    Item,
)
from vpo.judge.rules.naming import kinds, marks, members, moves, names, object_keys, rivals_of_style, siblings
from vpo.judge.rules.requirements import Requirements
from vpo.judge.rules.roots import cognate, misspelt
from vpo.judge.rules.words import Reading, keys_of, stem_phrase, verb_of


def kept(item: Item, prompt: Reading, required: Requirements) -> float:
    """How surely the prompt keeps the item, from 0 to 1: named or by another name, by its kind, hinted at, not at all."""
    if item.kind in QUOTED:
        return FULL if quotes.has(item.kind, item.words, prompt.text) else 0.0
    if _named(item, prompt):
        return FULL
    if item.kind == STYLE or (item.kind == CAMERA and item.key in moves()):
        return FULL if _shown(item.key, prompt) else 0.0
    if _compound(item, prompt, required) or (
        required.shots and item.kind in (OBJECT, WORD) and _headed(item.key, prompt)
    ):
        return FULL
    if item.kind == NAME:
        return FULL if misspelt(item, prompt) or cognate(item.key, prompt) else 0.0
    strength, evidence = action(item, prompt, required) if item.kind == ACTION else _thing(item, prompt, required)
    if item.kind == OBJECT and _ousted(item, evidence, prompt, required):
        return 0.0
    return strength


def places_of(item: Item, prompt: Reading) -> tuple[int, ...]:
    """At which tokens the prompt has what surely says the item: its words, other words for it, the signs of a style or camera move."""
    if item.kind in QUOTED:
        span = quotes.find(item.words, prompt.text)
        return tuple(i for i, token in enumerate(prompt.tokens) if span and span[0] <= token.start < span[1])
    keys = item.keys
    if item.kind in (STYLE, CAMERA):
        keys |= marks(item.key)
    elif item.kind == COLOUR:
        keys |= frozenset(map(stem_phrase, colour_names(item.words.lower())))
    elif item.kind == ACTION:
        keys |= words_for(item, verb_of(item.words.lower()) or item.key)
    else:
        keys |= _names(item)
    return tuple(sorted({i for key in keys & prompt.places.keys() for i in prompt.places[key]}))


def _named(item: Item, prompt: Reading) -> bool:
    """Whether the prompt has the item's own words; for a thing, not as a form of a verb: 'towering' is no tower."""
    places = [i for key in item.keys for i in prompt.places.get(key, ())]
    if item.kind not in (OBJECT, NAME) or " " in item.key:
        return bool(places)
    own = item.words.lower()
    return any(not prompt.tokens[i].word.endswith(("ing", "ed")) or prompt.tokens[i].word == own for i in places)


# Things and plain words


def _thing(item: Item, prompt: Reading, required: Requirements) -> Found:
    """The strength with which other words name the item, and these words."""
    taken = {key for other in required.items if other is not item for key in other.keys} & prompt.places.keys()
    other_names = (_names(item) - taken) & prompt.places.keys()
    if other_names:
        return FULL, other_names
    standing = _standing_kinds(item.key, prompt)
    if standing:
        return FULL, standing
    parts = item.key.split()
    if len(parts) > 1 and parts[-1] in prompt.places and parts[-1] not in object_keys():
        return PART, frozenset({parts[-1]})
    if item.kind in (WORD, SOFT) and (cognate(item.key, prompt) or misspelt(item, prompt)):
        return FULL, frozenset()
    if item.kind == OBJECT and misspelt(item, prompt):
        return FULL, frozenset()
    wider = (_kinds_of(item) - taken) & prompt.places.keys()
    if wider:
        return PART, wider
    signs = marks(item.key) & prompt.places.keys()
    if item.kind == OBJECT:
        strength = PART if item.key in _ANYBODY else HINT
        return (strength, signs) if len(signs) > 1 else NOTHING
    return (FULL if len(signs) > 1 else HINT * len(signs)), signs


_ANYBODY = ("person", "people")  # a prompt may show them by their hands, their clothes or a pronoun


def _names(item: Item) -> frozenset[str]:
    return frozenset().union(*(names(key) for key in item.keys))


@lru_cache(maxsize=10_000)
def _wider(key: str) -> frozenset[str]:
    found = wordnet.above(key, wordnet.NOUN, 2) if wordnet.known(key, wordnet.NOUN) else frozenset()
    return keys_of(found) - vague()


def _kinds_of(item: Item) -> frozenset[str]:
    """Kinds to which the item belongs that say something of it."""
    return frozenset().union(*(_wider(key) for key in item.keys)) if item.kind in (OBJECT, WORD) else frozenset()


def _ousted(item: Item, evidence: frozenset[str], prompt: Reading, required: Requirements) -> bool:
    """Whether another thing of the item's kind has its place: named before all that would name the item, or more often.

    'A car glides by, the bike's frame gleaming' is about a car, whatever is said later.
    """
    rivals = rivals_of(item, prompt, required)
    if not rivals or not evidence:
        return False
    if evidence <= marks(item.key) or evidence <= _kinds_of(item):  # these are too weak where another thing is named
        return True
    named, instead = (sorted(i for key in keys for i in prompt.places[key]) for keys in (evidence, rivals))
    return instead[0] <= named[0] + 2 or (len(instead) > 1 and len(instead) > len(named))


def rivals_of(item: Item, prompt: Reading, required: Requirements) -> frozenset[str]:
    """Things of the item's kind that the prompt names and the query does not."""
    rivals = siblings(item.key) & prompt.places.keys()
    for other in (item, *required.items) if rivals else ():
        rivals -= _names(other) | other.keys
    return rivals


def _shown(key: str, prompt: Reading) -> bool:
    """Whether a sign of the style or camera move is there, or a hint of the move, and no word for another style or move."""
    opposite = moves().get(key, "")
    still_or_not = stem_phrase("shaking") in (key, opposite)
    excluded = rivals_of_style(key) | (marks(opposite) if still_or_not else frozenset())
    rival = _first(excluded, prompt)
    if _only_the_opposite(key, opposite, prompt):
        return False
    if not marks(key).isdisjoint(prompt.places):
        return rival is None or (_first(marks(key), prompt) or 0) <= rival
    hinted = not marks(key, "camera_hints").isdisjoint(prompt.places)
    return hinted and rival is None and marks(opposite).isdisjoint(prompt.places)


def _only_the_opposite(key: str, opposite: str, prompt: Reading) -> bool:
    """Whether the prompt makes the opposite move and not this one, whatever kind of shot it names: a close-up may be zoomed out of."""
    own, other = (marks(one) - _KINDS_OF_SHOTS for one in (key, opposite))
    return not (other - own).isdisjoint(prompt.places) and own.isdisjoint(prompt.places)


_KINDS_OF_SHOTS = frozenset(map(stem_phrase, ("close-up", "close up", "closeup", "closer", "wide shot")))


def _first(keys: frozenset[str], prompt: Reading) -> int | None:
    """Where the prompt first has one of the keys."""
    return min((prompt.places[key][0] for key in keys & prompt.places.keys()), default=None)


def _compound(item: Item, prompt: Reading, required: Requirements) -> bool:
    """'seaside' for 'sea side' and the other way round."""
    whole = item.key.replace(" ", "")
    if " " in item.key and whole in prompt.places:
        return True
    for cut in range(3, len(whole) - 2):
        if f"{whole[:cut]} {whole[cut:]}" in prompt.places:
            return True
    neighbours = required.reading.tokens[max(0, item.first - 1) : item.last + 2] if item.first >= 0 else ()
    return any(a.word + b.stem in prompt.places for a, b in itertools.pairwise(neighbours))


def _headed(key: str, prompt: Reading) -> bool:
    """Whether a compound word of the prompt is one of the things: 'surfboard' for a board."""
    if len(key) < _HEAD or " " in key:
        return False
    found = (other[: -len(key)] for other in prompt.places if len(other) > len(key) + 2 and other.endswith(key))
    return any(wordnet.known(first, wordnet.NOUN) for first in found)


_HEAD = 4  # letters of a word that a compound may end with


def _standing_kinds(key: str, prompt: Reading) -> frozenset[str]:
    """A kind names its member unless another member of the kind is there: 'vehicle' is the car where no bus is."""
    named = set(kinds().get(key, ())) & _COMMON_KINDS & prompt.places.keys()
    return frozenset(kind for kind in named if (members()[kind] - names(key)).isdisjoint(prompt.places))


_COMMON_KINDS = frozenset(
    map(stem_phrase, ("person", "vehicle", "bird", "dog", "cat", "boat", "train", "flower", "tree"))
)
