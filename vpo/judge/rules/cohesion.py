"""Whether a text says more of the query's things than the query does: stock sentences around a copy of it do not.

A rewrite grows out of its query: what it adds stands in sentences that name the query's things, in the words for them or
for a kind of them, by a pronoun, or by a definite noun that such a sentence brought in ("a kitten on a sofa ... the sofa").
A prompt that repeats the query and adds a fixed block, tags or another scene has few such words. Each text is judged alone;
what is common in prompts was counted once and is a table (`lexicon/usual.txt`).

What it cannot see: whether a detail is true of the thing; a block that repeats the query's nouns; another scene with the same
things; the parts of a place, which nothing links to it ("a kitchen ... a kettle").
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

from vpo.judge.rules import harm, lexicon, naming
from vpo.judge.rules.requirements import understand
from vpo.judge.rules.words import Reading, Token, stem

_PRONOUNS = frozenset(
    re.findall(r"\w+", "he she it they him her them his its their hers theirs himself herself itself themselves")
)
_DEFINITE = frozenset({"the", "this", "these", "that", "those", "its", "his", "her", "their"})
_CLAUSE = re.compile(r"[,;:\u2013\u2014]")
_LOOKED_FOR = 100  # content words of a query
_COVERED = 0.75  # share of the query's content words from which on its copies are a copy of the query
_OWN = 1.0  # weight of other words from which on a clause is no mere copy
_BOUND = 2.0  # weight that a text around a copy of the query needs in sentences about the query's things
_BOUND_SHARE = 0.2  # and its share of all the weight that the text adds
_SIZES = (
    4,
    8,
)  # content words of a query: with fewer than four a text must name one again, then two, from eight on three
_ALONE = 1.0  # the least such weight of a text without a copy
_RICH = 12.0  # weight of other words from which on a text without a copy describes something
_ADDED = 6  # different words from which on a text adds anything worth a question


@dataclass(frozen=True)
class Cohesion:
    """What a text adds to its query, in words weighed by how seldom prompts use them (0 to 1 each).

    bound: in sentences about the query's things. loose: in other sentences. usual: number of words that weigh nothing.
    copied: whether most of the query stands in the text as it is, in clauses of its own. asked: number of the query's
    content words. named: how many of these the text names outside such copies.
    """

    bound: float
    loose: float
    usual: int
    copied: bool
    asked: int
    named: int

    @property
    def stock(self) -> bool:
        """Whether the text is stock sentences, or sentences about something else, beside the query."""
        if not self.asked:
            return False
        added = self.loose + self.usual
        if added < max(_ADDED, self.asked / 4):  # a query that says everything may be left as it is
            return False
        if self.copied:
            few = self.named < 1 + sum(self.asked >= size for size in _SIZES)
            return few or self.bound < _BOUND or self.bound < _BOUND_SHARE * (self.bound + self.loose)
        return self.bound < _ALONE and self.loose < _RICH

    @property
    def summary(self) -> str:
        """The figures in words, as a reason shows them."""
        return f"of what is added, {self.bound:g} belongs to the query, {self.loose:g} to nothing in it"


def cohesion(query: str, prompt: Reading) -> Cohesion:
    """How far the text's additions belong to the query: a pure function of the two, linear in their lengths."""
    asked = _asked(query)
    clauses = tuple(_clauses(prompt))
    copies = _copies(asked, clauses)
    anchors = _anchors(frozenset(asked))
    kinds = frozenset().union(*map(_kinds, set(asked)))
    bound: dict[str, float] = {}
    loose: dict[str, float] = {}
    known: set[str] = set()
    linked = False
    for unit, copy in _units(clauses, copies):
        linked = copy or _linked(unit, anchors, kinds, known, linked)
        weights = {stem: _weight(stem) for stem in _added(unit, asked)}
        (bound if linked else loose).update(weights)
        if linked:
            known.update(stem for stem, weight in weights.items() if weight)
    left = {stem: weight for stem, weight in loose.items() if stem not in bound}
    usual = sum(not weight for weight in (bound | left).values())
    named = _named(asked, clauses, copies)
    return Cohesion(sum(bound.values()), sum(left.values()), usual, any(copies), len(set(asked)), named)


@lru_cache(maxsize=1024)
def _asked(query: str) -> tuple[str, ...]:
    """The stems of the query's content words, in their order; none of an unsafe query, which a prompt must leave behind."""
    reading = understand(query).reading
    return () if harm.find(reading) else tuple(token.stem for token in _content(reading.tokens))


def _named(asked: Sequence[str], clauses: Sequence[Sequence[Token]], copies: Sequence[bool]) -> int:
    """How many of the query's words the clauses that are no copies name, by a word for it or by "the" and its kind.

    That somebody is there again says little: people are counted only where the query has nothing else.
    """
    others = [clause for clause, copy in zip(clauses, copies, strict=True) if not copy]
    stems = {token.stem for clause in others for token in clause}
    kinds = {kind for clause in others for kind in _definite(clause)}
    return sum(
        stem in stems or not stems.isdisjoint(naming.listed(stem)) or not kinds.isdisjoint(_kinds(stem))
        for stem in set(asked) - _people() or set(asked)
    )


@cache
def _people() -> frozenset[str]:
    heads = {stem(word) for word in ("person", "people", "someone", "human")}
    return frozenset(heads).union(*(naming.listed(head) for head in heads))


@lru_cache(maxsize=10_000)
def _kinds(stem: str) -> frozenset[str]:
    """What the thing is one of, and what these are."""
    direct = naming.kinds().get(stem, ())
    return frozenset(direct).union(*(naming.kinds().get(kind, ()) for kind in direct))


def _definite(clause: Sequence[Token]) -> set[str]:
    """The words behind "the", "this", "its" and the like."""
    return {two.stem for one, two in pairwise(clause) if one.word in _DEFINITE}


def _content(tokens: Sequence[Token]) -> list[Token]:
    return [token for token in tokens if token.word not in _little() and not token.word.isdigit()]


@cache
def _little() -> frozenset[str]:
    """Words that name nothing: function words and numbers."""
    numbers = lexicon.table("counts").values()
    return lexicon.words("stop").union(*numbers)


def _added(unit: Sequence[Token], asked: Sequence[str]) -> set[str]:
    return {token.stem for token in _content(unit)} - set(asked)


def _clauses(reading: Reading) -> Iterator[tuple[Token, ...]]:
    """The text cut at sentence ends, commas, colons and dashes."""
    clause: list[Token] = []
    for token in reading.tokens:
        if clause and (
            token.sentence != clause[-1].sentence or _CLAUSE.search(reading.text[clause[-1].end : token.start])
        ):
            yield tuple(clause)
            clause = []
        clause.append(token)
    if clause:
        yield tuple(clause)


def _copies(asked: Sequence[str], clauses: Sequence[Sequence[Token]]) -> tuple[bool, ...]:
    """Which clauses are pieces of the query and hardly more; none where they do not amount to the query."""
    wanted = set(asked[:_LOOKED_FOR])
    runs = _runs(asked, [token.stem for clause in clauses for token in _content(clause)])
    found, covered, place = [], set(), 0
    for clause in clauses:
        content = _content(clause)
        own = {token.stem for i, token in enumerate(content, place) if i in runs}
        place += len(content)
        extra = sum(max(_weight(stem), 0.5) for stem in _added(clause, asked) - _praise())
        found.append(bool(own) and extra < _OWN)
        if found[-1]:
            covered |= own
    if not wanted or len(covered) < _COVERED * len(wanted):
        return (False,) * len(clauses)
    return tuple(found)


def _runs(asked: Sequence[str], words: Sequence[str]) -> set[int]:
    """Places in `words` that belong to a run of at least three of `asked`, in their order (of all, where they are fewer).

    Of a very long query its beginning is looked for.
    """
    asked = asked[:_LOOKED_FOR]
    least = min(len(asked), 3)
    places: set[int] = set()
    lengths = [0] * (len(asked) + 1)
    for place, word in enumerate(words):
        lengths = [0, *(lengths[i] + 1 if word == one else 0 for i, one in enumerate(asked))]
        longest = max(lengths)
        if longest >= least > 0:
            places.update(range(place - longest + 1, place + 1))
    return places


def _units(clauses: Sequence[tuple[Token, ...]], copies: Sequence[bool]) -> Iterator[tuple[tuple[Token, ...], bool]]:
    """What is linked as a whole, and whether it is a copy: sentences, and the single clauses of one that holds a copy."""
    split = {clause[0].sentence for clause, copy in zip(clauses, copies, strict=True) if copy}
    whole: list[Token] = []
    for clause, copy in zip(clauses, copies, strict=True):
        if whole and clause[0].sentence != whole[0].sentence:
            yield tuple(whole), False
            whole = []
        if clause[0].sentence in split:
            yield clause, copy
        else:
            whole.extend(clause)
    if whole:
        yield tuple(whole), False


def _linked(
    unit: Sequence[Token], anchors: frozenset[str], kinds: frozenset[str], known: set[str], before: bool
) -> bool:
    """Whether the words name one of the query's things, or go on from what was said of them."""
    stems = [token.stem for token in unit]
    if not anchors.isdisjoint(stems) or any(" ".join(pair) in anchors for pair in pairwise(stems)):
        return True
    if not (known | kinds).isdisjoint(_definite(unit)):
        return True
    first = next((token.word for token in unit if token.word in _PRONOUNS or token.word in ("a", "an")), "")
    return before and first in _PRONOUNS


@lru_cache(maxsize=1024)
def _anchors(asked: frozenset[str]) -> frozenset[str]:
    """The words that name the query's things; usual words ("light", "slowly") only where it has no others."""
    telling = {stem for stem in asked if _weight(stem) or stem in naming.kinds() or stem in naming.members()} or asked
    people = _people()  # 'a fisherman' is no old man of the query
    return frozenset(telling).union(*((naming.same if stem in people else naming.listed)(stem) for stem in telling))


def _weight(stem: str) -> float:
    return _weights().get(stem, 1.0)


@cache
def _weights() -> dict[str, float]:
    rows = lexicon.table("usual")
    weights = {stem(word): 0.5 for word in rows["frequent"]}
    return weights | {stem(word): 0.0 for word in rows["usual"]}


@cache
def _praise() -> frozenset[str]:
    return frozenset(stem(word) for name in ("soft", "quality") for word in lexicon.words(name))
