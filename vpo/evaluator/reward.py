"""The reward and its dimensions on the test clips. It made the training pairs, so it is never the only metric."""

from collections.abc import Mapping, Sequence

from vpo.interfaces import Reward
from vpo.records import Sample


class RewardScore:
    """`reward` and `reward_<dimension>` of every clip."""

    needs_clips = True

    def __init__(self, reward: Reward) -> None:
        self.reward = reward

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        clips = [sample.clip for sample in samples if sample.clip is not None]
        score_of = {score.prompt_id: score for score in self.reward.score(clips)}
        rows: list[Mapping[str, float | None]] = []
        for sample in samples:
            score = score_of.get(sample.prompt.id)
            dimensions = {f"reward_{name}": value for name, value in (score.dimensions if score else {}).items()}
            rows.append({"reward": score.value if score else None, **dimensions})
        return rows
