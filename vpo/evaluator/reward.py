"""The reward and its dimensions on the test clips. It made the training pairs, so it is never the only metric."""

from collections.abc import Mapping, Sequence

from vpo.cards import ANY, REWARD_OF_RUN, EvaluatorCard, Metric, mean_over_clips
from vpo.records import Failure, Sample, Score


class RewardScore:
    """`reward` and `reward_<dimension>` of every clip."""

    card = EvaluatorCard(
        name="reward",
        version="1",
        about="the reward of the run on the test clips",
        model=REWARD_OF_RUN,
        licence="that of the reward",
        needs=frozenset({"scores"}),
        rewards=("reward",),
        metrics=(
            Metric(
                "reward",
                "Reward",
                "higher",
                decimals=2,
                range=ANY,
                parts=True,
                about="score of the clip against the query, and its dimensions",
            ),
        ),
    )

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """The score of each sample's clip, or the mean over its clips; None where there is none."""
        return [_metrics(one.scores) for one in samples]


def _metrics(scores: Sequence[Score | Failure]) -> Mapping[str, float | None]:
    dimensions = dict.fromkeys(name for one in scores if isinstance(one, Score) for name in one.dimensions)
    failed: dict[str, float | None] = dict.fromkeys(("reward", *(f"reward_{name}" for name in dimensions)))
    return mean_over_clips([_of_score(one) if isinstance(one, Score) else failed for one in scores]) or {"reward": None}


def _of_score(score: Score) -> dict[str, float | None]:
    return {"reward": score.value, **{f"reward_{name}": part for name, part in score.dimensions.items()}}
