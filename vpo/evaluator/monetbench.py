"""MonetBench's columns: VisionReward's weighted answers by dimension, as VPO's tables 1, 4 and 6 print them."""

import math
from collections.abc import Mapping
from typing import Any

from vpo.assets.models import said_of
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
OVERALL = "Overall"
NEAR = 1e-4  # the maxima are rounded
QUESTIONS = (64, 29)  # of the whole checklist, and of those with a weight
VISIONREWARD = "vpo.reward.visionreward.VisionReward"
UNFIT = (
    "evaluator.monetbench: the reward is not VisionReward's checklist of 64 questions (29 with a weight); use reward=visionreward, or "
    "give the evaluator one of its own: evaluator=[monetbench_visionreward]"
)


class MonetBench(ScoredClips):
    """`monet_<dimension>`, and `monet_overall`: their sum, which is VPO's R01 (0 to 6.277) whatever scale the reward prints.

    Where another model than VisionReward answers its questions, the columns are `monet_surrogate_<dimension>`: the weights were fitted
    on VisionReward's own answers, and a surrogate's numbers are not the papers'.

    Args:
        reward: VisionReward's checklist, answered by anybody; None takes the scores of the run's reward, which must be one.
        answered_by: of the run's reward: {reward: its class, model: whose answers they are}; None with a reward of its own.
        batch_size: queries whose clips are read together.
    """

    not_in_key = ("batch_size",)

    def __init__(self, reward: Reward | None, answered_by: Mapping[str, str | None] | None, batch_size: int) -> None:
        super().__init__(reward)
        own = f"{type(reward).__module__}.{type(reward).__qualname__}"
        self.surrogate = (own if reward is not None else (answered_by or {}).get("reward")) != VISIONREWARD

    @staticmethod
    def card(reward: Any, answered_by: Mapping[str, str | None] | None, batch_size: int) -> EvaluatorCard:
        """The card; it needs clips with a reward of its own, else the run's scores."""
        node = reward or {"_target_": (answered_by or {}).get("reward"), "model": (answered_by or {}).get("model")}
        model, licence = said_of({**node, "licence": None})
        surrogate = node["_target_"] != VISIONREWARD
        who = f"{model}: a SURROGATE, whose numbers are not the papers'" if surrogate else model
        return EvaluatorCard(
            name="MonetBench, a surrogate" if surrogate else "MonetBench",
            version="2",  # 2: a surrogate's columns have names of their own
            about="VisionReward by dimension (arXiv 2412.21059): sums of the weights of the questions answered yes, asked with the "
            f"user's query; answered by {who}. VPO's pairs are made with VisionReward, so it is no held-out number there. Its four "
            "safety questions have no weight",
            model=model,
            licence=f"questions and weights Apache-2.0; {licence}",
            needs=needs_of(reward),
            rewards=(_name(OVERALL, surrogate),),
            metrics=(
                *(_metric(name, surrogate, main=True) for name in COLUMNS),
                _metric(OVERALL, surrogate, main=True),
                *(_metric(name, surrogate, main=False) for name in MAXIMA if name not in COLUMNS),
            ),
        )  # fmt: skip

    @staticmethod
    def check(node: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        """Raise UserError where the reward is no checklist of VisionReward's: its questions' weights must sum to the maxima."""
        reward = node["reward"] or config["reward"]
        if not str(reward["_target_"]).startswith("vpo."):
            return  # a user's own class may ask the questions in another way; its scores are looked at
        questions = reward.get("questions") or ()
        sums = dict.fromkeys(MAXIMA, 0.0)
        for one in questions:
            if one["dimension"] in sums:
                sums[one["dimension"]] += one["weight"]
        if len(questions) not in QUESTIONS or any(abs(sums[name] - MAXIMA[name]) > NEAR for name in MAXIMA):
            raise UserError(UNFIT)

    def of_score(self, score: Score | None) -> Row:
        """The dimensions of one clip; None where an answer that it needs could not be read.

        Raises UserError where the reward is another checklist, or none: its numbers would pass for the benchmark's.
        """
        if score is None:
            return dict.fromkeys(_name(name, self.surrogate) for name in (*MAXIMA, OVERALL))
        if len(score.answers) not in QUESTIONS or not MAXIMA.keys() <= score.dimensions.keys():
            raise UserError(UNFIT)
        values = [score.dimensions[name] for name in MAXIMA]
        known = [one for one in values if one is not None]
        total = math.fsum(known) if len(known) == len(values) else None
        found = zip((*MAXIMA, OVERALL), (*values, total), strict=True)
        return {_name(name, self.surrogate): value for name, value in found}


def _name(dimension: str, surrogate: bool) -> str:
    return f"monet_{'surrogate_' if surrogate else ''}{dimension.lower()}"


def _metric(dimension: str, surrogate: bool, *, main: bool) -> Metric:
    label = f"{dimension} (surrogate)" if surrogate else dimension
    highest, what = (math.fsum(MAXIMA.values()), "sum of all, ") if dimension == OVERALL else (MAXIMA[dimension], "")
    return Metric(
        _name(dimension, surrogate), label, "higher", decimals=2, range=(0.0, highest + NEAR), main=main,
        about=f"{what}0 to {highest:.3f}",
    )  # fmt: skip
