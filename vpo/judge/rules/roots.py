"""Words of one root ('serene', 'serenity'), and misspelt words of a query."""

from functools import lru_cache

from vpo.judge.rules import wordnet
from vpo.judge.rules.items import Item
from vpo.judge.rules.naming import by_initial, names, vocabulary
from vpo.judge.rules.words import Reading, keys_of, near


def cognate(key: str, prompt: Reading) -> bool:
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


def misspelt(item: Item, prompt: Reading) -> bool:
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
