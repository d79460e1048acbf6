"""A query cut into the things, names, styles, camera moves, actions and plain words that a prompt must keep."""

from dataclasses import dataclass
from functools import cache, lru_cache

from vpo.judge.rules import lexicon, wordnet
from vpo.judge.rules.quotes import SPEECH, TEXT
from vpo.judge.rules.words import Reading, lemmas, near, noun_of, stem, stem_phrase, verb_of

OBJECT, NAME, STYLE, CAMERA, ACTION, WORD, SOFT = "object", "name", "style", "camera", "action", "word", "soft"
COLOUR = "colour"
QUOTED = (TEXT, SPEECH)  # asked for word for word
FULL, PART, HINT = 1.0, 0.6, 0.4  # how surely a prompt keeps an item: by a word for it, by a kind of it, by a hint

Found = tuple[float, frozenset[str]]  # a strength, with the words that give it
NOTHING: Found = 0.0, frozenset()


@dataclass(frozen=True)
class Item:
    """One thing the prompt must keep: its words in the query, its stems, what it is, and where it begins and ends."""

    words: str
    key: str
    kind: str  # OBJECT, NAME, STYLE, CAMERA, ACTION, WORD, SOFT, COLOUR, TEXT or SPEECH
    first: int
    last: int
    others: frozenset[str] = frozenset()  # further words of which it may be a form

    @property
    def keys(self) -> frozenset[str]:
        """Every stem by which a text may have it."""
        return self.others | {self.key}


def items_of(reading: Reading, free: frozenset[int], sentences: bool = False) -> tuple[Item, ...]:
    """Cuts the query into known phrases (longest first) and single content words.

    With `sentences`, as in a query of several shots, the verb of a sentence is an action though it may be a plural. Short queries
    are read without: fewer changes are seen in what counts as an action (measured on published rewrites).
    """
    items: list[Item] = []
    index = 0
    while index < len(reading.tokens):
        length = _phrase_length(reading, index)
        span = range(index, index + length)
        index += length
        if free.isdisjoint(span):
            item = _item(reading, span, sentences)
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


def _item(reading: Reading, span: range, sentences: bool) -> Item | None:
    tokens = reading.tokens[span.start : span.stop]
    text = reading.text[tokens[0].start : tokens[-1].end]
    key = " ".join(token.stem for token in tokens)
    if len(tokens) == 1:
        word = tokens[0].word
        if (
            word in lexicon.words("stop")
            or len(word) < 2
            or word.isdigit()
            or number_of(word)
            or word in ("pair", "trio")
        ):
            return None
        if _is_colour(reading, span.start):
            return Item(text, key, COLOUR, span.start, span.start)
        if word in lexicon.words("soft") or stem(word) in _soft_stems() or _misspelt_filler(word):
            return Item(text, key, SOFT, span.start, span.start)
    others = frozenset(lemmas(tokens[0].word)) - {key} if len(tokens) == 1 else frozenset()
    kind = _kinds_of_words().get(key, WORD)
    if kind in (WORD, OBJECT):
        kind = ACTION if sentences and _is_predicate(reading, span) else _kind_of(reading, span, kind)
    if kind == OBJECT and _in_name(reading, span):
        kind = NAME
    return Item(text, key, kind, span.start, span.stop - 1, others)


def _kind_of(reading: Reading, span: range, listed: str) -> str:
    """What a word or phrase that is no style or camera move is: an action, a name, a thing that can be seen, or a plain word."""
    word = reading.tokens[span.stop - 1].word
    if len(span) == 1 and _is_action(reading, span.start) and (listed != OBJECT or word.endswith(("ing", "ed"))):
        return ACTION
    noun = noun_of(word)
    if any(group in ("daytime", "season") for group, _ in property_words().get(reading.tokens[span.start].stem, ())):
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


def _is_predicate(reading: Reading, span: range) -> bool:
    """Whether a form in -s says what somebody does, though it may be a plural: 'he hammers', 'a surfer waxes his board'."""
    index, token = span.start, reading.tokens[span.start]
    if len(span) > 1 or not index or not token.word.endswith("s") or verb_of(token.word) in (None, token.word):
        return False
    before = reading.tokens[index - 1]
    if reading.text[before.end : token.start].strip():
        return False
    if before.word in _SUBJECTS:
        return True
    after = reading.tokens[index + 1] if index + 1 < len(reading.tokens) else None
    if after is None or after.word not in _OF_OBJECTS or reading.text[token.end : after.start].strip():
        return False
    return noun_of(before.word) == before.word and before.word not in lexicon.words("stop")


_SUBJECTS = frozenset({"he", "she", "it", "who", "somebody", "someone", "everyone", "everybody"})
_OF_OBJECTS = frozenset({"his", "her", "its", "their", "a", "an", "the"})  # what a verb's object begins with


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


def number_of(word: str) -> str | None:
    """The number that the word says, as digits."""
    return _numbers().get(word)


_GROUPS = frozenset(
    {"pair", "couple", "trio", "dozen"}
)  # numbers only where 'of' follows: 'a couple dancing' are a couple


def group_number(word: str) -> str | None:
    """The number that the word says where 'of' follows: 'a pair of'."""
    return next((n for n, words in lexicon.table("counts").items() if word in _GROUPS and word in words), None)


@cache
def _numbers() -> dict[str, str]:
    vague = _GROUPS | {"both", "twin", "duo", "solitary", "lone"}
    return {word: n for n, words in lexicon.table("counts").items() for word in words if word not in vague}


@cache
def property_words() -> dict[str, tuple[tuple[str, str], ...]]:
    """Each word that asks for a property, with the group and value (of several groups: 'short')."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for head, (row, _) in lexicon.sided("contrasts").items():
        group, _, value = head.partition("/")
        for word in map(stem_phrase, row):
            found[word] = (*found.get(word, ()), (group, value))
    return found


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
