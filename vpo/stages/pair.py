"""Stage `pair`: feedback to preference pairs (VPO paper 3.3; rules in `vpo.feedback.pairing`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from vpo.errors import UserError
from vpo.feedback.pairing import merge, text_pairs, video_pairs
from vpo.records import Pair, Prompt, Refinement, Score
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.storage.rows import write_rows
from vpo.storage.store import Entry


@dataclass(frozen=True, kw_only=True)
class MakePairs(Stage):
    """Feedback on candidates becomes preference pairs.

    Writes `pairs.jsonl`, at most one a query; without refinements only video pairs, without scores only text pairs.
    """

    name: ClassVar[str] = "pair"

    feedback: Node
    candidates: Entry
    refinements: Entry | None = None
    scores: Entry | None = None
    seed: int

    def node(self) -> dict[str, object]:
        """Rules of text pairs do not matter where there are none."""
        unused = () if self.refinements is not None else ("prepended",)
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
        return {"pairs": len(pairs), "text": len(text), "video": len(pairs) - len(text)}

    def _text_pairs(self, prompts: list[Prompt]) -> list[Pair]:
        if self.refinements is None:
            return []
        refinements = self.refinements.rows("refinements.jsonl", Refinement)
        return text_pairs(prompts, refinements, self.seed, prepended=self.feedback["prepended"])

    def _video_pairs(self, prompts: list[Prompt]) -> list[Pair]:
        if self.scores is None:
            return []
        rules = {"threshold": self.feedback["threshold"], "dominance": self.feedback["dominance"]}
        return video_pairs(prompts, self.scores.rows("scores.jsonl", Score), **rules)
