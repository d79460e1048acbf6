"""Stage `draft`: first prompts for the SFT queries, by a drafter (VPO paper 3.2: a few-shot language model)."""

from functools import partial
from pathlib import Path

from vpo.records import Prompt, Query
from vpo.stages.bench import Bench, Node
from vpo.stages.optimize import arguments_of, prompts_of
from vpo.store import Entry


def draft(bench: Bench, drafter: Node, queries: Entry, seed: int) -> Entry:
    """Write `prompts.jsonl`, one draft an SFT query."""
    own = arguments_of(drafter)

    def work(folder: Path) -> dict[str, int]:
        write = partial(prompts_of, method=bench.build(own), name="draft", seed=seed)
        drafts = bench.complete(
            queries.rows("sft.jsonl", Query), write, folder / "prompts.jsonl", kind=Prompt, label="drafts"
        )
        return {"drafts": len(drafts)}

    return bench.stage("draft", {"drafter": own, "seed": seed}, {"queries": queries}, work)
