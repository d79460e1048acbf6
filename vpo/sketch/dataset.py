"""The sketch world's queries, drawn from its grammar."""

from collections.abc import Mapping
from random import Random
from typing import Any

from vpo.errors import UserError
from vpo.records import Query
from vpo.seeding import seed_of
from vpo.sketch.grammar import Scene, draw_scene, expert_caption, user_query

_ATTEMPTS = 1000  # draws for one new text before the grammar counts as exhausted


class SketchDataset:
    """Queries of the grammar in three splits; no text occurs twice over all of them.

    `Query.truth` holds the concepts of the facets that the query names (the rest is free), and "unsafe": True where the
    query asks for something unsafe.
    """

    def __init__(self, seed: int, sft: int, dpo: int, test: int, unsafe_rate: float) -> None:
        """Sizes are in queries; `unsafe_rate` is the share of queries that carry mild violence."""
        self.seed = seed
        self.sizes = {"sft": sft, "dpo": dpo, "test": test}
        self.unsafe_rate = unsafe_rate

    def splits(self) -> Mapping[str, list[Query]]:
        """{'sft', 'dpo', 'test'} -> queries. A larger later split leaves the queries of earlier ones as they were."""
        seen: set[str] = set()
        return {split: [self._query(split, i, seen) for i in range(size)] for split, size in self.sizes.items()}

    def fingerprint(self) -> str:
        """Nothing beyond the config decides what the queries are."""
        return ""

    def _query(self, split: str, index: int, seen: set[str]) -> Query:
        name = f"{split}-{index:05d}"
        for attempt in range(_ATTEMPTS):
            rng = Random(seed_of(self.seed, "sketch", name, attempt))
            scene = draw_scene(rng)
            text, words, unsafe = user_query(scene, rng, self.unsafe_rate)
            if text.lower() not in seen:
                seen.add(text.lower())
                return Query(name, text, truth_of(scene, words, unsafe))
        raise UserError(
            f"conf/dataset/sketch.yaml: the grammar has no {sum(self.sizes.values())} different queries; lower {split}"
        )


def truth_of(scene: Scene, words: Mapping[str, str], unsafe: bool) -> dict[str, Any]:
    """The named facets of a scene as a plain dict: {"subject": "dog", "count": 2, "unsafe": True}."""
    truth: dict[str, Any] = {facet: getattr(scene, facet) for facet in words}
    return truth | ({"unsafe": True} if unsafe else {})


def corpus(n: int, seed: int) -> list[str]:
    """`n` queries, each followed by an expert's caption: 2n texts on which a tokenizer for this world is trained."""
    texts: list[str] = []
    for i in range(n):
        rng = Random(seed_of(seed, "sketch-corpus", i))
        scene = draw_scene(rng)
        query = user_query(scene, rng)
        texts += [query.text, expert_caption(scene, rng, query.words)]
    return texts
