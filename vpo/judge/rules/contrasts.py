"""Properties of which a thing or a scene has one at a time: size, age, material, time of day; and directions of movement."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from vpo.judge.rules import lexicon
from vpo.judge.rules.naming import locate
from vpo.judge.rules.requirements import Property, Requirements, direction_words
from vpo.judge.rules.words import Reading, stem_phrase
from vpo.records import Reason

_NEAR = 5  # words before a noun, or after a verb, that may belong to it


@dataclass(frozen=True)
class Value:
    """One value of a set: the words that say it, and further ones that speak for it."""

    group: str
    name: str
    words: frozenset[str]
    further: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        """Every stem that speaks for the value."""
        return self.words | self.further


def wrong_properties(required: Requirements, prompt: Reading) -> Iterator[Reason]:
    """Properties of the query that the prompt changes into another of their set."""
    asked = {(one.group, one.value) for one in required.properties}
    for one in dict.fromkeys(required.properties):
        if one.group == "gender" and one.words in prompt.places:
            continue
        value = _values()[one.group, one.value]
        rivals = [
            other for (group, name), other in _values().items() if group == one.group and (group, name) not in asked
        ]
        if (
            len([group for group, _ in asked if group == one.group]) > 1
        ):  # 'changes from small to big' needs words for both
            wrong = "" if _spoken(value, prompt) else "nothing"
        elif one.noun is None:
            wrong = _rival_of_scene(value, rivals, prompt)
        else:
            wrong = _rival(one, value, rivals, prompt)
        if wrong:
            yield Reason("accurate", f"changed_{one.group}", f"{one.words} -> {wrong}")


def _spoken(value: Value, prompt: Reading) -> bool:
    return not value.all.isdisjoint(prompt.places)


def _rival_of_scene(value: Value, rivals: list[Value], prompt: Reading) -> str:
    """The first word of another value in a prompt that has none of this one's."""
    # Blossom is no sign of spring beside the word 'winter', nor the moon one of night beside 'morning'.
    own = value.all if value.group == "gender" else value.words
    if not own.isdisjoint(prompt.places):
        return ""
    found = [
        (prompt.places[word][0], word) for other in rivals for word in (other.words - value.all) & prompt.places.keys()
    ]
    return min(found)[1] if found else ""


def _rival(one: Property, value: Value, rivals: list[Value], prompt: Reading) -> str:
    """The word of another value that the prompt gives to the noun, where no naming of the noun has this value."""
    places = locate(one.noun, prompt)
    before = [_before(prompt, place) for place in places]
    if any(not value.all.isdisjoint(stems) for stems in before):
        return ""
    wrong = [stem for stems in before for stem in stems for other in rivals if stem in other.words]
    sentences = {prompt.tokens[place].sentence for place in places}
    if any(prompt.tokens[i].sentence in sentences for word in value.all for i in prompt.places.get(word, ())):
        return ""
    return wrong[0] if wrong else ""


def _before(prompt: Reading, place: int) -> list[str]:
    """The stems that stand before the noun at `place` in its phrase."""
    found = []
    for token in reversed(prompt.tokens[max(0, place - _NEAR) : place]):
        if token.sentence != prompt.tokens[place].sentence or token.word in lexicon.words("phrase_ends"):
            break
        found.append(token.stem)
    return found


@cache
def _values() -> dict[tuple[str, str], Value]:
    found = {}
    for head, row in lexicon.sided("contrasts").items():
        group, _, name = head.partition("/")
        found[group, name] = Value(group, name, *(frozenset(map(stem_phrase, words)) for words in row))
    return found


# Directions


def wrong_directions(required: Requirements, prompt: Reading) -> Iterator[Reason]:
    """Movements of the query that go the other way in the prompt."""
    asked = {direction.value for direction in required.directions}
    for direction in required.directions:
        other = _opposites()[direction.value]
        if other in asked or (
            direction.value in ("left", "right") and required.relations
        ):  # these are read as relations
            continue
        said = _said(prompt, direction.verbs)
        if other in said and direction.value not in said:
            yield Reason("accurate", "changed_direction", f"{direction.words} -> {other}")


def _said(prompt: Reading, verbs: frozenset[str]) -> set[str]:
    """The directions that follow any of the verbs in the prompt."""
    found = set()
    for verb in verbs & prompt.places.keys():
        for place in prompt.places[verb]:
            sentence = prompt.tokens[place].sentence
            for token in prompt.tokens[place + 1 : place + 1 + _NEAR]:
                value = direction_words().get(token.word)
                if value and token.sentence == sentence:
                    found.add(value)
                    break
    return found


@cache
def _opposites() -> dict[str, str]:
    heads = list(lexicon.table("directions"))
    return {head: heads[i ^ 1] for i, head in enumerate(heads)}
