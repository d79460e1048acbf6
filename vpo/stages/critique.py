"""Stage `critique`: a judge reads prompts by the three principles (VPO paper 3.2 and 3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

from vpo.build import Spec, batch_size_of
from vpo.interfaces import Judge
from vpo.records import Failure, Prompt, Query, Verdict
from vpo.stages.contents import with_contents
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.storage.jsonio import write_json
from vpo.storage.store import Entry
from vpo.targets import target_class


@dataclass(frozen=True, kw_only=True)
class Critique(Stage):
    """A judge reads prompts by the three principles.

    Writes `verdicts.jsonl`, one a prompt. With `queries` in place of `prompts` the test queries are read as if they were prompts;
    a verdict's `prompt_id` is the query's id then. A judge's class may have a static method `report`, from all prompts, verdicts
    and failures to {file name: content}: such JSON files stand beside the verdicts, and in the run folder.
    """

    name: ClassVar[str] = "critique"

    judge: Node
    prompts: Entry | None = None
    queries: Entry | None = None

    def node(self) -> dict[str, Any]:
        """The node with hashes of the templates, the local model and the files that the judge names."""
        return super().node() | {"judge": with_contents(self.judge)}

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        prompts = self._prompts()
        done = context.complete(
            prompts, folder / "verdicts.jsonl", kind=Verdict, make=Spec(self.judge), call=critique_prompts,
            item_id=attrgetter("id"), batch_size=batch_size_of(self.judge), label=f"verdicts on {self.label}",
        )  # fmt: skip
        report = getattr(target_class(self.judge), "report", None)
        for name, content in (report(prompts, done.records, done.failures) if report else {}).items():
            write_json(folder / name, content, indent=1)
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
