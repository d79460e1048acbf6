"""What the lexicon says of a word: its other names, its kinds and siblings, the signs that show it.

Keys are stems of words or phrases, as `words.stem_phrase` gives them.
"""

from functools import cache, lru_cache

from vpo.judge.rules import lexicon, wordnet
from vpo.judge.rules.items import Item
from vpo.judge.rules.words import Reading, keys_of, stem, stem_phrase


def locate(item: Item | None, prompt: Reading) -> list[int]:
    """Where the prompt names the item: indices of the last token of each naming."""
    if item is None:
        return []
    keys = item.keys.union(*(names(key) for key in item.keys)) & prompt.places.keys()
    return sorted({i + key.count(" ") for key in keys for i in prompt.places[key]})


@cache
def _same() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for group in lexicon.groups("same"):
        keys = {stem_phrase(phrase) for phrase in group}
        for key in keys:
            found.setdefault(key, set()).update(keys - {key})
    return {key: frozenset(others) for key, others in found.items()}


@cache
def members() -> dict[str, frozenset[str]]:
    """Each kind with its members."""
    rows: dict[str, frozenset[str]] = {}
    for kind, items in lexicon.table("kinds").items():
        rows[stem_phrase(kind)] = rows.get(stem_phrase(kind), frozenset()) | {stem_phrase(item) for item in items}
    return rows


@cache
def kinds() -> dict[str, tuple[str, ...]]:
    """Each member with its kinds."""
    found: dict[str, tuple[str, ...]] = {}
    for kind, row in members().items():
        for member in row:
            found[member] = (*found.get(member, ()), kind)
    return found


@lru_cache(maxsize=10_000)
def names(key: str) -> frozenset[str]:
    """Every key that names what `key` names, by the project's own tables and by WordNet."""
    return (listed(key) | _in_wordnet(key) | _times().get(key, frozenset())) - {key}


@lru_cache(maxsize=10_000)
def listed(key: str) -> frozenset[str]:
    """The project's own words for what `key` names: words for the same thing, and two levels of kinds below it."""
    direct = members().get(key, frozenset())
    below = frozenset().union(*(members().get(member, frozenset()) for member in direct))
    return (same(key) | direct | below) - {key}


@cache
def _times() -> dict[str, frozenset[str]]:
    """Words for a time of day or of the year, each with the others that speak for it."""
    found: dict[str, frozenset[str]] = {}
    for head, (words, further) in lexicon.sided("contrasts").items():
        if head.startswith(("daytime/", "season/")):
            row = frozenset(map(stem_phrase, (*words, *further)))
            for word in map(stem_phrase, words):
                found[word] = found.get(word, frozenset()) | row
    return found


def same(key: str) -> frozenset[str]:
    """The words that the project's own table gives for the same thing or action."""
    return _same().get(key, frozenset())


def _in_wordnet(key: str) -> frozenset[str]:
    """WordNet's synonyms and kinds of a noun, and its synonyms and near words of an adjective or adverb."""
    found: frozenset[str] = frozenset()
    if wordnet.known(key, wordnet.NOUN):
        found |= wordnet.synonyms(key, wordnet.NOUN)
        if wordnet.visible(key) and len(wordnet.below(key, wordnet.NOUN)) < 1000:
            found |= wordnet.below(key, wordnet.NOUN)
    for part in (wordnet.ADJECTIVE, wordnet.ADVERB):
        if wordnet.known(key, part):
            found |= wordnet.synonyms(key, part) | wordnet.below(key, part, 1)
    return keys_of(found) - frozenset(lexicon.table("apart").get(key, ()))


@lru_cache(maxsize=10_000)
def siblings(key: str) -> frozenset[str]:
    """The other members of its kinds, and of their kinds; people and the like apart, which come together in a scene."""
    own = [kind for kind in kinds().get(key, ()) if kind not in _COMPANIONS]
    wider = [kind for near_kind in own for kind in kinds().get(near_kind, ()) if kind not in _COMPANIONS]
    listed = frozenset().union(*(members()[kind] for kind in (*own, *wider)))
    return (listed | (frozenset() if own else _sisters(key))) - {key, *own}


def _sisters(key: str) -> frozenset[str]:
    """Other members of the kind to which WordNet counts a thing that no table lists."""
    if not wordnet.visible(key):
        return frozenset()
    numbers = wordnet.meanings(key, wordnet.NOUN, 1)
    return keys_of(wordnet.sisters(numbers)) - {key}


_COMPANIONS = frozenset(
    stem_phrase(kind)
    for kind in (
        *("person", "people", "family", "weather", "daytime"),
        *("clothing", "plant", "building", "tool", "shape"),
    )
)


@lru_cache(maxsize=10_000)
def marks(key: str, *tables: str) -> frozenset[str]:
    """The signs of a key in the tables; by default in those whose signs stand by themselves."""
    rows = (row for name in tables or ("signs", "styles", "camera") for row in lexicon.table(name).items())
    return frozenset(stem_phrase(sign) for head, signs in rows if stem_phrase(head) == key for sign in signs)


def is_place(key: str) -> bool:
    """Whether the key names a place rather than a thing."""
    return not {"plac", "room", "outdoor"}.isdisjoint(kinds().get(key, ()))


@cache
def moves() -> dict[str, str]:
    """The known camera moves, each with the opposite one if it has one."""
    turned = {"in": "out", "out": "in", "left": "right", "right": "left", "up": "down", "down": "up"}
    rows = {}
    for move in lexicon.table("camera"):
        verb, *rest = move.split()
        rows[stem_phrase(move)] = stem_phrase(" ".join([verb, *(turned.get(word, "") for word in rest)]))
    still = [stem_phrase(move) for move in ("steady", "static camera", "fixed camera", "static shot")]
    shaking = stem_phrase("shaking")
    return rows | dict.fromkeys(still, shaking) | {shaking: still[0]}


@lru_cache(maxsize=1000)
def rivals_of_style(key: str) -> frozenset[str]:
    """The names of styles, or camera moves, that exclude this one: those that share no sign with it."""
    own = marks(key) | {key}
    if key in moves():
        return frozenset(
            head for head in moves() if head.split()[0] in _EXCLUSIVE and (marks(head) | {head}).isdisjoint(own)
        )
    heads = {stem_phrase(head) for head in lexicon.table("styles")}
    return frozenset(head for head in heads if (marks(head) | {head}).isdisjoint(own)) - _BROAD_STYLES


_EXCLUSIVE = (
    "zoom",
    "pan",
    "tilt",
    "orbit",
    "circle",
    "shake",
    "steady",
    "static",
)  # first words of moves of which one is made at a time
_BROAD_STYLES = frozenset(
    map(
        stem_phrase,
        (
            *("cinematic", "filmic", "digital art", "3d", "sketch", "comic"),
            *("animated", "animated style", "vintage film", "photorealistic"),
        ),
    )
)


@cache
def object_keys() -> frozenset[str]:
    """Every known thing and kind of things."""
    return frozenset(members()) | frozenset(kinds())


@cache
def vocabulary() -> frozenset[str]:
    """Every known word: none of them is taken for a misspelling."""
    plain = {stem(word) for name in ("stop", "soft") for word in lexicon.words(name)}
    signs = {stem_phrase(p) for items in lexicon.table("signs").values() for p in items}
    facets = {stem_phrase(p) for items in lexicon.table("facets").values() for p in items}
    return frozenset(plain | signs | facets | set(_same()) | object_keys())


@cache
def by_initial() -> dict[str, tuple[str, ...]]:
    """The single known words by their first letter."""
    rows: dict[str, list[str]] = {}
    for word in sorted(vocabulary()):
        if word and " " not in word:
            rows.setdefault(word[0], []).append(word)
    return {initial: tuple(found) for initial, found in rows.items()}
