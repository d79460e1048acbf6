"""Which of two scored candidates of one query is preferred: VPO's rule and its variants, and Prompt-A-Video's filter.

All are values of one rule, so that a config chooses them without a name for each. Pure and standard library only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vpo.errors import UserError
from vpo.feedback.checklist import dimensions_dominate, dominates, weighted_dimensions
from vpo.records import Prompt, Score

# feedback.dominance: what must hold of two scores, beside the gap of their values, before one is preferred.
DOMINANCE: Mapping[str, Callable[[Score, Score], bool]] = {
    "answers": lambda a, b: dominates(a.answers, b.answers),  # VPO's released code, src/process_data.py
    "dimensions": lambda a, b: dimensions_dominate(a.dimensions, b.dimensions),  # VisionReward, arXiv 2412.21059
    "none": lambda a, b: True,  # VPO's paper, section 3.3: the gap alone
}


@dataclass(frozen=True)
class VideoRule:
    """What makes a pair of two candidates by the scores of their clips.

    VPO's released code is the first two values alone, with what stands below at its defaults. Prompt-A-Video's filter
    (arXiv 2412.15156, released code `booster/dpo/filter.py`) is `weights`, `least`, `ranks` 2, `threshold` 1.4, `max_words` 130 and
    `per_query` None: `conf/feedback/prompt_a_video.yaml`.

    Attributes:
        threshold: the gap of the overall scores, chosen minus rejected, must be above it.
        dominance: of `DOMINANCE`.
        weights: of dimensions, whose weighted sum is the overall score; None takes the reward's own value.
        least: of the chosen one each of these dimensions must be above its bound.
        ranks: only so many best candidates of a query, by the overall score, are chosen; equal ones rank in their own order.
        max_words: longest chosen prompt.
        order: of the accepted pairs: "scan" (chosen outer, rejected inner, as the released code), or "widest" gap first.
        per_query: how many of the accepted pairs of a query are kept, in this order; None keeps all.
    """

    threshold: float
    dominance: str = "answers"
    weights: Mapping[str, float] | None = None
    least: Mapping[str, float] | None = None
    ranks: int | None = None
    max_words: int | None = None
    order: str = "scan"
    per_query: int | None = 1

    def overall(self, score: Score) -> float | None:
        """The number by which candidates are compared; None where it could not be read."""
        return score.value if self.weights is None else weighted_dimensions(score.dimensions, self.weights)

    def check(self, scores: Sequence[Score]) -> None:
        """Raise UserError where a clip was scored without what the rule compares: it would be no pairs, and no reason why."""
        read = [one for one in scores if one.value is not None]
        for name, given in (("weights", self.weights), ("least", self.least)):
            for one in read:
                unknown = [dimension for dimension in given or () if dimension not in one.dimensions]
                if unknown:
                    known = ", ".join(one.dimensions) or "no dimensions"
                    raise UserError(
                        f"pair: feedback.{name} names {unknown[0]}, and the reward gives {known} (clip {one.clip_id}); name its own "
                        f"dimensions, or set feedback.{name}=null, then start again: clips and scores are kept"
                    )
        lacking = [one for one in read if self.dominance != "none" and not getattr(one, self.dominance)]
        if lacking:
            others = "dimensions or none" if self.dominance == "answers" else "answers (of a checklist) or none"
            raise UserError(
                f"pair: feedback.dominance={self.dominance}, but the reward gives no {self.dominance} (clip {lacking[0].clip_id}); "
                f"set feedback.dominance to {others}, then start again: clips and scores are kept"
            )

    def values(self) -> dict[str, object]:
        """The rule as a pair's provenance names it: what is off is left out."""
        return {name: value for name, value in vars(self).items() if value is not None} | {"per_query": self.per_query}


@dataclass(frozen=True)
class Scored:
    """A candidate, the score of its clip, and the overall score by a rule."""

    prompt: Prompt
    score: Score
    overall: float

    @property
    def text(self) -> str:
        return self.prompt.text.strip()


def accepted(candidates: Sequence[Scored], rule: VideoRule) -> list[tuple[Scored, Scored]]:
    """(chosen, rejected) of one query's candidates, in the rule's order, at most `rule.per_query` of them."""
    ranking = sorted(range(len(candidates)), key=lambda place: (-candidates[place].overall, place))
    best = set(ranking[: rule.ranks])
    dominating = DOMINANCE[rule.dominance]
    pairs = [
        (i, j)
        for place, i in enumerate(candidates)
        if place in best and _may_be_chosen(i, rule)
        for j in candidates
        if i.overall - j.overall > rule.threshold and i.text != j.text and dominating(i.score, j.score)
    ]
    if rule.order == "widest":
        pairs.sort(key=lambda pair: pair[1].overall - pair[0].overall)
    return pairs[: rule.per_query]


def _may_be_chosen(one: Scored, rule: VideoRule) -> bool:
    """Whether the candidate is good and short enough by itself."""
    if rule.max_words is not None and len(one.text.split()) > rule.max_words:
        return False
    bounds = (rule.least or {}).items()
    known = [(one.score.dimensions.get(name), bound) for name, bound in bounds]
    return all(value is not None and value > bound for value, bound in known)
