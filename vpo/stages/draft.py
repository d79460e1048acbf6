"""Stage `draft`: first prompts for the SFT queries, by a drafter (VPO paper 3.2: a few-shot language model)."""

from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

from vpo.build import Spec, batch_size_of
from vpo.records import Prompt, Query
from vpo.stages.contents import with_contents
from vpo.stages.context import Context
from vpo.stages.optimize import arguments_of, write_prompts
from vpo.stages.stage import Node, Stage
from vpo.storage.store import Entry


@dataclass(frozen=True, kw_only=True)
class Draft(Stage):
    """A drafter writes first prompts for the SFT queries.

    Writes `prompts.jsonl`, one draft a query.
    """

    name: ClassVar[str] = "draft"

    drafter: Node  # as `arguments_of` gives it
    batch_size: int
    queries: Entry
    seed: int

    def node(self) -> dict[str, Any]:
        """The node with hashes of the template and of the local model that the drafter names."""
        return super().node() | {"drafter": with_contents(self.drafter)}

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        done = context.complete(
            self.queries.rows("sft.jsonl", Query), folder / "prompts.jsonl", kind=Prompt,
            make=Spec(self.drafter), call=partial(write_prompts, name="draft", seed=self.seed),
            item_id=attrgetter("id"), batch_size=self.batch_size, label="drafts",
        )  # fmt: skip
        cut = sum(one.cut for one in done.records)
        return {"drafts": len(done.records), "cut": cut, "failed": len(done.failures)}


def draft(drafter: Node, queries: Entry, seed: int) -> Draft:
    """The stage for the drafter of the config."""
    return Draft(drafter=arguments_of(drafter), batch_size=batch_size_of(drafter), queries=queries, seed=seed)
