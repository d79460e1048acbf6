"""MonetBench's columns: VisionReward's weighted answers by dimension, as VPO's tables 1, 4 and 6 print them."""

import math
from typing import Any

from vpo.cards import EvaluatorCard, Metric
from vpo.errors import UserError
from vpo.evaluator.scored import Row, ScoredClips, needs_of
from vpo.interfaces import Reward
from vpo.records import Score

# Dimensions of VisionReward's checklist and their maxima, the sums of their questions' weights (arXiv 2412.21059, tables 17 and 18;
# VisionReward_Video/weight.json). The first four are the paper's columns. Its safety questions have no weight.
MAXIMA = {
    "Alignment": 2.34861, "Stability": 0.42021, "Preservation": 0.86471, "Physics": 0.39418, "Fidelity": 1.20689, "Quality": 0.81895,
    "Dynamic": 0.16343, "Composition": 0.06019,
}  # fmt: skip
COLUMNS = ("Alignment", "Stability", "Preservation", "Physics")
OVERALL = "monet_overall"
QUESTIONS = (64, 29)  # of the whole checklist, and of those with a weight


class MonetBench(ScoredClips):
    """`monet_<dimension>`, and `monet_overall`: their sum, which is VPO's R01 (0 to 6.277) whatever scale the reward prints.

    Args:
        reward: VisionReward's checklist, answered by anybody; None takes the scores of the run's reward, which must be one.
        batch_size: queries whose clips are read together.
    """

    not_in_key = ("batch_size",)

    def __init__(self, reward: Reward | None, batch_size: int) -> None:
        super().__init__(reward)

    @staticmethod
    def card(reward: Any, batch_size: int) -> EvaluatorCard:
        """The card; it needs clips with a reward of its own, else the run's scores."""
        return EvaluatorCard(
            name="MonetBench",
            version="1",
            about="VisionReward by dimension (arXiv 2412.21059): sums of the weights of the questions answered yes, asked with the "
            "user's query. VPO's pairs are made with the same reward, so it is no held-out number there. It is the papers' only where "
            "VisionReward-Video answers; another model's answers make a surrogate. Its four safety questions have no weight",
            needs=needs_of(reward),
            rewards=(OVERALL,),
            metrics=(
                *(_metric(name, main=True) for name in COLUMNS),
                Metric(OVERALL, "Overall", "higher", decimals=2, about=f"sum of all, 0 to {math.fsum(MAXIMA.values()):.3f}"),
                *(_metric(name, main=False) for name in MAXIMA if name not in COLUMNS),
            ),
        )  # fmt: skip

    def of_score(self, score: Score | None) -> Row:
        """The dimensions of one clip; None where an answer that it needs could not be read.

        Raises UserError where the reward is another checklist, or none: its numbers would pass for the benchmark's.
        """
        if score is None:
            return dict.fromkeys((*map(_name, MAXIMA), OVERALL))
        if len(score.answers) not in QUESTIONS or not MAXIMA.keys() <= score.dimensions.keys():
            raise UserError(
                "evaluator.monetbench: the reward is not VisionReward's checklist of 64 questions (29 with a weight); use "
                "reward=visionreward, or give the evaluator one of its own: evaluator=[monetbench_visionreward]"
            )
        values = [score.dimensions[name] for name in MAXIMA]
        known = [one for one in values if one is not None]
        total = math.fsum(known) if len(known) == len(values) else None
        return {**{_name(name): value for name, value in zip(MAXIMA, values, strict=True)}, OVERALL: total}


def _name(dimension: str) -> str:
    return f"monet_{dimension.lower()}"


def _metric(dimension: str, *, main: bool) -> Metric:
    return Metric(_name(dimension), dimension, "higher", decimals=2, about=f"0 to {MAXIMA[dimension]:.3f}", main=main)
