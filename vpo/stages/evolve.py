"""Stage `evolve`: one generation of prompts, written from the best ones of the generations before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from vpo.build import Spec, batch_size_of
from vpo.feedback.evolve import best_rewrites, evolved, values_of_scores, values_of_verdicts
from vpo.feedback.groups import by_query
from vpo.interfaces import Rewriter
from vpo.language.garbled import ECHO, find_garbled
from vpo.records import Evolved, Failure, Family, Prompt, Query, Score, Verdict
from vpo.seeding import seed_of
from vpo.stages.contents import with_contents
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.storage.rows import write_rows
from vpo.storage.store import Entry

VERSION = 2  # of what a generation takes of the texts that were written; since 2 none that repeats a template


@dataclass(frozen=True, kw_only=True)
class Evolve(Stage):
    """A generation of an evolution: the rewriter writes new prompts from the best ones so far.

    Writes `prompts.jsonl`, several a query, and `families.jsonl`, whose lines say of each query which prompts the rewriter was shown.
    Generation 0 is the queries themselves. A query that the rewriter fails on is not evolved further. A text that repeats a template,
    as small models repeat its examples, is no prompt for the query: it is counted, and neither a parent nor a winner. Each generation
    is a result of its own, so that an evolution goes on where it was killed, and more rounds begin where fewer ended.
    """

    name: ClassVar[str] = "evolve"

    queries: Entry
    draw: int | None  # so many queries of the SFT split
    generation: int
    rewriter: Node | None = None
    parents: int | None = None
    children: int | None = None
    weights: Mapping[str, float] | None = None
    earlier: Sequence[Entry] | None = None  # generations
    rewards: Sequence[Entry] | None = None  # of them: scores or verdicts
    seed: int | None = None

    def node(self) -> dict[str, Any]:
        """The node with hashes of the template and of the local model that the rewriter names."""
        node = super().node()
        return (
            node | {"rewriter": with_contents(self.rewriter), "version": VERSION} if self.rewriter is not None else node
        )

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        queries = drawn(self.queries.rows("sft.jsonl", Query), self.draw)
        if self.generation == 0:
            prompts = [Prompt(f"{one.id}-g0", one.id, one.text, one.text.strip(), "evolution") for one in queries]
            write_rows(folder / "prompts.jsonl", prompts)
            return {"prompts": len(prompts)}
        pool = read_pool(self.earlier, self.rewards, self.weights)
        families = self._families(queries, pool)
        done = context.complete(
            families, folder / "families.jsonl", kind=dict, make=Spec(self.rewriter),
            call=partial(write_children, n=self.children, seed=self.seed), item_id=family_id,
            batch_size=batch_size_of(self.rewriter), label=f"prompts of generation {self.generation}",
        )  # fmt: skip
        known = {(one.query_id, one.text) for one in pool}
        text_of = {one.id: one.text for one in queries}
        written = [
            # All of one index: prompts of a query are rendered from equal noise, so that the prompt alone decides.
            Prompt(f"{name}-g{self.generation}-{k}", name, text_of[name], text, "evolution")
            for row in done.records
            for name in [row["query_id"]]
            for k, text in enumerate(row["texts"])
        ]
        new = [one for one in written if (one.query_id, one.text) not in known]
        prompts = [one for one in new if all(flaw.kind != ECHO for flaw in find_garbled(one.text, one.query))]
        write_rows(folder / "prompts.jsonl", prompts)
        return {
            "prompts": len(prompts), "repeated": len(written) - len(new), "copied": len(new) - len(prompts),
            "failed": len(done.failures),
        }  # fmt: skip

    def _families(self, queries: Sequence[Query], pool: Sequence[Evolved]) -> list[Family]:
        """What the rewriter is given of each query that has a reward of its own and did not fail in the generation before."""
        last = self.earlier[-1]
        going_on = {row["query_id"] for row in last.rows("families.jsonl", dict)} if self.generation > 1 else None
        own = by_query(pool)
        return [
            Family(query, own[query.id][0], tuple(best_rewrites(own[query.id], self.parents)), self.generation)
            for query in queries
            if own[query.id][0].value is not None and (going_on is None or query.id in going_on)
        ]


def drawn(queries: Sequence[Query], n: int | None) -> list[Query]:
    """n of the queries by a hash of their ids, in their order: a split may begin with one kind, and a larger n takes the same ones."""
    places = sorted(range(len(queries)), key=lambda place: seed_of("evolved", queries[place].id))[:n]
    return [queries[place] for place in sorted(places)]


def family_id(family: Family) -> str:
    """The id of its query."""
    return family.query.id


def write_children(rewriter: Rewriter, families: Sequence[Family], *, n: int, seed: int) -> list[Any]:
    """The rewriter's new prompts of each family, with the ids of those that it was shown."""
    return [
        texts
        if isinstance(texts, Failure)
        else {"query_id": one.query.id, "parents": [parent.id for parent in one.parents], "texts": texts}
        for one, texts in zip(families, rewriter.rewrite(families, n, seed), strict=True)
    ]


def read_pool(
    generations: Sequence[Entry], rewards: Sequence[Entry], weights: Mapping[str, float] | None
) -> list[Evolved]:
    """All prompts of an evolution so far, with their rewards, by generation."""
    pool = []
    for generation, (entry, reward) in enumerate(zip(generations, rewards, strict=True)):
        parents = {row["query_id"]: row["parents"] for row in entry.rows("families.jsonl", dict)} if generation else {}
        if reward.stage == "score":
            values = values_of_scores(reward.rows("scores.jsonl", Score), weights)
        else:
            values = values_of_verdicts(reward.rows("verdicts.jsonl", Verdict))
        pool += evolved(entry.rows("prompts.jsonl", Prompt), values, generation, parents)
    return pool
