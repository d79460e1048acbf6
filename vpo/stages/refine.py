"""Stage `refine`: the judge mends the prompts that it found flawed (VPO paper 3.2)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vpo.interfaces import Judge
from vpo.records import Prompt, Refinement, Verdict
from vpo.stages.bench import Bench, Node
from vpo.store import Entry


def refine(bench: Bench, judge: Node, prompts: Entry, verdicts: Entry, *, label: str) -> Entry:
    """Write `refinements.jsonl`, one a flawed prompt; text None where the judge gave nothing usable."""

    def work(folder: Path) -> dict[str, int]:
        verdict_of = {one.prompt_id: one for one in verdicts.rows("verdicts.jsonl", Verdict)}
        flawed = [
            (one, verdict_of[one.id])
            for one in prompts.rows("prompts.jsonl", Prompt)
            if verdict_of[one.id].fine is False
        ]
        mend = partial(_mend, judge=bench.build(judge))
        refined = bench.complete(
            flawed, mend, folder / "refinements.jsonl", kind=Refinement, label=f"refinements of {label}"
        )
        failed = sum(one.text is None for one in refined)
        return {"refined": len(refined) - failed, "failed": failed}

    return bench.stage("refine", {"judge": judge}, {"prompts": prompts, "verdicts": verdicts}, work, label)


def _mend(items: Sequence[tuple[Prompt, Verdict]], *, judge: Judge) -> list[Refinement]:
    prompts, verdicts = [prompt for prompt, _ in items], [verdict for _, verdict in items]
    texts = judge.refine(prompts, verdicts)
    return [Refinement(prompt.id, prompt.query_id, text) for prompt, text in zip(prompts, texts, strict=True)]
