"""Stage `optimize`: the test queries under one method."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

from vpo.build import PolicySpec, Spec, batch_size_of
from vpo.interfaces import Method
from vpo.records import Completion, Failure, Prompt, Query
from vpo.stages.contents import with_contents
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.storage.store import Entry

# What a method's node says besides the arguments of its class.
BESIDES = ("policy", "batch_size", "label")


@dataclass(frozen=True, kw_only=True)
class Optimize(Stage):
    """The test queries become prompts, by one method.

    Writes `prompts.jsonl`. A method that samples from a trained policy (`policy: sft` in its node) gets it loaded.
    """

    name: ClassVar[str] = "optimize"

    method_name: str
    method: Node  # as `arguments_of` gives it
    batch_size: int
    queries: Entry
    seed: int
    backbone: Node | None = None
    policy: Entry | None = None

    def node(self) -> dict[str, Any]:
        """The node with hashes of the template and of the local model that the method names."""
        return super().node() | {"method": with_contents(self.method)}

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        shared = {}
        if self.policy is not None:
            shared["policy"] = PolicySpec(Spec(self.backbone), self.policy.folder / "policy")
        done = context.complete(
            self.queries.rows("test.jsonl", Query), folder / "prompts.jsonl", kind=Prompt, make=Spec(self.method, shared),
            call=partial(write_prompts, name=self.method_name, seed=self.seed), item_id=attrgetter("id"),
            batch_size=self.batch_size, label=f"prompts by {self.method_name}",
        )  # fmt: skip
        cut = sum(one.cut for one in done.records)
        return {"prompts": len(done.records), "cut": cut, "failed": len(done.failures)}


def arguments_of(method: Node) -> dict[str, Any]:
    """The part of a method's node that builds it."""
    return {key: value for key, value in method.items() if key not in BESIDES}


def optimize(name: str, method: Node, queries: Entry, seed: int, *, backbone: Node, policy: Entry | None) -> Optimize:
    """The stage for one method of the config."""
    return Optimize(
        method_name=name, method=arguments_of(method), batch_size=batch_size_of(method), queries=queries, seed=seed,
        backbone=backbone if policy is not None else None, policy=policy, label=name,
    )  # fmt: skip


def write_prompts(method: Method, queries: Sequence[Query], *, name: str, seed: int) -> list[Prompt | Failure]:
    """One prompt a query, by the method."""
    return [
        one if isinstance(one, Failure) else _prompt(query, one, name)
        for query, one in zip(queries, method.optimize(queries, seed), strict=True)
    ]


def _prompt(query: Query, written: str | Completion, method: str) -> Prompt:
    """The record of what a method gave: a text, or what a language model wrote, which may have been cut."""
    text, cut = (written, False) if isinstance(written, str) else (written.text, written.cut)
    return Prompt(f"{query.id}-{method}", query.id, query.text, text, method, cut=cut)
