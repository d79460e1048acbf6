"""The reward and its dimensions on the test clips. It made the training pairs, so it is never the only metric."""

from collections.abc import Mapping, Sequence

from vpo.cards import EvaluatorCard, Metric
from vpo.records import Sample, Score


class RewardScore:
    """`reward` and `reward_<dimension>` of every clip."""

    card = EvaluatorCard(
        name="reward",
        version="1",
        about="the reward of the run on the test clips",
        needs=frozenset({"scores"}),
        metrics=(
            Metric(
                "reward",
                "Reward",
                "higher",
                decimals=2,
                parts=True,
                about="score of the clip against the query, and its dimensions",
            ),
        ),
    )

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """The score of each sample's clip; None where there is none."""
        return [_metrics(one.score if isinstance(one.score, Score) else None) for one in samples]


def _metrics(score: Score | None) -> Mapping[str, float | None]:
    if score is None:
        return {"reward": None}
    return {"reward": score.value, **{f"reward_{name}": value for name, value in score.dimensions.items()}}
