"""Stage `pair`: feedback to preference pairs (VPO paper 3.3; rules in `vpo.feedback.pairing`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from vpo.errors import UserError
from vpo.feedback.pairing import feedback_pairs, merge, video_pairs
from vpo.records import Pair, Prompt, Refinement, Score, Verdict
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.storage.rows import write_rows
from vpo.storage.store import Entry


@dataclass(frozen=True, kw_only=True)
class MakePairs(Stage):
    """Feedback on candidates becomes preference pairs.

    Writes `pairs.jsonl`, at most one a query and kind (`Pair.source`); without verdicts only video pairs, without scores only
    text pairs.
    """

    name: ClassVar[str] = "pair"

    feedback: Node
    candidates: Entry
    verdicts: Entry | None = None
    refinements: Entry | None = None
    scores: Entry | None = None
    seed: int

    def node(self) -> dict[str, object]:
        """Rules of text pairs do not matter where there are none."""
        unused = () if self.refinements is not None else ("prepended", "text_pairs")
        rules = {name: value for name, value in self.feedback.items() if name not in unused}
        return super().node() | {"feedback": rules}

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        prompts = self.candidates.rows("prompts.jsonl", Prompt)
        text, video = self._text_pairs(prompts), self._video_pairs(prompts)
        pairs = merge(text, video)
        if not pairs:
            raise UserError(
                f"pair: {len(prompts)} candidates gave no preference pair; give more queries (dataset.dpo), more candidates "
                "(sampling.k) or a lower feedback.threshold"
            )
        write_rows(folder / "pairs.jsonl", pairs)
        sources = [one.source for one in pairs]
        return {"pairs": len(pairs)} | {name: sources.count(name) for name in ("text", "sampled", "video")}

    def _text_pairs(self, prompts: list[Prompt]) -> list[Pair]:
        if self.refinements is None:
            return []
        verdicts = self.verdicts.rows("verdicts.jsonl", Verdict)
        refinements = self.refinements.rows("refinements.jsonl", Refinement)
        rules = {"kind": self.feedback["text_pairs"], "prepended": self.feedback["prepended"]}
        return feedback_pairs(prompts, verdicts, refinements, self.seed, **rules)

    def _video_pairs(self, prompts: list[Prompt]) -> list[Pair]:
        if self.scores is None:
            return []
        rules = {"threshold": self.feedback["threshold"], "dominance": self.feedback["dominance"]}
        return video_pairs(prompts, self.scores.rows("scores.jsonl", Score), **rules)
