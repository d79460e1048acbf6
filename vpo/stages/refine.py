"""Stage `refine`: the judge refines the prompts that it found flawed (VPO paper 3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vpo.build import Spec, batch_size_of
from vpo.interfaces import Judge
from vpo.records import Failure, Prompt, Refinement, Verdict
from vpo.stages.contents import with_contents
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.storage.store import Entry

Flawed = tuple[Prompt, Verdict]


@dataclass(frozen=True, kw_only=True)
class Refine(Stage):
    """The judge refines the prompts that it found flawed.

    Writes `refinements.jsonl`, one a flawed prompt; its text is None where the judge gave nothing usable.
    """

    name: ClassVar[str] = "refine"

    judge: Node
    prompts: Entry
    verdicts: Entry

    def node(self) -> dict[str, Any]:
        """The node with hashes of the templates, the local model and the files that the judge names."""
        return super().node() | {"judge": with_contents(self.judge)}

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        verdict_of = {one.prompt_id: one for one in self.verdicts.rows("verdicts.jsonl", Verdict)}
        flawed = [
            (one, verdict_of[one.id])
            for one in self.prompts.rows("prompts.jsonl", Prompt)
            if one.id in verdict_of and verdict_of[one.id].fine is False
        ]
        done = context.complete(
            flawed, folder / "refinements.jsonl", kind=Refinement, make=Spec(self.judge), call=refine_prompts,
            item_id=prompt_id, batch_size=batch_size_of(self.judge), label=f"refinements of {self.label}",
        )  # fmt: skip
        unusable = sum(one.text is None for one in done.records)
        return {"refined": len(done.records) - unusable, "unusable": unusable, "failed": len(done.failures)}


def prompt_id(item: Flawed) -> str:
    """The id of the flawed prompt."""
    return item[0].id


def refine_prompts(judge: Judge, items: Sequence[Flawed]) -> list[Refinement | Failure]:
    """The judge's refinements."""
    prompts, verdicts = [prompt for prompt, _ in items], [verdict for _, verdict in items]
    texts = judge.refine(prompts, verdicts)
    return [
        text if isinstance(text, Failure) else Refinement(prompt.id, prompt.query_id, text)
        for prompt, text in zip(prompts, texts, strict=True)
    ]
