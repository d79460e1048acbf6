"""What evaluators do alike whose numbers are a reward's: their own, or that of the run."""

from collections.abc import Mapping, Sequence
from typing import Any

from vpo.cards import Answered, mean_over_clips
from vpo.interfaces import Reward
from vpo.records import Clip, Failure, Sample, Score

Row = Mapping[str, float | None]


class ScoredClips:
    """Reads clips by a reward; a subclass has the card and says what a score means.

    Args:
        reward: of its own; None takes the scores of the run's reward.
    """

    def __init__(self, reward: Reward | None) -> None:
        self.reward = reward

    def of_score(self, score: Score | None) -> Row:
        """The metrics of one clip; of None, which stands for a clip without a score, None each."""
        raise NotImplementedError

    def measure(self, samples: Sequence[Sample]) -> list[Row | Failure]:
        """The metrics of each sample, the mean over its clips; a Failure where the reward failed for a reason that passes."""
        found = self._scores(samples)
        return [_passing(scores) or self._row(scores) for scores in found]

    def _row(self, scores: Sequence[Score | Failure]) -> Row:
        """The mean over clips; with the answers of a reward of its own, as those of the run's stand beside the item already."""
        row = mean_over_clips([self.of_score(_read(one)) for one in scores])
        if self.reward is None:
            return row
        marks = {True: "y", False: "n", None: "?"}
        answers = {
            f"clip {number}": "".join(marks[one] for one in score.answers)
            for number, score in enumerate(scores, start=1)
            if isinstance(score, Score) and score.answers
        }
        return Answered(row, answers)

    def close(self) -> None:
        """Free what the reward holds."""
        if self.reward is not None and hasattr(self.reward, "close"):
            self.reward.close()

    def _scores(self, samples: Sequence[Sample]) -> list[Sequence[Score | Failure]]:
        """The scores of each sample's clips; the failure of a clip that was not made is its own."""
        if self.reward is None:
            return [one.scores for one in samples]
        clips = [[clip for clip in one.clips if isinstance(clip, Clip)] for one in samples]
        flat = [clip for of_sample in clips for clip in of_sample]
        scores = iter(self.reward.score(flat) if flat else ())
        return [[next(scores) if isinstance(clip, Clip) else clip for clip in one.clips] for one in samples]


def needs_of(reward: Any) -> frozenset[str]:
    """What an evaluator reads that has this reward in its node."""
    return frozenset({"scores"} if reward is None else {"clips"})


def _read(score: Score | Failure) -> Score | None:
    return score if isinstance(score, Score) else None


def _passing(scores: Sequence[Score | Failure]) -> Failure | None:
    return next((one for one in scores if isinstance(one, Failure) and one.retryable), None)
