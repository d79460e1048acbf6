"""Colours, counts and relations: what must belong to the right thing, and whether a prompt changes it."""

from collections.abc import Iterator, Sequence
from functools import cache

from vpo.judge.rules import lexicon
from vpo.judge.rules.items import Item
from vpo.judge.rules.naming import locate, names, object_keys
from vpo.judge.rules.requirements import Attribute, Relation, Requirements, relation_words
from vpo.judge.rules.words import Reading, stem
from vpo.records import Reason

_OPPOSITES = ("left", "right"), ("above", "below"), ("front", "behind"), ("inside", "outside")

_LONG = 25  # words of a query of whose relations not each one must be said

# Colours and counts: bound to a noun


def wrong_attributes(required: Requirements, prompt: Reading) -> Iterator[Reason]:
    """Colours and counts of the query that the prompt changes, gives to another thing or leaves out."""
    nouns = {attribute.noun.key for attribute in required.attributes if attribute.noun}
    for attribute in required.attributes:
        others = frozenset().union(
            *(names(key) | {key} for key in nouns if not attribute.noun or key != attribute.noun.key)
        )
        reason = (
            _wrong_colour(attribute, prompt, others) if attribute.kind == "colour" else _wrong_count(attribute, prompt)
        )
        if reason is not None:
            yield reason


def _wrong_colour(attribute: Attribute, prompt: Reading, others: frozenset[str]) -> Reason | None:
    wanted = colour_names(attribute.value)
    attached = [_attached(prompt, place, _colour_of()) for place in locate(attribute.noun, prompt)]
    if any(wanted & set(words) for words in attached):
        return None
    elsewhere = [i for word in wanted for i in prompt.places.get(stem(word), ()) if not _belongs(prompt, i, others)]
    wrong = [word for words in attached for word in words]
    if wrong and (not elsewhere or not _shares_sentence(prompt, elsewhere, locate(attribute.noun, prompt))):
        return Reason("accurate", "changed_colour", f"{attribute.words} -> {wrong[0]}")
    return None if elsewhere else Reason("accurate", "missing", attribute.words)


def _wrong_count(attribute: Attribute, prompt: Reading) -> Reason | None:
    places = locate(attribute.noun, prompt)
    attached = [word for place in places for word in _attached(prompt, place, _count_of())]
    plain = [word for word in attached if word not in _BACK]
    said = {_count_of()[word] for word in plain or attached}
    if attribute.kind == "one":
        if not said - {"1"} or "1" in said or any(_singular(prompt, place) for place in places):
            return None
        return Reason("accurate", "changed_count", f"{attribute.words} -> {attached[0]}")
    if attribute.value == "2" and not said and _two_are_there(prompt, attribute.noun):
        return None
    if attribute.value in said or (not said and any(_count_of().get(t.word) == attribute.value for t in prompt.tokens)):
        return None
    if said - {"1"}:
        return Reason("accurate", "changed_count", f"{attribute.words} -> {attached[0]}")
    if any(_count_of().get(t.word) == attribute.value for t in prompt.tokens):
        return None
    return Reason(
        "accurate", "missing", f"{attribute.words} {attribute.noun.words}" if attribute.noun else attribute.words
    )


def _two_are_there(prompt: Reading, noun: Item | None) -> bool:
    """Whether the prompt speaks of a second one, or, of people, of two different ones: 'a man and a woman'."""
    if any(token.word in _SECOND for token in prompt.tokens):
        return True
    return noun is not None and noun.key in ("people", "person") and len(names("person") & prompt.places.keys()) > 1


_SECOND = frozenset({"another", "other", "second", "both", "partner"})  # after a first, these make two
_BACK = frozenset(
    {"both", "twin", "duo"}
)  # these speak of what was counted before, so that another number outweighs them


def _attached(prompt: Reading, place: int, table: dict[str, str]) -> list[str]:
    """Words of the table that belong to the noun at `place`: before it in its phrase, or after it ('is red')."""
    found = []
    for i in range(place - 1, max(-1, place - 7), -1):
        token = prompt.tokens[i]
        if token.sentence != prompt.tokens[place].sentence:
            break
        if token.word in table:
            found.append(token.word)
        elif token.word in lexicon.words("phrase_ends") or (
            token.word == "of" and prompt.tokens[i - 1].word not in table
        ):
            break
    after = prompt.tokens[place + 1 : place + 4]
    for i, token in enumerate(after):
        if token.word in table and i and after[0].word in ("is", "was", "are", "painted", "in", "colored", "coloured"):
            found.append(token.word)
    return found


def _singular(prompt: Reading, place: int) -> bool:
    """Whether the noun at `place` has 'a' or 'an' before it in its phrase."""
    for token in reversed(prompt.tokens[max(0, place - 5) : place]):
        if token.word in ("a", "an"):
            return True
        if token.word in lexicon.words("phrase_ends") or token.word == "of":
            return False
    return False


def _belongs(prompt: Reading, index: int, others: frozenset[str]) -> bool:
    """Whether the word at `index` stands right before another noun of the query, and so colours that one."""
    following = prompt.tokens[index + 1 : index + 4]
    return any(token.stem in others for token in following if token.sentence == prompt.tokens[index].sentence)


def _shares_sentence(prompt: Reading, some: Sequence[int], others: Sequence[int]) -> bool:
    return not {prompt.tokens[i].sentence for i in some}.isdisjoint(prompt.tokens[i].sentence for i in others)


# Relations


def wrong_relations(required: Requirements, prompt: Reading) -> Iterator[Reason]:
    """Relations of the query that the prompt turns round or leaves out, where it names both things."""
    for relation in required.relations:
        a, b = locate(relation.a, prompt), locate(relation.b, prompt)
        if not a or not b:
            continue
        every = list(_stated(relation, prompt, a, b))
        said = next(iter(every), "")  # what is said first counts: later ones often speak of parts
        moved = sum(other.a.key == relation.a.key and other.b.key == relation.b.key for other in required.relations) > 1
        if said == relation.value or (moved and relation.value in every):
            continue
        words = f"{relation.a.words} {relation.value} {relation.b.words}"
        if said:
            yield Reason("accurate", "changed_relation", f"{words} -> {said}")
        elif (
            len(required.reading.tokens) < _LONG
            and relation.value not in ("inside", "outside")
            and relation.b.key in object_keys()
        ):
            yield Reason("accurate", "missing_relation", words)


def _stated(relation: Relation, prompt: Reading, a: Sequence[int], b: Sequence[int]) -> Iterator[str]:
    """What the prompt says of a's place towards b, once for each word of the relation's axis."""
    axis = next(pair for pair in _OPPOSITES if relation.value in pair)
    flip = {axis[0]: axis[1], axis[1]: axis[0]}
    for i, token in enumerate(prompt.tokens):
        value = relation_words().get(token.word) or ("above" if token.word in ("on", "upon") else None)
        if value not in axis:
            continue
        about = _ground(prompt, i, a, b)
        if about is not None:
            yield value if about == "b" else flip[value]


def _ground(prompt: Reading, index: int, a: Sequence[int], b: Sequence[int]) -> str | None:
    """Which of the two the relation word at `index` measures from: 'left of the car' measures from the car.

    Where nothing is measured from ('on the left, a dog'), the nearer of the two is the one that is placed.
    """
    word = prompt.tokens[index].word
    sentence = prompt.tokens[index].sentence
    inside = {i: "a" for i in a if prompt.tokens[i].sentence == sentence}
    inside |= {i: "b" for i in b if prompt.tokens[i].sentence == sentence}
    following = [inside[i] for i in sorted(inside) if index < i <= index + 8]
    preceding = [inside[i] for i in sorted(inside, reverse=True) if i < index]
    sided = word in ("left", "right", "left-hand", "right-hand", "front", "bottom", "top", "foreground", "rear")
    measured = not sided or any(token.word == "of" for token in prompt.tokens[index + 1 : index + 3])
    if word in ("on", "upon") and (not following or not preceding or _leads_on(prompt, index)):
        return None
    if measured and following:
        return following[0]
    if measured and not sided and not following:
        return None
    own = index > 0 and prompt.tokens[index - 1].word in ("its", "their", "his", "her")
    placed = (following or preceding) if own or not preceding else preceding
    return None if not placed else ("b" if placed[0] == "a" else "a")


def _leads_on(prompt: Reading, index: int) -> bool:
    """Whether 'on' only opens a longer relation: 'on the bottom of', 'on its left'."""
    return any(token.word in relation_words() for token in prompt.tokens[index + 1 : index + 3])


@cache
def _colour_of() -> dict[str, str]:
    """Colour words by the colour they are a shade of (the first that lists them)."""
    rows: dict[str, str] = {}
    for colour, shades in lexicon.table("colours").items():
        for word in (colour, *shades):
            rows.setdefault(word, colour)
    return rows


@cache
def colour_names(colour: str) -> frozenset[str]:
    """The colour and its shades; of a shade also the colour that it is a shade of, with the others."""
    table = lexicon.table("colours")
    heads = [colour, *(head for head, shades in table.items() if colour in shades and colour not in table)]
    return frozenset(word for head in heads for word in (head, *table.get(head, ())))


@cache
def _count_of() -> dict[str, str]:
    return {word: number for number, items in lexicon.table("counts").items() for word in items}
