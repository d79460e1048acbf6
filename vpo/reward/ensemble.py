"""Several rewards as one: their raw scores as dimensions, and a weighted sum of these as the total."""

from collections.abc import Mapping, Sequence
from typing import Any

from vpo.errors import UserError
from vpo.feedback.checklist import weighted_dimensions
from vpo.interfaces import Reward
from vpo.records import Clip, Failure, Score
from vpo.reward.scoring import Result, result_of
from vpo.video import frames


class EnsembleReward:
    """The weighted sum of the scores of parts. Each clip is decoded once, and parts on one model share its forward passes.

    A part that gives dimensions adds these, by their own names; one that gives a number alone adds it by the part's name. Where a
    part fails on a clip, so does the whole: a sum of fewer terms would pass for a worse clip.

    Args:
        parts: rewards by name.
        weights: of the dimensions that the total sums; others are kept beside it.
        batch_size: clips that are scored in one call.

    Raises:
        UserError: There are no parts or no weights.
    """

    shares_frames = True  # where all its parts do (vpo.stages.together)

    def __init__(self, parts: Mapping[str, Reward], weights: Mapping[str, float], batch_size: int) -> None:
        if not parts or not weights:
            raise UserError("reward: an ensemble needs parts and weights; name at least one of each")
        self.parts, self.weights, self.batch_size = dict(parts), dict(weights), batch_size

    def score(self, clips: Sequence[Clip]) -> list[Result]:
        """One score a clip with all dimensions; a Failure where a part failed. Raises UserError for weights of no dimension."""
        sizes = [clip.frames * clip.height * clip.width * 3 for clip in clips]
        found: list[Result] = []
        for places in frames.groups(sizes, frames.CACHE.limit):  # so that each clip is still there for the next part
            group = [clips[place] for place in places]
            results = {name: part.score(group) for name, part in self.parts.items()}
            found += [
                self._total(clip, {name: one[place] for name, one in results.items()})
                for place, clip in enumerate(group)
            ]
        return found

    def card(self) -> Mapping[str, Any]:
        """The weights, and the parts' cards."""
        return {
            "name": "ensemble",
            "score": " + ".join(f"{weight:g} {name}" for name, weight in self.weights.items()),
            "weights": self.weights,
            "scale": "that of the weighted parts",
            "better": "higher",
            "text": "the original query, as far as the parts read it",
            "rule": "a clip on which a part fails has no score",
            "cannot_see": "what none of the parts sees",
            "parts": {name: part.card() for name, part in self.parts.items()},
        }

    def close(self) -> None:
        """Free what the parts hold."""
        for part in self.parts.values():
            if hasattr(part, "close"):
                part.close()

    def _total(self, clip: Clip, results: Mapping[str, Result]) -> Result:
        dimensions: dict[str, float | None] = {}
        for name, one in results.items():
            if isinstance(one, Failure):
                return Failure(one.kind, f"{name}: {one.detail}", one.attempts, one.retryable)
            for dimension, value in _dimensions(name, one).items():
                if dimension in dimensions:
                    raise UserError(
                        f"reward.parts: {name} and another part both give {dimension}; leave one of them out"
                    )
                dimensions[dimension] = value
        unknown = [name for name in self.weights if name not in dimensions]
        if unknown:
            raise UserError(
                f"reward.weights names {unknown[0]}, and the parts give {', '.join(dimensions)}; name one of these"
            )
        total = weighted_dimensions(dimensions, self.weights)
        if total is None:
            return Score(clip.id, clip.prompt_id, clip.query_id, None, dimensions)
        return result_of(clip, total, {name: value for name, value in dimensions.items() if value is not None})


def _dimensions(name: str, score: Score) -> Mapping[str, float | None]:
    return score.dimensions or {name: score.value}
