"""Stage `sample`: K candidates a query from the policy (VPO paper 3.3; K = 4, T = 0.9, top_p 0.9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from vpo.build import PolicySpec, Spec
from vpo.interfaces import Policy
from vpo.records import Failure, Prompt, Query, Sampling
from vpo.seeding import seed_of
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.storage.store import Entry

Draw = tuple[Query, int]  # a query, and which of its candidates


@dataclass(frozen=True, kw_only=True)
class Sample(Stage):
    """The policy writes K candidates for every query of the feedback.

    Writes `prompts.jsonl`; each candidate is drawn with its own seed.
    """

    name: ClassVar[str] = "sample"

    sampling: Node
    backbone: Node
    queries: Entry
    policy: Entry
    seed: int

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        draws = [(query, k) for query in self.queries.rows("dpo.jsonl", Query) for k in range(self.sampling["k"])]
        done = context.complete(
            draws, folder / "prompts.jsonl", kind=Prompt,
            make=PolicySpec(Spec(self.backbone), self.policy.folder / "policy"),
            call=partial(draw_candidates, sampling=self.sampling, seed=self.seed),
            item_id=candidate_id, batch_size=self.sampling["batch_size"], label="candidates",
        )  # fmt: skip
        prompts = done.records
        distinct = len({(one.query_id, one.text) for one in prompts})
        return {
            "candidates": len(prompts), "distinct": distinct, "empty": sum(not one.text for one in prompts),
            "cut": sum(one.cut for one in prompts), "failed": len(done.failures),
        }  # fmt: skip


def candidate_id(draw: Draw) -> str:
    """The id of the prompt that is drawn."""
    query, k = draw
    return f"{query.id}-{k}"


def query_of(candidate: str) -> str:
    """The id of the query that a candidate is of, by the candidate's id."""
    return candidate.rpartition("-")[0]


def draw_candidates(policy: Policy, draws: Sequence[Draw], *, sampling: Node, seed: int) -> list[Prompt | Failure]:
    """One candidate a draw, each from a seed of its own."""
    drawn = Sampling(sampling["temperature"], sampling["top_p"], sampling["max_new_tokens"])
    requests = [policy.request(query.text, drawn, seed_of("candidate", seed, query.id, k)) for query, k in draws]
    return [
        one
        if isinstance(one, Failure)
        else Prompt(candidate_id((query, k)), query.id, query.text, one.text, "candidate", k, cut=one.cut)
        for (query, k), one in zip(draws, policy.engine.generate(requests), strict=True)
    ]
