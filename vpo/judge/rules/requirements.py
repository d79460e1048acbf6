"""What a query asks for: its things and words, and what holds of them: colours, counts, properties, relations, directions."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from vpo.judge.rules import harm, lexicon, wordnet
from vpo.judge.rules.flags import split_flags
from vpo.judge.rules.items import (
    CAMERA,
    COLOUR,
    OBJECT,
    QUOTED,
    WORD,
    Item,
    group_number,
    items_of,
    number_of,
    property_words,
)
from vpo.judge.rules.negation import denied
from vpo.judge.rules.script import Script, script_of
from vpo.judge.rules.shots import Shot, own_items
from vpo.judge.rules.words import Reading, read, stem, stem_phrase, verb_of

_BESIDE = 3  # tokens between a quotation and the word that announces it
OF_SCENE = ("daytime", "season", "gender")  # properties that belong to no noun


@dataclass(frozen=True)
class Attribute:
    """A constraint on a noun: kind 'colour' (value 'red'), 'count' ('2') or 'one' ('1': a plain singular)."""

    kind: str
    value: str
    noun: Item | None
    words: str


@dataclass(frozen=True)
class Relation:
    """`a` is at `value` ('left', 'above', ...) of `b`."""

    value: str
    a: Item
    b: Item


@dataclass(frozen=True)
class Property:
    """`noun` (or the scene) has the value of the group of properties: 'size' is 'big'."""

    group: str
    value: str
    noun: Item | None
    words: str


@dataclass(frozen=True)
class Direction:
    """What one of the verbs (other names of one movement) says goes this way."""

    value: str
    verbs: frozenset[str]
    words: str


@dataclass(frozen=True)
class Requirements:
    """A query, read: its cleaned text and everything that a prompt must keep."""

    text: str
    reading: Reading
    items: tuple[Item, ...]
    attributes: tuple[Attribute, ...]
    relations: tuple[Relation, ...]
    excluded: tuple[str, ...]
    motion: int | None
    properties: tuple[Property, ...] = ()
    directions: tuple[Direction, ...] = ()
    denied: tuple[str, ...] = ()
    shots: tuple[Shot, ...] = ()

    def shot_of(self, item: Item) -> Shot | None:
        """The shot that asks for the item; None where the query has no shots, or asks for it in all of them."""
        return next((shot for shot in self.shots if shot.first <= item.first <= shot.last), None)

    @property
    def quoted(self) -> tuple[Item, ...]:
        """What is asked for word for word: on-screen text and speech."""
        return tuple(item for item in self.items if item.kind in QUOTED)


@lru_cache(maxsize=1024)
def understand(query: str) -> Requirements:
    """Reads a query. Cached, because the candidates of one query are judged one after the other."""
    script = script_of(query, split_flags)
    text = _plain_case(script.text)
    reading = read(text)
    quotes, quoted = _quotes(script, reading)
    free = _free_tokens(reading) | quoted
    items = sorted((*items_of(reading, free, bool(script.shots)), *quotes), key=lambda item: item.first)
    attributes = (*_colours(reading, items, free), *_counts(reading, items, free))
    shots = own_items(_shots(script, reading), items)
    asked = _asked(items, shots)
    if script.camera:
        asked += (Item(script.camera, stem_phrase(script.camera), CAMERA, -1, -1),)
    return Requirements(
        text, reading, asked, attributes, _relations(reading, asked), script.excluded, script.motion,
        properties=_properties(reading, items, free), directions=_directions(reading), denied=_denied(reading, quoted),
        shots=shots,
    )  # fmt: skip


def _asked(items: Sequence[Item], shots: Sequence[Shot]) -> tuple[Item, ...]:
    """Each item once; a camera move once a shot."""

    def name(item: Item) -> tuple[str, ...]:
        shot = next((shot for shot in shots if shot.first <= item.first <= shot.last), None)
        kind = item.kind if item.kind in QUOTED else ""
        return (item.key, kind, str(shot.number) if shot and item.kind == CAMERA else "")

    return tuple({name(item): item for item in reversed(items) if item.kind != COLOUR}.values())[::-1]


def _shots(script: Script, reading: Reading) -> list[Shot]:
    """The script's shots by their tokens."""
    found = []
    for number, (start, end) in enumerate(script.shots, 1):
        inside = [i for i, token in enumerate(reading.tokens) if start <= token.start < end]
        if inside:
            found.append(Shot(number, reading.text[start:end].strip(), inside[0], inside[-1]))
    return found


def _quotes(script: Script, reading: Reading) -> tuple[list[Item], frozenset[int]]:
    """What is to be shown or said word for word, and the tokens within; what is unsafe need not be kept."""
    unsafe = {i for hit in harm.find(reading) for i in range(hit.first, hit.last + 1)} if script.quotes else set()
    items: list[Item] = []
    tokens: set[int] = set()
    for quote in script.quotes:
        inside = [i for i, token in enumerate(reading.tokens) if quote.start <= token.start < quote.end]
        tokens.update(inside)
        near = range(max(0, inside[0] - _BESIDE), inside[-1] + 1 + _BESIDE) if inside else ()
        tokens.update(
            i for i in near if i < len(reading.tokens) and reading.tokens[i].word in lexicon.words("announcing")
        )
        if inside and unsafe.isdisjoint(inside):
            items.append(Item(quote.words, stem_phrase(quote.words), quote.kind, inside[0], inside[-1]))
    return items, frozenset(tokens)


def _plain_case(text: str) -> str:
    """Shouting in lower case, and a colour at the beginning too, so that 'Violet rocket' is no rocket called Violet."""
    if text.isupper():
        return text.lower()
    first = text.split(" ", 1)[0]
    shades = {shade for head, items in lexicon.table("colours").items() for shade in (head, *items)}
    return first.lower() + text[len(first) :] if first.lower() in shades else text


def _free_tokens(reading: Reading) -> frozenset[int]:
    """Tokens that no prompt must keep: unsafe ones, the verbs that go with them, and what is negated."""
    free: set[int] = set()
    for found in harm.find(reading):
        free.update(range(found.first, found.last + 1))
        around = range(max(0, found.first - 4), min(len(reading.tokens), found.last + 4))
        free.update(i for i in around if reading.tokens[i].stem in _aggressive())
    return frozenset(free) | denied(reading)


def _colours(reading: Reading, items: Sequence[Item], free: frozenset[int]) -> list[Attribute]:
    attributes = []
    for item in items:
        if item.kind == COLOUR:
            noun = _noun_after(reading, items, item.last + 1)
            attributes.append(
                Attribute("colour", "grey" if item.words.lower() == "gray" else item.words.lower(), noun, item.words)
            )
    return attributes


def _counts(reading: Reading, items: Sequence[Item], free: frozenset[int]) -> list[Attribute]:
    """Numbers before nouns, and plain singulars ('a dog'), which a prompt must not multiply."""
    attributes = []
    named = Counter(item.key for item in items)
    for i, token in enumerate(reading.tokens):
        following = reading.tokens[i + 1].word if i + 1 < len(reading.tokens) else ""
        number = number_of(token.word) or (group_number(token.word) if following == "of" else None)
        noun = _noun_after(reading, items, i + 1 + (number is not None and following == "of"))
        if i in free or noun is None or noun.kind not in (OBJECT, WORD) or noun.last - i > 4:
            continue
        several = named[noun.key] > 1  # 'a red ball and a blue ball', 'one person … another person'
        if number is not None and number != "1":
            attributes.append(Attribute("count", number, noun, token.word))
        elif (
            not several
            and (number == "1" or token.word in ("a", "an"))
            and noun.kind == OBJECT
            and _singular(reading, noun)
        ):
            attributes.append(Attribute("one", "1", noun, token.word))
    return attributes


def _singular(reading: Reading, noun: Item) -> bool:
    return not reading.tokens[noun.last].word.endswith("s")


def _noun_after(reading: Reading, items: Sequence[Item], index: int) -> Item | None:
    """The noun to which a word just before `index` belongs: the first thing in the run of content words after it.

    Where the run names no known thing, its first plain word.
    """
    run: list[Item] = []
    start = bisect_left(items, index, key=lambda item: item.first)
    for item in items[start : start + 5]:
        gap = reading.tokens[run[-1].last + 1 if run else index : item.first]
        if gap and (run or any(token.word in lexicon.words("stop") - {"and"} for token in gap)):
            break
        if run and "," in reading.text[reading.tokens[run[-1].last].end : reading.tokens[item.first].start]:
            break
        run.append(item)
        if item.kind == OBJECT or len(run) == 4:
            break
    if run and run[-1].kind == OBJECT:
        return run[-1]
    return next((item for item in run if item.kind == WORD), None)


def _properties(reading: Reading, items: Sequence[Item], free: frozenset[int]) -> tuple[Property, ...]:
    """Properties of things and of the scene."""
    found = []
    for i, token in enumerate(reading.tokens):
        for group, value in property_words().get(token.stem, ()) if i not in free else ():
            noun = _noun_after(reading, items, i + 1)
            of_noun = noun is not None and noun.first - i <= 3 and group not in OF_SCENE
            if of_noun or group in (*OF_SCENE, "size"):  # 'changes from small to big' is of no noun
                found.append(Property(group, value, noun if of_noun else None, token.word))
    return tuple(found)


def _directions(reading: Reading) -> tuple[Direction, ...]:
    """Words of a direction that follow a verb."""
    found = []
    for i, token in enumerate(reading.tokens):
        value = direction_words().get(token.word, "")
        for before in reversed(reading.tokens[max(0, i - 4) : i]) if value else ():
            verb = verb_of(before.word)
            if verb and verb not in _AUXILIARY and before.sentence == token.sentence:
                text = reading.text[before.start : token.end]
                found.append(
                    Direction(value, frozenset({before.stem, verb, *wordnet.synonyms(verb, wordnet.VERB)}), text)
                )
                break
    return tuple(found)


_AUXILIARY = frozenset({"be", "have", "do", "let", "may", "can", "will", "like", "side", "front"})


def _denied(reading: Reading, quoted: frozenset[int]) -> tuple[str, ...]:
    """Stems of what the query denies, without words that carry no content and without what it quotes ('NO PARKING')."""
    return tuple(
        reading.tokens[i].stem
        for i in sorted(denied(reading) - quoted)
        if reading.tokens[i].word not in lexicon.words("stop") and reading.tokens[i].word not in lexicon.words("soft")
    )


def _relations(reading: Reading, items: Sequence[Item]) -> tuple[Relation, ...]:
    places = sorted(
        (
            (i + item.last - item.first, item)
            for item in items
            if item.kind == OBJECT
            for i in reading.places.get(item.key, ())
        ),
        key=lambda row: row[0],
    )
    found = []
    for i, token in enumerate(reading.tokens):
        value = relation_words().get(token.word)
        if value is None or not _prepositional(reading, i, value):
            continue
        next_one = bisect_left(places, i, key=lambda row: row[0])
        after = [item for place, item in places[next_one : next_one + 6] if i < place <= i + 6]
        before = [item for _, item in places[max(0, next_one - 6) : next_one] if after and item is not after[0]]
        if before and after:
            found.append(Relation(value, before[-1], after[0]))
    return tuple(found)


def _prepositional(reading: Reading, index: int, value: str) -> bool:
    """Whether the word relates two things here: 'left of', 'on top of', 'under'; not 'left hand'."""
    following = [token.word for token in reading.tokens[index + 1 : index + 3]]
    word = reading.tokens[index].word
    if word in ("left", "right", "front", "top", "bottom"):
        return "of" in following
    return word in ("above", "atop", "below", "beneath", "under", "underneath", "behind", "inside", "outside")


@cache
def direction_words() -> dict[str, str]:
    """Each word of a direction with the direction."""
    return {word: head for head, words in lexicon.table("directions").items() for word in words}


@cache
def relation_words() -> dict[str, str]:
    """Each relation word with the relation it says."""
    return {word: head for head, items in lexicon.table("relations").items() for word in items}


@cache
def _aggressive() -> frozenset[str]:
    return frozenset(stem(word) for word in lexicon.words("aggressive"))
