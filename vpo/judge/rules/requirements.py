"""What a query asks for: the content words, colours, counts and relations that a prompt must keep."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from vpo.judge.rules import harm, lexicon, wordnet
from vpo.judge.rules.flags import split_flags
from vpo.judge.rules.negation import denied
from vpo.judge.rules.words import Reading, lemmas, near, noun_of, read, stem, stem_phrase, verb_of

OBJECT, NAME, STYLE, CAMERA, ACTION, WORD, SOFT = "object", "name", "style", "camera", "action", "word", "soft"


OF_SCENE = ("daytime", "season", "gender")  # properties that belong to no noun


@dataclass(frozen=True)
class Item:
    """One thing the prompt must keep: its words in the query, its stems, what it is, and where it begins and ends."""

    words: str
    key: str
    kind: str  # OBJECT, NAME, STYLE, CAMERA, ACTION, WORD, SOFT or "colour"
    first: int
    last: int
    others: frozenset[str] = frozenset()  # further words of which it may be a form

    @property
    def keys(self) -> frozenset[str]:
        """Every stem by which a text may have it."""
        return self.others | {self.key}


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


@lru_cache(maxsize=1024)
def understand(query: str) -> Requirements:
    """Reads a query. Cached, because the candidates of one query are judged one after the other."""
    text, camera, motion, excluded = split_flags(query)
    text = _plain_case(text)
    reading = read(text)
    free = _free_tokens(reading)
    items = _items(reading, free)
    attributes = (*_colours(reading, items, free), *_counts(reading, items, free))
    asked = tuple({item.key: item for item in reversed(items) if item.kind != "colour"}.values())[::-1]
    if camera:
        asked += (Item(camera, stem_phrase(camera), "camera", -1, -1),)
    return Requirements(
        text, reading, asked, attributes, _relations(reading, asked), excluded, motion,
        properties=_properties(reading, items, free), directions=_directions(reading), denied=_denied(reading),
    )  # fmt: skip


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


def _items(reading: Reading, free: frozenset[int]) -> tuple[Item, ...]:
    """Cuts the query into known phrases (longest first) and single content words."""
    items: list[Item] = []
    index = 0
    while index < len(reading.tokens):
        length = _phrase_length(reading, index)
        span = range(index, index + length)
        index += length
        if free.isdisjoint(span):
            item = _item(reading, span)
            if item is not None:
                items.append(item)
    return tuple(items)


def _phrase_length(reading: Reading, index: int) -> int:
    stems = [token.stem for token in reading.tokens[index : index + 4]]
    for length in range(len(stems), 1, -1):
        last = reading.tokens[index + length - 1].word
        listed = _kinds_of_words().get(" ".join(stems[:length]))
        if listed and not (listed in (OBJECT, WORD) and last.endswith("ed") and last not in _last_words()):
            return length  # 'cars parked' are no car park
    return 1


@cache
def _last_words() -> frozenset[str]:
    """The last words of the phrases that tables list, as they are written there."""
    phrases = [phrase for row in lexicon.groups("same") for phrase in row]
    phrases += [
        phrase for name in ("signs", "kinds") for head, row in lexicon.table(name).items() for phrase in (head, *row)
    ]
    return frozenset(phrase.split()[-1] for phrase in phrases if " " in phrase)


def _item(reading: Reading, span: range) -> Item | None:
    tokens = reading.tokens[span.start : span.stop]
    text = reading.text[tokens[0].start : tokens[-1].end]
    key = " ".join(token.stem for token in tokens)
    if len(tokens) == 1:
        word = tokens[0].word
        if (
            word in lexicon.words("stop")
            or len(word) < 2
            or word.isdigit()
            or _number(word)
            or word in ("pair", "trio")
        ):
            return None
        if _is_colour(reading, span.start):
            return Item(text, key, "colour", span.start, span.start)
        if word in lexicon.words("soft") or stem(word) in _soft_stems() or _misspelt_filler(word):
            return Item(text, key, "soft", span.start, span.start)
    others = frozenset(lemmas(tokens[0].word)) - {key} if len(tokens) == 1 else frozenset()
    kind = _kinds_of_words().get(key, WORD)
    if kind in (WORD, OBJECT):
        kind = _kind_of(reading, span, kind)
    if kind == OBJECT and _in_name(reading, span):
        kind = NAME
    return Item(text, key, kind, span.start, span.stop - 1, others)


def _kind_of(reading: Reading, span: range, listed: str) -> str:
    """What a word or phrase that is no style or camera move is: an action, a name, a thing that can be seen, or a plain word."""
    word = reading.tokens[span.stop - 1].word
    if len(span) == 1 and _is_action(reading, span.start) and (listed != OBJECT or word.endswith(("ing", "ed"))):
        return ACTION
    noun = noun_of(word)
    if any(group in ("daytime", "season") for group, _ in _property_words().get(reading.tokens[span.start].stem, ())):
        return OBJECT
    if listed == OBJECT or len(span) > 1:  # a phrase that a table lists is a known thing
        return OBJECT
    if noun in lexicon.words("plain"):
        return WORD
    if noun is None:
        return NAME if _is_name(reading, span.start) else WORD
    others = max(wordnet.frequency(word, wordnet.ADJECTIVE), wordnet.frequency(verb_of(word) or "", wordnet.VERB))
    return OBJECT if wordnet.visible(noun) and wordnet.frequency(noun, wordnet.NOUN) >= others else WORD


def _is_name(reading: Reading, index: int) -> bool:
    """Whether a word that no dictionary has is written as a name."""
    token = reading.tokens[index]
    unknown = len(token.word) > 2 and not any(wordnet.known(token.word, part) for part in wordnet.PARTS)
    return unknown and reading.text[token.start].isupper() and not reading.text.isupper() and not reading.text.istitle()


def _is_action(reading: Reading, index: int) -> bool:
    """Whether the word is a form of a verb that is rather a verb than a noun."""
    word = reading.tokens[index].word
    verb = verb_of(word)
    if verb is None or word == verb:
        return False
    noun = noun_of(word)
    before = reading.tokens[index - 1].word if index else ""
    if noun is not None and before in lexicon.words("determiners"):
        return False
    return noun is None or wordnet.frequency(verb, wordnet.VERB) >= wordnet.frequency(noun, wordnet.NOUN)


def _in_name(reading: Reading, span: range) -> bool:
    """Whether a thing's word is part of a longer proper name, which has no other words: 'Eiffel Tower'."""
    if reading.text.isupper() or reading.text.istitle():
        return False
    around = reading.tokens[max(0, span.start - 1) : span.stop]
    return len(around) > 1 and all(
        reading.text[token.start].isupper() and token.word not in lexicon.words("stop") for token in around
    )


def _is_colour(reading: Reading, index: int) -> bool:
    """Whether the word is a colour here; 'orange' with no noun after it is the fruit."""
    word = reading.tokens[index].word
    if word not in lexicon.table("colours") and word not in lexicon.words("shades") and word != "gray":
        return False
    if word in ("orange", "rose"):
        after = reading.tokens[index + 1 : index + 2]
        return bool(after) and after[0].word not in lexicon.words("stop")
    return True


def _colours(reading: Reading, items: Sequence[Item], free: frozenset[int]) -> list[Attribute]:
    attributes = []
    for item in items:
        if item.kind == "colour":
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
        number = _number(token.word) or (_group_number(token.word) if following == "of" else None)
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
        if item.kind == "object" or len(run) == 4:
            break
    if run and run[-1].kind == "object":
        return run[-1]
    return next((item for item in run if item.kind == "word"), None)


def _number(word: str) -> str | None:
    return _numbers().get(word)


def _properties(reading: Reading, items: Sequence[Item], free: frozenset[int]) -> tuple[Property, ...]:
    """Properties of things and of the scene."""
    found = []
    for i, token in enumerate(reading.tokens):
        for group, value in _property_words().get(token.stem, ()) if i not in free else ():
            noun = _noun_after(reading, items, i + 1)
            of_noun = noun is not None and noun.first - i <= 3 and group not in OF_SCENE
            if of_noun or group in (*OF_SCENE, "size"):  # 'changes from small to big' is of no noun
                found.append(Property(group, value, noun if of_noun else None, token.word))
    return tuple(found)


@cache
def _property_words() -> dict[str, tuple[tuple[str, str], ...]]:
    """Each word that asks for a property, with the group and value (of several groups: 'short')."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for head, (row, _) in lexicon.sided("contrasts").items():
        group, _, value = head.partition("/")
        for word in map(stem_phrase, row):
            found[word] = (*found.get(word, ()), (group, value))
    return found


def _directions(reading: Reading) -> tuple[Direction, ...]:
    """Words of a direction that follow a verb."""
    words = {word: head for head, row in lexicon.table("directions").items() for word in row}
    found = []
    for i, token in enumerate(reading.tokens):
        value = words.get(token.word, "")
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


def _denied(reading: Reading) -> tuple[str, ...]:
    """Stems of what the query denies, without words that carry no content."""
    return tuple(
        reading.tokens[i].stem
        for i in sorted(denied(reading))
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
def relation_words() -> dict[str, str]:
    """Each relation word with the relation it says."""
    return {word: head for head, items in lexicon.table("relations").items() for word in items}


_GROUPS = frozenset(
    {"pair", "couple", "trio", "dozen"}
)  # numbers only where 'of' follows: 'a couple dancing' are a couple


def _group_number(word: str) -> str | None:
    return next((n for n, words in lexicon.table("counts").items() if word in _GROUPS and word in words), None)


@cache
def _numbers() -> dict[str, str]:
    vague = _GROUPS | {"both", "twin", "duo", "solitary", "lone"}
    return {word: n for n, words in lexicon.table("counts").items() for word in words if word not in vague}


@cache
def _aggressive() -> frozenset[str]:
    return frozenset(stem(word) for word in lexicon.words("aggressive"))


@cache
def _soft_stems() -> frozenset[str]:
    return frozenset(stem(word) for word in lexicon.words("soft"))


@lru_cache(maxsize=10_000)
def _misspelt_filler(word: str) -> bool:
    """Whether an unknown word is a misspelling of a word that need not be kept: 'teh', 'beautifull'."""
    if len(word) < 3 or stem(word) in _kinds_of_words():
        return False
    fillers = (filler for name in ("stop", "soft") for filler in lexicon.words(name) if len(filler) > 2)
    return any(near(word, filler, 1) and (len(word) > 6 or sorted(word) == sorted(filler)) for filler in fillers)


@cache
def _kinds_of_words() -> dict[str, str]:
    """Known words and phrases by what they are; later tables win over earlier ones."""
    kinds = {stem_phrase(p): "word" for group in lexicon.groups("same") for p in group if p.strip()}
    kinds |= {stem_phrase(p): "word" for p in lexicon.table("signs")}
    kinds |= {stem_phrase(p): "object" for head, items in lexicon.table("kinds").items() for p in (head, *items)}
    kinds |= {stem_phrase(p): "style" for p in lexicon.table("styles")}
    kinds |= {stem_phrase(p): "camera" for p in lexicon.table("camera")}
    return kinds
