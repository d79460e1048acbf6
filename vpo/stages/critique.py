"""Stage `critique`: a judge reads prompts by the three principles (VPO paper 3.2 and 3.3)."""

from pathlib import Path

from vpo.records import Prompt, Verdict
from vpo.stages.bench import Bench, Node
from vpo.store import Entry


def critique(bench: Bench, judge: Node, prompts: Entry, *, label: str) -> Entry:
    """Write `verdicts.jsonl`, one a prompt; a verdict that could not be parsed is None and counted."""

    def work(folder: Path) -> dict[str, int]:
        items = prompts.rows("prompts.jsonl", Prompt)
        read = bench.build(judge).critique
        verdicts = bench.complete(items, read, folder / "verdicts.jsonl", kind=Verdict, label=f"verdicts on {label}")
        fine = [verdict.fine for verdict in verdicts]
        return {"fine": fine.count(True), "flawed": fine.count(False), "unread": fine.count(None)}

    return bench.stage("critique", {"judge": judge}, {"prompts": prompts}, work, label)
