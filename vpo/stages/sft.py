"""Stage `sft`: supervised fine-tuning, of the starting policy (VPO paper 3.2) and of the controls."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

from vpo.errors import UserError
from vpo.feedback.pairing import sft_examples
from vpo.processes.launch import WORKER
from vpo.records import Example, Pair, Prompt, Refinement, Verdict
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.stages.training import exempt_of, job_of, node_of, train
from vpo.storage.rows import write_rows
from vpo.storage.store import Entry


@dataclass(frozen=True, kw_only=True)
class Sft(Stage):
    """A policy learns to write given prompts.

    Writes `policy/` and `training.jsonl`. The examples are one of: drafts that the judge found fine and refinements of the others
    (`drafts`, `verdicts`, `refinements`); those of an earlier training (`examples_of`); the chosen sides of all rounds' preference
    pairs (`pairs`).

    A control takes as many updates, of as many rows, as the preference trainings that `updates` (the objective) and `updates_of`
    (the reference log-probabilities of each round's pairs) stand for.
    """

    name: ClassVar[str] = "sft"
    exempt: ClassVar[tuple[str, ...]] = exempt_of("recipe")
    runs: ClassVar[tuple[str, ...]] = (WORKER,)
    trains: ClassVar[bool] = True

    recipe: Node
    trainer: Node
    backbone: Node
    start: Entry
    seed: int
    drafts: Entry | None = None
    verdicts: Entry | None = None
    refinements: Entry | None = None
    examples_of: Entry | None = None
    pairs: Sequence[Entry] | None = None
    updates: Node | None = None
    updates_of: Sequence[Entry] | None = None

    def node(self) -> dict[str, Any]:
        node = node_of("recipe", self.recipe, self.trainer, self.backbone, self.seed)
        if self.updates is not None:
            counted = ("epochs", "max_steps", "validation", "global_batch_size")
            node["updates"] = {name: self.updates[name] for name in counted}
        return node

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        rows = self.examples()
        if not rows and self.examples_of is not None:
            raise UserError(
                f"{self.label}: no query has a rewrite with a better reward than its own; take more rounds (evolution.rounds), "
                "another rewriter, or lower evolution.least"
            )
        if not rows and self.drafts is not None:
            raise UserError(
                f"{self.label}: no draft can be trained on: the judge calls none fine and could refine none; choose a drafter that "
                "rewrites such queries (method@drafter=llm; given, where the data bring rewrites), or another judge"
            )
        write_rows(folder / "rows.jsonl", rows)
        recipe = dict(self.recipe) if self.updates is None else {**self.recipe, **self.as_many_updates()}
        job = job_of(folder, recipe, self.trainer, self.backbone, start=self.start, seed=self.seed)
        job |= {"task": "sft", "label": self.label, "rows": str(folder / "rows.jsonl")}
        return {"examples": len(rows), "steps": train(folder, job)}

    def examples(self) -> list[Example]:
        """What is learnt."""
        if self.examples_of is not None:
            return self.examples_of.rows("rows.jsonl", Example)
        if self.pairs is not None:
            pairs = [one for entry in self.pairs for one in entry.rows("pairs.jsonl", Pair)]
            return [Example(one.query_id, one.query, one.chosen) for one in pairs]
        return sft_examples(
            self.drafts.rows("prompts.jsonl", Prompt),
            self.verdicts.rows("verdicts.jsonl", Verdict),
            self.refinements.rows("refinements.jsonl", Refinement),
        )

    def as_many_updates(self) -> dict[str, int]:
        """Steps and batch of the preference trainings; the data a control sees is repeated as often as that takes."""
        steps = sum(steps_of(self.updates, len(one.rows("reference.jsonl", dict))) for one in self.updates_of)
        return {"epochs": 1, "max_steps": steps, "global_batch_size": self.updates["global_batch_size"]}


def steps_of(objective: Node, pairs: int) -> int:
    """The optimizer steps of a preference training on so many pairs."""
    trained = pairs - round(pairs * objective["validation"])
    return objective["max_steps"] or ceil(max(1, round(trained * objective["epochs"])) / objective["global_batch_size"])
