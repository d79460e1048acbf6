"""Whether a prompt keeps what its query asks for, and where it changes it."""

import itertools
from collections.abc import Iterator
from functools import lru_cache

from vpo.judge.rules import attributes, helpfulness, lexicon
from vpo.judge.rules.naming import by_initial, kinds, marks, members, moves, names, object_keys, siblings, vocabulary
from vpo.judge.rules.requirements import Item, Requirements
from vpo.judge.rules.words import Reading, near, stem_phrase
from vpo.records import Reason

FULL, PART = 1.0, 0.6


def flaws(required: Requirements, prompt: Reading, tolerance: float) -> list[Reason]:
    """Every way in which the prompt fails the requirements; none means accurate.

    `tolerance` is the share of the query's items that may be missing; an item only hinted at is missing in part.
    Soft items (praise, mood, size) are not counted: a good prompt says them otherwise.
    """
    found = [
        *attributes.wrong_attributes(required, prompt),
        *attributes.wrong_relations(required, prompt),
        *_excluded(required, prompt),
        *_motion(required, prompt),
    ]
    strengths = [(item, kept(item, prompt, required)) for item in required.items if item.kind != "soft"]
    lost = sum(1 - strength for _, strength in strengths)
    if lost > tolerance * len(strengths):
        weakest = min(strength for _, strength in strengths)
        bar = max(PART, weakest + 0.01)  # where everything is hinted at, the faintest hints are what is missing
        found += [Reason("accurate", "missing", item.words) for item, strength in strengths if strength < bar]
    return found


def kept(item: Item, prompt: Reading, required: Requirements) -> float:
    """How surely the prompt keeps the item: 1 named or by another name, 0.6 hinted at, 0 not at all."""
    if item.key in prompt.places:
        return FULL
    if item.kind == "style" or (item.kind == "camera" and item.key in moves()):
        return FULL if _shown(item.key, prompt) else 0.0
    if _compound(item, prompt, required):
        return FULL
    if item.kind == "name":
        return 0.0
    strength, evidence = _indirect(item, prompt, required)
    return 0.0 if item.kind == "object" and _ousted(item, evidence, prompt, required) else strength


def _indirect(item: Item, prompt: Reading, required: Requirements) -> tuple[float, frozenset[str]]:
    """The strength with which other words name the item, and these words."""
    taken = {other.key for other in required.items if other is not item} & prompt.places.keys()
    other_names = (names(item.key) - taken) & prompt.places.keys()
    if other_names:
        return FULL, other_names
    standing = _standing_kinds(item.key, prompt)
    if standing:
        return FULL, standing
    parts = item.key.split()
    if len(parts) > 1 and parts[-1] in prompt.places and parts[-1] not in object_keys():
        return PART, frozenset({parts[-1]})
    if item.kind in ("word", "soft") and (_cognate(item.key, prompt) or _misspelt(item, prompt)):
        return FULL, frozenset()
    signs = marks(item.key) & prompt.places.keys()
    return (FULL if len(signs) > 1 else PART * len(signs)), signs


def _ousted(item: Item, evidence: frozenset[str], prompt: Reading, required: Requirements) -> bool:
    """Whether another thing of the item's kind has its place: named before all that would name the item.

    'A car glides by, the bike's frame gleaming' is about a car, whatever is said later.
    """
    rivals = rivals_of(item, prompt, required)
    if not rivals or not evidence:
        return False
    if evidence <= marks(item.key):  # signs alone are too weak where another thing is named
        return True
    first = min(prompt.places[key][0] for key in evidence)
    return min(prompt.places[key][0] for key in rivals) <= first + 2


def rivals_of(item: Item, prompt: Reading, required: Requirements) -> frozenset[str]:
    """Things of the item's kind that the prompt names and the query does not."""
    rivals = siblings(item.key) & prompt.places.keys()
    for other in (item, *required.items) if rivals else ():
        rivals -= names(other.key) | {other.key}
    return rivals


def _shown(key: str, prompt: Reading) -> bool:
    """Whether a sign of the style or camera move is there, or a hint of the move and no sign of the opposite one."""
    if not marks(key).isdisjoint(prompt.places):
        return True
    opposite = moves().get(key, "")
    hinted = not marks(key, "camera_hints").isdisjoint(prompt.places)
    return hinted and marks(opposite).isdisjoint(prompt.places)


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


def _cognate(key: str, prompt: Reading) -> bool:
    """Words of one root, as 'serene' and 'serenity': five shared letters, most of the shorter word."""
    if len(key) < 5 or " " in key:
        return False
    return any(_same_root(key, other) for other in prompt.places if other.startswith(key[:5]))


def _same_root(a: str, b: str) -> bool:
    shared = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return shared >= 5 and shared >= 0.75 * min(len(a), len(b)) and " " not in b


def _misspelt(item: Item, prompt: Reading) -> bool:
    """A query word no table knows may be misspelt: one typing error from five letters on, two from nine on."""
    key = item.key
    if len(key) < 5 or " " in key or key in vocabulary():
        return False
    most = 1 if len(key) < 9 else 2
    close = (other for other in prompt.places if " " not in other and abs(len(other) - len(key)) <= most)
    if any(other[0] == key[0] and _slip(key, other, most) for other in close):
        return True
    meant = _correction(key)
    return meant is not None and (meant in prompt.places or not names(meant).isdisjoint(prompt.places))


def _slip(a: str, b: str, most: int) -> bool:
    """Whether a is one typing error away from b; letters in the wrong order ('bycicle') count once however far they are moved."""
    return near(a, b, most) or (sorted(a) == sorted(b) and near(a, b, 2))


@lru_cache(maxsize=10_000)
def _correction(key: str) -> str | None:
    """The one word of the lexicon that a misspelt word is one typing error away from, if there is just one."""
    close = [word for word in by_initial().get(key[0], ()) if _slip(key, word, 1)]
    return close[0] if len(close) == 1 else None


# What must not be there


def _excluded(required: Requirements, prompt: Reading) -> Iterator[Reason]:
    for words in required.excluded:
        if stem_phrase(words) in prompt.places and not _is_quality(words):
            yield Reason("accurate", "excluded", words)


def _motion(required: Requirements, prompt: Reading) -> Iterator[Reason]:
    """`-motion 0` or `1` asks for little motion, 3 or 4 for much; only a plain contradiction is a flaw."""
    if required.motion is None or required.motion == 2:
        return
    little, much = (
        {stem_phrase(word) for word in lexicon.table("motion_levels")[level]} for level in ("little", "much")
    )
    slow, fast = not little.isdisjoint(prompt.places), not much.isdisjoint(prompt.places)
    moves = fast or not (helpfulness.signs_of("motion") - little).isdisjoint(prompt.places)
    if (required.motion < 2 and fast and not slow) or (required.motion > 2 and slow and not moves):
        yield Reason("accurate", "motion", f"-motion {required.motion}")


def _is_quality(words: str) -> bool:
    """'blurry' and its like speak of the video's quality, which a text cannot have."""
    return any(word in lexicon.words("quality") for word in words.lower().split())
