"""How surely a prompt keeps a thing that its query asks for: by its name, by another name, by a kind of it, or only by a hint."""

import itertools
from functools import cache, lru_cache

from vpo.judge.rules import lexicon, wordnet
from vpo.judge.rules.items import ACTION, CAMERA, NAME, OBJECT, SOFT, STYLE, WORD, Item
from vpo.judge.rules.naming import (
    by_initial,
    kinds,
    marks,
    members,
    moves,
    names,
    object_keys,
    rivals_of_style,
    same,
    siblings,
    vocabulary,
)
from vpo.judge.rules.requirements import Requirements
from vpo.judge.rules.words import Reading, keys_of, near, stem_phrase, verb_of

FULL, PART, HINT = 1.0, 0.6, 0.4

Found = tuple[float, frozenset[str]]
_NOTHING: Found = 0.0, frozenset()


def kept(item: Item, prompt: Reading, required: Requirements) -> float:
    """How surely the prompt keeps the item, from 0 to 1: named or by another name, by its kind, hinted at, not at all."""
    if _named(item, prompt):
        return FULL
    if item.kind == STYLE or (item.kind == CAMERA and item.key in moves()):
        return FULL if _shown(item.key, prompt) else 0.0
    if _compound(item, prompt, required):
        return FULL
    if item.kind == NAME:
        return FULL if _misspelt(item, prompt) or _cognate(item.key, prompt) else 0.0
    strength, evidence = _action(item, prompt, required) if item.kind == ACTION else _thing(item, prompt, required)
    if item.kind == OBJECT and _ousted(item, evidence, prompt, required):
        return 0.0
    return strength


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
    if item.kind in (WORD, SOFT) and (_cognate(item.key, prompt) or _misspelt(item, prompt)):
        return FULL, frozenset()
    if item.kind == OBJECT and _misspelt(item, prompt):
        return FULL, frozenset()
    wider = (_kinds_of(item) - taken) & prompt.places.keys()
    if wider:
        return PART, wider
    signs = marks(item.key) & prompt.places.keys()
    if item.kind == OBJECT:
        strength = PART if item.key in _ANYBODY else HINT
        return (strength, signs) if len(signs) > 1 else _NOTHING
    return (FULL if len(signs) > 1 else HINT * len(signs)), signs


_ANYBODY = ("person", "people")  # a prompt may show them by their hands, their clothes or a pronoun


def _names(item: Item) -> frozenset[str]:
    return frozenset().union(*(names(key) for key in item.keys))


@lru_cache(maxsize=10_000)
def _wider(key: str) -> frozenset[str]:
    found = wordnet.above(key, wordnet.NOUN, 2) if wordnet.known(key, wordnet.NOUN) else frozenset()
    return keys_of(found) - _vague()


@cache
def _vague() -> frozenset[str]:
    return frozenset(stem_phrase(word) for row in lexicon.groups("vague") for word in row)


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
    if not marks(key).isdisjoint(prompt.places):
        return rival is None or (_first(marks(key), prompt) or 0) <= rival
    hinted = not marks(key, "camera_hints").isdisjoint(prompt.places)
    return hinted and rival is None and marks(opposite).isdisjoint(prompt.places)


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


def _standing_kinds(key: str, prompt: Reading) -> frozenset[str]:
    """A kind names its member unless another member of the kind is there: 'vehicle' is the car where no bus is."""
    named = set(kinds().get(key, ())) & _COMMON_KINDS & prompt.places.keys()
    return frozenset(kind for kind in named if (members()[kind] - names(key)).isdisjoint(prompt.places))


_COMMON_KINDS = frozenset(
    map(stem_phrase, ("person", "vehicle", "bird", "dog", "cat", "boat", "train", "flower", "tree"))
)


# Actions


def _action(item: Item, prompt: Reading, required: Requirements) -> Found:
    """The strength with which other words say what is done."""
    verb = verb_of(item.words.lower()) or item.key
    said = _said(item, verb) & prompt.places.keys()
    if said:
        return FULL, said
    if _cognate(item.key, prompt) or _misspelt(item, prompt):
        return FULL, frozenset()
    wider = (keys_of(wordnet.above(verb, wordnet.VERB, 1)) - _vague()) & prompt.places.keys()
    if wider:
        return PART, wider
    signs = marks(item.key) & prompt.places.keys()
    if signs:
        return (FULL if len(signs) > 1 else PART), signs
    sisters = _sisters(verb) & prompt.places.keys()
    return (HINT, sisters) if sisters else _NOTHING


def rival_action(item: Item, prompt: Reading, required: Requirements) -> str:
    """The action that a prompt has in the place of the query's, before or more often than all that would say it; or nothing."""
    verb = verb_of(item.words.lower())
    if verb is None or item.first != item.last or item.first < 0 or not item.keys.isdisjoint(prompt.places):
        return ""
    if not rival_actions(verb) or not (item.kind == ACTION or (item.kind == SOFT and item.words.lower() != verb)):
        return ""
    said = _said(item, verb) & prompt.places.keys()
    rivals = _rival_places(verb, prompt, required, postures=not said)
    named = sorted(i for key in said for i in prompt.places[key])
    if not rivals or (named and named[0] < rivals[0] and len(named) > 2 * len(rivals)):
        return ""
    return prompt.tokens[rivals[0]].word


def _said(item: Item, verb: str) -> frozenset[str]:
    """Other words for the action of an item, whose verb is given."""
    return _ways(verb).union(*(same(key) for key in item.keys))


@lru_cache(maxsize=10_000)
def _ways(verb: str) -> frozenset[str]:
    """Other words for an action by WordNet: synonyms, manners of it, words of its root."""
    found = wordnet.synonyms(verb, wordnet.VERB)
    if _specific(verb):
        found |= wordnet.below(verb, wordnet.VERB, 2)
    return keys_of(found | wordnet.cognates(verb, wordnet.VERB)) - _vague() - {verb}


def _specific(verb: str) -> bool:
    """Whether its manners are few enough to be one action: 'move' and 'change' have thousands."""
    return len(wordnet.below(verb, wordnet.VERB, 2)) < 400


@lru_cache(maxsize=10_000)
def _sisters(verb: str) -> frozenset[str]:
    """Other manners of what the action is a manner of."""
    kinds_of_it = filter(_specific, wordnet.above(verb, wordnet.VERB, 1))
    found = frozenset().union(*(wordnet.below(kind, wordnet.VERB, 1) for kind in kinds_of_it))
    return keys_of(found) - _vague() - {verb}


def is_plain_action(item: Item) -> bool:
    """Whether the item is a common action or movement, for which a prompt has a word if it shows it."""
    verb = verb_of(item.words.lower()) or ""
    return verb in lexicon.words("movements") or bool(rival_actions(verb))


def _rival_places(verb: str, prompt: Reading, required: Requirements, *, postures: bool) -> list[int]:
    """Where the prompt has actions that the query has not, and that are not done at the same time as the verb."""
    rivals = rival_actions(verb) - required.reading.places.keys()
    figurative = lexicon.words("figurative")
    if not postures:
        rivals -= lexicon.words("postures")
    found = {
        i
        for key in rivals & prompt.places.keys()
        for i in prompt.places[key]
        if _is_verb(prompt.tokens[i].word) and (key not in figurative or prompt.tokens[i].word.endswith("ing"))
    }
    return sorted(found)


def _is_verb(word: str) -> bool:
    return word.endswith(("s", "ing"))  # a form in -ed is often an adjective: 'painted wood'


@lru_cache(maxsize=10_000)
def rival_actions(verb: str) -> frozenset[str]:
    """The other actions of the rows in which the verb stands."""
    own = {verb} | _ways(verb) | same(verb)
    return frozenset(other for row in lexicon.groups("actions") if verb in row for other in row) - own


# Roots and misspellings


def _cognate(key: str, prompt: Reading) -> bool:
    """Words of one root, as 'serene' and 'serenity': by WordNet, or five shared letters and most of the shorter word."""
    if " " in key:
        return False
    if not _roots(key).isdisjoint(prompt.places):
        return True
    return len(key) >= 5 and any(_same_root(key, other) for other in prompt.places if other.startswith(key[:5]))


@lru_cache(maxsize=10_000)
def _roots(key: str) -> frozenset[str]:
    return keys_of(other for part in wordnet.PARTS for other in wordnet.cognates(key, part)) - {key}


def _same_root(a: str, b: str) -> bool:
    shared = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return shared >= 5 and shared >= 0.75 * min(len(a), len(b)) and " " not in b


def _misspelt(item: Item, prompt: Reading) -> bool:
    """A query word no table knows may be misspelt: one typing error from five letters on, two from nine on."""
    key = item.key
    if len(key) < 5 or " " in key or _is_word(key):
        return False
    most = 1 if len(key) < 9 else 2
    close = (other for other in prompt.places if " " not in other and abs(len(other) - len(key)) <= most)
    if any(other[0] == key[0] and _slip(key, other, most) for other in close):
        return True
    meant = _correction(key)
    return meant is not None and (meant in prompt.places or not names(meant).isdisjoint(prompt.places))


@lru_cache(maxsize=10_000)
def _is_word(key: str) -> bool:
    return key in vocabulary() or any(wordnet.known(key, part) for part in wordnet.PARTS)


def _slip(a: str, b: str, most: int) -> bool:
    """Whether a is one typing error away from b; letters in the wrong order ('bycicle') count once however far they are moved."""
    return near(a, b, most) or (sorted(a) == sorted(b) and near(a, b, 2))


@lru_cache(maxsize=10_000)
def _correction(key: str) -> str | None:
    """The one word of the lexicon that a misspelt word is one typing error away from, if there is just one."""
    close = [word for word in by_initial().get(key[0], ()) if _slip(key, word, 1)]
    return close[0] if len(close) == 1 else None
