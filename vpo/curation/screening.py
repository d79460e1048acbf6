"""Rules over a stream of queries, so that millions pass in little memory: what is dropped is counted and shown, not kept."""

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from vpo.curation.reading import words_of
from vpo.dataset.reading.text import comparison_key
from vpo.records import Query
from vpo.seeding import seed_of

EXAMPLES = 5  # shown of what a rule dropped
SHOWN = 160  # characters of an example's text

Reason = Callable[[str], str | None]


@dataclass(frozen=True)
class Shown:
    """One query that a rule dropped, or failed on, and why."""

    id: str
    text: str
    reason: str


class Few:
    """A few of many queries, chosen by a hash of seed, rule and id: the same ones in whatever order they come."""

    def __init__(self, seed: int, rule: str) -> None:
        self.seed, self.rule, self.offered = seed, rule, 0
        self._chosen: list[tuple[int, int, Shown]] = []

    def add(self, query: Query, reason: str) -> None:
        """Offer a query with the reason for which it is shown."""
        self.offered += 1
        one = Shown(query.id, " ".join(query.text.split())[:SHOWN], reason)
        entry = (-seed_of("example", self.seed, self.rule, query.id), self.offered, one)
        if len(self._chosen) < EXAMPLES:
            heapq.heappush(self._chosen, entry)
        else:
            heapq.heappushpop(self._chosen, entry)

    @property
    def chosen(self) -> list[Shown]:
        """Those that are shown."""
        return [one for _, _, one in sorted(self._chosen, key=lambda entry: entry[:2], reverse=True)]


@dataclass
class Step:
    """What one rule did.

    Attributes:
        rule: its name in the config.
        seed: chooses the examples, whatever the order in which queries come.
        before: how many queries it read.
        dropped: how many of them it dropped.
        failed: on how many of them it failed: they are not used either, but nothing is said against them.
    """

    rule: str
    seed: int
    before: int = 0
    dropped: int = 0
    failed: int = 0

    def __post_init__(self) -> None:
        self._dropped, self._failed = Few(self.seed, self.rule), Few(self.seed, self.rule)

    def drop(self, query: Query, reason: str) -> None:
        """Count a query as dropped, and keep it if it is among the few that are shown."""
        self.dropped += 1
        self._dropped.add(query, reason)

    def fail(self, query: Query, reason: str) -> None:
        """Count a query as one that the rule failed on, and keep it if it is among the few that are shown."""
        self.failed += 1
        self._failed.add(query, reason)

    @property
    def after(self) -> int:
        """How many it left."""
        return self.before - self.dropped - self.failed

    @property
    def examples(self) -> list[Shown]:
        """A few of those that it dropped."""
        return self._dropped.chosen

    @property
    def failures(self) -> list[Shown]:
        """A few of those that it failed on."""
        return self._failed.chosen


def screen(queries: Iterable[Query], rules: Mapping[str, Reason], steps: Mapping[str, Step]) -> Iterator[Query]:
    """The queries that no rule drops, one after another.

    Args:
        queries: read once.
        rules: by name, in the order in which they are asked; each reads a query's text.
        steps: by the rule's name, where it is counted.
    """
    for query in queries:
        for name, rule in rules.items():
            steps[name].before += 1
            reason = rule(query.text)
            if reason is not None:
                steps[name].drop(query, reason)
                break
        else:
            yield query


class Seen:
    """The rule against exact duplicates: the same text again, whatever its case, white space and invisible characters.

    It keeps 64 bits a text, about 100 bytes: among two million texts one is wrongly taken for another with a probability of one in ten
    million.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._seen = {self._digest(text) for text in texts}

    def __call__(self, text: str) -> str | None:
        before = len(self._seen)
        self._seen.add(self._digest(text))
        return "the same text stands before" if len(self._seen) == before else None

    @staticmethod
    def _digest(text: str) -> int:
        key = comparison_key(text).encode(errors="surrogatepass")
        return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")


class Pool:
    """At most so many queries, drawn evenly from a stream by a hash of seed and id: the same ones in whatever order they come.

    Args:
        size: how many; None keeps all.
        seed: of the draw.
        step: where those that are not drawn are counted.
    """

    def __init__(self, size: int | None, seed: int, step: Step) -> None:
        self.size, self.seed, self.step = size, seed, step
        self._heap: list[tuple[int, int, Query]] = []  # the largest hash first

    def add(self, query: Query) -> None:
        """Offer a query."""
        self.step.before += 1
        entry = (-draw_of(self.seed, query), -self.step.before, query)
        if self.size is None or len(self._heap) < self.size:
            heapq.heappush(self._heap, entry)
        else:
            *_, last = heapq.heappushpop(self._heap, entry)
            self.step.drop(last, f"not drawn: more than {self.size} are left")

    @property
    def queries(self) -> list[Query]:
        """Those that are drawn, in the order in which they came."""
        return [query for _, _, query in sorted(self._heap, key=lambda entry: -entry[1])]


def draw_of(seed: int, query: Query) -> int:
    """A query's place in every draw of a seed: the lowest are taken."""
    return seed_of("curation", seed, query.id)


def count_lengths(queries: Iterable[Query], into: Counter[int]) -> Iterator[Query]:
    """The queries as they come, their words counted on the way: {words without flags: queries}."""
    for query in queries:
        into[len(words_of(query.text))] += 1
        yield query
