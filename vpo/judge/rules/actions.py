"""What is done: other words for an action, and another action in its place."""

from functools import cache, lru_cache

from vpo.judge.rules import lexicon, wordnet
from vpo.judge.rules.items import ACTION, FULL, HINT, NOTHING, PART, SOFT, Found, Item
from vpo.judge.rules.naming import marks, same
from vpo.judge.rules.requirements import Requirements
from vpo.judge.rules.roots import cognate, misspelt
from vpo.judge.rules.words import Reading, keys_of, stem_phrase, verb_of


def action(item: Item, prompt: Reading, required: Requirements) -> Found:
    """The strength with which other words say what is done."""
    verb = verb_of(item.words.lower()) or item.key
    said = words_for(item, verb) & prompt.places.keys()
    if said:
        return FULL, said
    if cognate(item.key, prompt) or misspelt(item, prompt):
        return FULL, frozenset()
    wider = (keys_of(wordnet.above(verb, wordnet.VERB, 1)) - vague()) & prompt.places.keys()
    if wider:
        return PART, wider
    signs = marks(item.key) & prompt.places.keys()
    if signs:
        return (FULL if len(signs) > 1 else PART), signs
    sisters = _sisters(verb) & prompt.places.keys()
    return (HINT, sisters) if sisters else NOTHING


def rival_action(item: Item, prompt: Reading, required: Requirements) -> str:
    """The action that a prompt has in the place of the query's, before or more often than all that would say it; or nothing."""
    verb = verb_of(item.words.lower())
    if verb is None or item.first != item.last or item.first < 0 or not item.keys.isdisjoint(prompt.places):
        return ""
    if not rival_actions(verb) or not (item.kind == ACTION or (item.kind == SOFT and item.words.lower() != verb)):
        return ""
    said = words_for(item, verb) & prompt.places.keys()
    rivals = _rival_places(verb, prompt, required, postures=not said)
    named = sorted(i for key in said for i in prompt.places[key])
    if not rivals or (named and named[0] < rivals[0] and len(named) > 2 * len(rivals)):
        return ""
    return prompt.tokens[rivals[0]].word


def words_for(item: Item, verb: str) -> frozenset[str]:
    """Other words for the action of an item, whose verb is given."""
    return _ways(verb).union(*(same(key) for key in item.keys))


@lru_cache(maxsize=10_000)
def _ways(verb: str) -> frozenset[str]:
    """Other words for an action by WordNet: synonyms, manners of it, words of its root."""
    found = wordnet.synonyms(verb, wordnet.VERB)
    if _specific(verb):
        found |= wordnet.below(verb, wordnet.VERB, 2)
    return keys_of(found | wordnet.cognates(verb, wordnet.VERB)) - vague() - {verb}


def _specific(verb: str) -> bool:
    """Whether its manners are few enough to be one action: 'move' and 'change' have thousands."""
    return len(wordnet.below(verb, wordnet.VERB, 2)) < 400


@lru_cache(maxsize=10_000)
def _sisters(verb: str) -> frozenset[str]:
    """Other manners of what the action is a manner of."""
    kinds_of_it = filter(_specific, wordnet.above(verb, wordnet.VERB, 1))
    found = frozenset().union(*(wordnet.below(kind, wordnet.VERB, 1) for kind in kinds_of_it))
    return keys_of(found) - vague() - {verb}


def is_plain_action(item: Item) -> bool:
    """Whether the item is a common action or movement, for which a prompt has a word if it shows it."""
    return is_common(item.words.lower())


def is_common(word: str) -> bool:
    """Whether a word is a form of a verb for a common action or movement."""
    verb = verb_of(word) or ""
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


@cache
def vague() -> frozenset[str]:
    """Words that say so little that they vouch for nothing."""
    return frozenset(stem_phrase(word) for row in lexicon.groups("vague") for word in row)
