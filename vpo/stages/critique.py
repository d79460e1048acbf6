"""Stage `critique`: a judge reads prompts by the three principles (VPO paper 3.2 and 3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import ClassVar

from vpo.build import Spec, batch_size_of
from vpo.interfaces import Judge
from vpo.records import Failure, Prompt, Query, Verdict
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.storage.store import Entry


@dataclass(frozen=True, kw_only=True)
class Critique(Stage):
    """A judge reads prompts by the three principles.

    Writes `verdicts.jsonl`, one a prompt. With `queries` in place of `prompts` the test queries are read as if they were prompts;
    a verdict's `prompt_id` is the query's id then.
    """

    name: ClassVar[str] = "critique"

    judge: Node
    prompts: Entry | None = None
    queries: Entry | None = None

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        done = context.complete(
            self._prompts(), folder / "verdicts.jsonl", kind=Verdict, make=Spec(self.judge), call=critique_prompts,
            item_id=attrgetter("id"), batch_size=batch_size_of(self.judge), label=f"verdicts on {self.label}",
        )  # fmt: skip
        fine = [verdict.fine for verdict in done.records]
        return {
            "fine": fine.count(True), "flawed": fine.count(False), "unread": fine.count(None), "failed": len(done.failures)
        }  # fmt: skip

    def _prompts(self) -> list[Prompt]:
        if self.prompts is not None:
            return self.prompts.rows("prompts.jsonl", Prompt)
        return [Prompt(one.id, one.id, one.text, one.text, "query") for one in self.queries.rows("test.jsonl", Query)]


def critique_prompts(judge: Judge, prompts: Sequence[Prompt]) -> list[Verdict | Failure]:
    """The judge's verdicts."""
    return judge.critique(prompts)
