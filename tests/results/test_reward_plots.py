"""The plots show the reward beside a metric that it did not train, against what it may be hacked by."""

import numpy as np
import pytest
from PIL import Image

from tests.evaluator.judged import node_of
from vpo.build import card_of
from vpo.evaluator.alignment import Alignment
from vpo.evaluator.flicker import Flicker
from vpo.evaluator.monetbench import MonetBench
from vpo.evaluator.motion import Motion
from vpo.evaluator.prompt_a_video import PromptAVideo
from vpo.evaluator.reward import RewardScore
from vpo.results.reward_plots import panels_of, rank_correlation, reward_plots
from vpo.sketch.evaluator import SceneAccuracy

DIMENSIONS = ["dynamic_degree", "aesthetic_quality"]
OWN = {"_target_": "a.Reward"}  # an evaluator with a reward of its own
CARDS = {
    name: one.card.to_json()
    for name, one in {
        "alignment": Alignment, "reward": RewardScore, "scene": SceneAccuracy, "flicker": Flicker, "motion": Motion,
    }.items()
}  # fmt: skip


def item(method, prompt, **metrics):
    return {"query_id": "q", "query": "a fox", "method": method, "prompt": prompt, "clip": None, "metrics": metrics}


ITEMS = [
    item("dpo", "a", reward=1.0, motion=0.5, scene=0.5, aligned=1.0),
    item("dpo", "a b c", reward=3.0, motion=0.25, scene=0.25, aligned=0.0),
    item("dpo", None, reward=None, motion=None, scene=None, aligned=None),
    item("original", "a b", reward=2.0, motion=None, scene=0.75, aligned=1.0),
]


def points(panel):
    return {method: [list(one) for one in pair] for method, pair in panel.points.items()}


def test_the_reward_and_a_held_out_metric_against_length_and_motion():
    panels = panels_of({"evaluators": CARDS, "run": {"trained_on": {"alignment": ["dpo"], "reward": ["dpo"]}}}, ITEMS)
    assert [(one.y.name, one.x) for one in panels] == [
        ("reward", "words of the prompt"), ("reward", "Motion px"),
        ("scene", "words of the prompt"), ("scene", "Motion px"),
    ]  # fmt: skip
    assert points(panels[0]) == {"dpo": [[1, 3], [1, 3]], "original": [[2], [2]]}
    assert points(panels[1]) == {"dpo": [[0.5, 0.25], [1, 3]]}  # what failed is no point
    assert points(panels[2]) == {"dpo": [[1, 3], [50, 25]], "original": [[2], [75]]}  # in its own unit


def test_what_was_trained_on_is_no_held_out_metric():
    trained = {"reward": ["dpo"], "scene": ["dpo"]}
    panels = panels_of({"evaluators": CARDS, "run": {"trained_on": trained}}, ITEMS)
    assert {one.y.name for one in panels} == {"reward"}


def test_rewards_of_evaluators_are_drawn_too_and_are_no_held_out_metric():
    """VisionReward and Prompt-A-Video's seven scores by models of their own, in a run without a reward; motion by VBench-Long."""
    cards = {
        "monetbench": MonetBench.card(OWN, None, 8).to_json(), "prompt_a_video": PromptAVideo.card(OWN, 8).to_json(),
        "vbench_long": card_of(node_of("vbench_long", dimensions=DIMENSIONS)).to_json(),
    }  # fmt: skip
    assert all("clips" in card["needs"] for card in cards.values())
    scores = {f"pav_{name}": 1.0 for name in ("VQ", "TC", "DD", "TVA", "FC", "AES", "MPS")}
    values = {
        "monet_surrogate_overall": 3.0,
        "monet_surrogate_alignment": 1.0,
        **scores,
        "long_dynamic_degree": 1.0,
        "long_aesthetic_quality": 0.5,
    }
    panels = panels_of({"evaluators": cards}, [item("dpo", "a b", **values), item("dpo", "a", **values)])
    drawn = list(dict.fromkeys(one.y.name for one in panels))
    assert drawn == ["monet_surrogate_overall", *scores, "long_aesthetic_quality"]  # not what it is drawn against
    assert {one.x for one in panels if one.y.name == "pav_VQ"} == {"words of the prompt", "Dynamic degree (long) % ↑"}
    (table, *_) = panels_of(
        {"evaluators": {"monetbench": cards["monetbench"]}}, [item("dpo", "a b", monet_surrogate_overall=3.0)]
    )
    assert table.y.name == "monet_surrogate_overall"


def test_without_a_reward_nothing_is_drawn(tmp_path):
    only = [item("dpo", "a b", aligned=1.0)]
    assert panels_of({"evaluators": {"alignment": CARDS["alignment"]}}, only) == []
    assert panels_of({}, []) == []
    assert not reward_plots({}, only, tmp_path / "rewards.png")
    assert not (tmp_path / "rewards.png").exists()


def test_rank_correlation_by_hand():
    # ranks 1 2.5 2.5 4 and 1 3 2 4: centred -1.5 0 0 1.5 and -1.5 .5 -.5 1.5; 4.5 / sqrt(4.5 * 5)
    assert rank_correlation(np.array([1.0, 5, 5, 9]), np.array([0.0, 7, 3, 8])) == pytest.approx(4.5 / 22.5**0.5)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([5.0, 5, 5])) is None
    assert rank_correlation(np.array([1.0, 2]), np.array([1.0, 2])) is None


def test_the_picture_has_a_point_where_the_data_has_one(tmp_path):
    results = {"evaluators": CARDS, "run": {}}
    many = [item("dpo", "w " * n, reward=float(n), motion=1.0) for n in range(1, 40)]
    assert reward_plots(results, many, tmp_path / "rewards.png", {"dpo": "VPO"})
    first = np.asarray(Image.open(tmp_path / "rewards.png").convert("RGB")).astype(int)
    assert first.shape[1] > 1000  # two panels: length, motion
    assert reward_plots(results, many[:1], tmp_path / "one.png")
    one = np.asarray(Image.open(tmp_path / "one.png").convert("RGB")).astype(int)
    assert (np.ptp(first, axis=2) > 20).sum() > 2 * (
        np.ptp(one, axis=2) > 20
    ).sum()  # coloured pixels: points and the line
