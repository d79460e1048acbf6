"""Stage `pair`: feedback to preference pairs (VPO paper 3.3; rules in `vpo.pairing`)."""

from pathlib import Path

from vpo.errors import UserError
from vpo.pairing import merge, text_pairs, video_pairs
from vpo.records import Prompt, Refinement, Score
from vpo.rows import write_rows
from vpo.stages.bench import Bench, Node
from vpo.store import Entry


def pair(
    bench: Bench, feedback: Node, candidates: Entry, refinements: Entry | None, scores: Entry | None, seed: int
) -> Entry:
    """Write `pairs.jsonl`, at most one a query; without refinements only video pairs, without scores only text pairs."""
    inputs = {"candidates": candidates, "refinements": refinements, "scores": scores}

    def work(folder: Path) -> dict[str, int]:
        prompts = candidates.rows("prompts.jsonl", Prompt)
        text = []
        if refinements:
            mended = refinements.rows("refinements.jsonl", Refinement)
            text = text_pairs(prompts, mended, seed, prepended=feedback["prepended"])
        video = []
        if scores:
            rules = {"threshold": feedback["threshold"], "dominance": feedback["dominance"]}
            video = video_pairs(prompts, scores.rows("scores.jsonl", Score), **rules)
        pairs = merge(text, video)
        if not pairs:
            raise UserError(
                f"pair: {len(prompts)} candidates gave no preference pair; give more queries (dataset.dpo), more candidates "
                "(sampling.k) or a lower feedback.threshold"
            )
        write_rows(folder / "pairs.jsonl", pairs)
        return {"pairs": len(pairs), "text": len(text), "video": len(pairs) - len(text)}

    idle = () if feedback["text"] else ("prepended",)
    node = {"feedback": {name: value for name, value in feedback.items() if name not in idle}, "seed": seed}
    return bench.stage("pair", node, {k: v for k, v in inputs.items() if v}, work)
