"""Stage `pair`: feedback to preference pairs (VPO paper 3.3; rules in `vpo.feedback.pairing`)."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from vpo import __version__
from vpo.errors import UserError
from vpo.feedback.describe import Feedback
from vpo.feedback.given import GIVEN, MADE, given_pairs
from vpo.feedback.pairing import feedback_pairs, merge, video_pairs
from vpo.feedback.video_rules import VideoRule
from vpo.records import Pair, Prompt, Query, Refinement, Score, Verdict
from vpo.stages.context import Context
from vpo.stages.origins import versions
from vpo.stages.pair_card import write_card
from vpo.stages.sample import query_of
from vpo.stages.stage import Node, Stage
from vpo.storage.rows import write_rows
from vpo.storage.store import Entry

# Variants of the rules, at the values at which they are off and no part of the key: pairs keep theirs when a variant is added.
OFF: dict[str, Any] = {
    "per_query": 1, "order": "scan", "merge": "text_wins", "among": "fine", "weights": None, "least": None, "ranks": None,
    "max_words": None, "given": False,
}  # fmt: skip

SOURCES = (*MADE, GIVEN)  # of pairs, as they are counted


@dataclass(frozen=True, kw_only=True)
class MakePairs(Stage):
    """Feedback on candidates becomes preference pairs, with a data card.

    Writes `pairs.jsonl`, with where each pair came from; without verdicts only video pairs, without scores only text pairs, with
    queries in the place of candidates only those that came with them. Beside it the data card, `card.md` and `card.png`.
    """

    name: ClassVar[str] = "pair"

    feedback: Node
    candidates: Entry | None = None
    queries: Entry | None = None
    verdicts: Entry | None = None
    refinements: Entry | None = None
    scores: Entry | None = None
    seed: int

    def node(self) -> dict[str, object]:
        """Rules of text pairs do not matter where there are none, nor do variants that are off."""
        if self.queries is not None:
            return super().node() | {"feedback": {"given": True}, "seed": 0}
        unused = () if self.refinements is not None else ("prepended", "text_pairs", "among")
        rules = {
            name: value
            for name, value in self.feedback.items()
            if name not in unused and not (name in OFF and OFF[name] == value)
        }
        return super().node() | {"feedback": rules}

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        pairs = self._given_pairs() if self.queries is not None else self._made_pairs()
        write_card(folder, pairs, self._made)
        write_rows(folder / "pairs.jsonl", pairs)
        sources = [one.source for one in pairs]
        return {"pairs": len(pairs)} | {
            name: sources.count(name) for name in SOURCES if name != GIVEN or name in sources
        }

    def _given_pairs(self) -> list[Pair]:
        queries = self.queries.rows("dpo.jsonl", Query)
        pairs = given_pairs(queries)
        if not pairs:
            raise UserError(
                f"pair: none of the {len(queries)} queries of the split dpo came with a pair; give rows of chosen and rejected "
                "prompts, more of them to dpo (dataset.dpo), or choose feedback=text, video or both"
            )
        made_by = {"vpo": __version__, "queries": {"result": f"{self.queries.stage}/{self.queries.key}"}}
        return [dataclasses.replace(one, provenance={"versions": made_by, **one.provenance}) for one in pairs]

    def _made_pairs(self) -> list[Pair]:
        pairs = merge(self._text_pairs(), self._video_pairs(), beside=self._rule("merge") == "beside")
        if not pairs:
            raise UserError(
                f"pair: {len(self._made.prompts)} candidates gave no preference pair; give more queries (dataset.dpo), more "
                "candidates (sampling.k) or a lower feedback.threshold"
            )
        made_by = versions(
            candidates=self.candidates, verdicts=self.verdicts, refinements=self.refinements, scores=self.scores
        )
        return [dataclasses.replace(one, provenance={**one.provenance, "versions": made_by}) for one in pairs]

    @cached_property
    def _made(self) -> Feedback:
        """What the pairs are made of."""
        if self.queries is not None:
            return Feedback(given=[one.id for one in self.queries.rows("dpo.jsonl", Query)])
        return Feedback(
            self.candidates.rows("prompts.jsonl", Prompt),
            self.verdicts.rows("verdicts.jsonl", Verdict) if self.verdicts is not None else (),
            self.refinements.rows("refinements.jsonl", Refinement) if self.refinements is not None else (),
            self.scores.rows("scores.jsonl", Score) if self.scores is not None else (),
            failed=[query_of(name) for name in self.candidates.failures("prompts.jsonl")],
            refined_pairs=self.refinements is not None and self.feedback["text_pairs"] != "sampled",
        )

    def _rule(self, name: str) -> Any:
        return self.feedback.get(name, OFF.get(name))

    def _text_pairs(self) -> list[Pair]:
        if self.refinements is None:
            return []
        made = self._made
        return feedback_pairs(
            made.prompts, made.verdicts, made.refinements, self.seed, kind=self.feedback["text_pairs"],
            prepended=self.feedback["prepended"], per_query=self._rule("per_query"),
        )  # fmt: skip

    def _video_pairs(self) -> list[Pair]:
        if self.scores is None:
            return []
        rule = VideoRule(
            **{one.name: self.feedback[one.name] for one in dataclasses.fields(VideoRule) if one.name in self.feedback}
        )
        among = self._rule("among") if self.verdicts is not None else None
        return video_pairs(self._made.prompts, self._made.scores, rule, self._made.verdicts, among=among)
