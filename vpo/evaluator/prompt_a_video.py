"""Prompt-A-Video's seven scores (arXiv 2412.15156): VideoScore's five, the aesthetic score and MPS."""

from collections.abc import Mapping, Sequence
from typing import Any

from vpo.assets.models import said_of
from vpo.cards import ANY, REWARD_OF_RUN, EvaluatorCard, Metric
from vpo.errors import UserError
from vpo.evaluator.scored import Row, ScoredClips, needs_of
from vpo.interfaces import Reward
from vpo.records import Score

# Name of the dimension in reward=prompt_a_video: label, and what it is.
SCORES = {
    "VQ": ("Visual quality", "VideoScore, 1 to 4"),
    "TC": ("Temporal consistency", "VideoScore, 1 to 4"),
    "DD": ("Dynamic degree", "VideoScore, 1 to 4"),
    "TVA": ("Text alignment", "VideoScore, 1 to 4, with the user's query"),
    "FC": ("Factual consistency", "VideoScore, 1 to 4"),
    "AES": ("Aesthetic", "LAION's predictor on four frames, about 1 to 10"),
    "MPS": ("MPS", "preference of people for a picture, on four frames with the user's query; about 5 to 15"),
}
VIDEOSCORE, VIDEOSCORE_REWARD = ("VQ", "TC", "DD", "TVA", "FC"), "vpo.reward.videoscore.VideoScoreReward"


class PromptAVideo(ScoredClips):
    """`pav_<score>` of each clip: higher is better; they have no common scale and are not summed here.

    Args:
        reward: with the dimensions of reward=prompt_a_video; None takes the scores of the run's reward.
        batch_size: queries whose clips are read together.
    """

    not_in_key = ("batch_size",)

    def __init__(self, reward: Reward | None, batch_size: int) -> None:
        super().__init__(reward)

    @staticmethod
    def card(reward: Any, batch_size: int) -> EvaluatorCard:
        """The card; it needs clips with a reward of its own, else the run's scores."""
        return EvaluatorCard(
            name="Prompt-A-Video's scores",
            version="1",
            about="VideoScore (five regressions), LAION's aesthetic predictor and MPS, raw (arXiv 2412.15156). Prompt-A-Video's pairs "
            "are made with them, so they are no held-out numbers there. None of them looks for harm",
            model=REWARD_OF_RUN if reward is None else said_of(reward)[0],
            licence="VideoScore: Apache-2.0 (v1) or MIT (v1.1); LAION's heads: MIT (v1), Apache-2.0 (v2); CLIP: MIT; MPS: MIT",
            needs=needs_of(reward),
            rewards=tuple(f"pav_{name}" for name in SCORES),
            metrics=tuple(
                Metric(f"pav_{name}", label, "higher", decimals=2, range=ANY, about=about) for name, (label, about) in SCORES.items()
            ),
        )  # fmt: skip

    @staticmethod
    def check(node: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        """Raise UserError where the reward has not the seven scores."""
        reward = node["reward"] or config["reward"]
        if not str(reward["_target_"]).startswith("vpo."):
            return  # a user's own class may give them in another way; its scores are looked at
        given: set[str] = set()
        for name, part in (reward.get("parts") or {}).items():
            given |= set(VIDEOSCORE) if part["_target_"] == VIDEOSCORE_REWARD else {name}
        _refuse([name for name in SCORES if name not in given])

    def of_score(self, score: Score | None) -> Row:
        """The seven scores of one clip. Raises UserError where the reward has other dimensions."""
        if score is None:
            return dict.fromkeys(f"pav_{name}" for name in SCORES)
        _refuse([name for name in SCORES if name not in score.dimensions])
        return {f"pav_{name}": score.dimensions[name] for name in SCORES}


def _refuse(missing: Sequence[str]) -> None:
    if missing:
        raise UserError(
            f"evaluator.prompt_a_video: the reward gives no {missing[0]}; its dimensions must be {', '.join(SCORES)}, as "
            "reward=prompt_a_video has them"
        )
