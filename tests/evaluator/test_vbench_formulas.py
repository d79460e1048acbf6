"""VBench's formulas, worked by hand on given features, frames and flows."""

import math

import numpy as np
import pytest
import torch

from vpo.evaluator.vbench import formulas
from vpo.evaluator.vbench.dimensions import DIMENSIONS
from vpo.results import vbench_scores
from vpo.results.vbench_scores import quality, semantic, total
from vpo.workers.vbench import script
from vpo.workers.vbench.totals import PROMPTS


def test_consistency_compares_each_frame_with_the_last_and_the_first() -> None:
    # Angles 0, 60, 120 degrees; lengths do not matter. To the last: cos 60 twice; to the first: cos 60, and cos 120 is cut at 0.
    angles = torch.tensor([0.0, 60.0, 120.0]).deg2rad()
    features = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [5.0], [0.2]])
    assert formulas.consistency(features) == pytest.approx(((0.5 + 0.5) / 2 + (0.5 + 0.0) / 2) / 2)
    assert formulas.consistency(features[:1]) is None
    assert formulas.consistency(torch.ones(2, 3)) == pytest.approx(1.0)


def test_aesthetic_is_a_tenth_of_the_mean_head() -> None:
    features = torch.tensor([[3.0, 4.0], [0.0, 2.0]])  # of length 1: (0.6, 0.8) and (0, 1)
    weight = torch.tensor([5.0, 10.0])
    assert formulas.aesthetic(features, weight, 1.5) == pytest.approx(((3 + 8 + 1.5) + (10 + 1.5)) / 2 / 10)


def test_style_is_the_mean_cosine() -> None:
    images = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert formulas.style(images, torch.tensor([2.0, 0.0])) == pytest.approx((1 + math.sqrt(0.5)) / 2)


def test_steadiness_whatever_the_windows() -> None:
    frames = np.zeros((4, 2, 2, 3), np.uint8)
    frames[1] = 255  # from black to white, back, and one channel of one pixel of four by 120
    frames[3, 0, 0, 0] = 120
    expected = (255 - (255 + 255 + 120 / 12) / 3) / 255
    for windows in ([frames], [frames[:1], frames[1:]], [frames[:3], frames[3:]], list(frames[:, None])):
        assert formulas.changes(windows) == pytest.approx([255, 255, 120 / 12])
        assert formulas.steadiness(formulas.changes(windows)) == pytest.approx(expected)
    assert formulas.steadiness(formulas.changes([frames[:1]])) is None
    assert formulas.steadiness(formulas.changes([frames[2:3], frames[2:3]])) == 1.0


def test_top_speed_is_the_mean_of_the_fastest_pixels() -> None:
    flows = torch.zeros(2, 2, 10, 10)
    flows[0, :, 0, 0] = torch.tensor([3.0, 4.0])  # length 5
    flows[0, :, 5, 5] = torch.tensor([-6.0, 8.0])  # length 10
    flows[0, :, 9, 9] = torch.tensor([0.0, 1.0])
    assert formulas.top_speed(flows, 0.02) == pytest.approx([7.5, 0.0])  # 2 of 100 pixels
    assert formulas.top_speed(flows, 0.05) == pytest.approx([(5 + 10 + 1) / 5, 0.0])


# A short side of 256 has a threshold of 3, one of 512 of 6. With 16 frames k is round(2) = 2 and the ends may be 12 apart.
@pytest.mark.parametrize(
    ("speeds", "ends", "side", "static"),
    [
        ([0.0] * 15, 0.0, 256, True),
        ([3.1] * 2 + [3.0] * 13, 12.0, 256, True),
        ([3.1] * 3 + [0.0] * 12, 0.0, 256, False),
        ([0.0] * 15, 12.1, 256, False),
        ([3.1] * 15, 24.0, 512, True),
        ([], 0.0, 256, True),  # one frame: k = 0
        ([0.0] * 2, 0.1, 256, False),  # three frames: k = round(0.375) = 0, so that the ends may not move at all
    ],
)
def test_the_static_filter(speeds: list[float], ends: float, side: int, static: bool) -> None:
    assert formulas.is_static(speeds, ends, 0.0, side, 2 * side) is static
    assert formulas.is_static(speeds, 0.0, ends, 2 * side, side) is static


# A short side of 256 has a threshold of 6; k = round(n / 4): of 16 frames 4, of 49 12, of 2 none, of 6 (1.5 is rounded to even) 2.
@pytest.mark.parametrize(
    ("speeds", "side", "moves"),
    [
        ([6.1] * 4 + [0.0] * 11, 256, True),
        ([6.1] * 3 + [6.0] * 12, 256, False),
        ([6.1] * 15, 512, False),
        ([12.1] * 12 + [0.0] * 36, 512, True),
        ([12.1] * 11 + [0.0] * 37, 512, False),
        ([0.0], 256, True),
        ([6.1] * 1 + [0.0] * 4, 256, False),
        ([6.1] * 2 + [0.0] * 3, 256, True),
        ([], 256, False),
    ],
)
def test_dynamic_degree(speeds: list[float], side: int, moves: bool) -> None:
    assert formulas.is_dynamic(speeds, side, 2 * side) is moves


@pytest.mark.parametrize(
    ("count", "fps", "chosen"),
    [
        (5, 8.0, [0, 1, 2, 3, 4]),
        (5, 6.0, [0, 1, 2, 3, 4]),
        (9, 24.0, [0, 3, 6]),
        (9, 30.0, [0, 4, 8]),
        (5, 20.0, [0, 2, 4]),  # 2.5 is rounded to even
        (3, 1.0, [0, 1, 2]),
    ],
)
def test_which_frames_dynamic_degree_samples(count: int, fps: float, chosen: list[int]) -> None:
    assert formulas.sampled(count, fps) == chosen


# The leaderboard's row of CogVideoX-5B, which publishes 82.75, 77.04 and 81.61.
COGVIDEOX = {
    "subject_consistency": 0.9623, "background_consistency": 0.9652, "temporal_flickering": 0.9866, "motion_smoothness": 0.9692,
    "dynamic_degree": 0.7097, "aesthetic_quality": 0.6198, "imaging_quality": 0.6290, "object_class": 0.8523,
    "multiple_objects": 0.6211, "human_action": 0.9940, "color": 0.8281, "spatial_relationship": 0.6635, "scene": 0.5320,
    "appearance_style": 0.2491, "temporal_style": 0.2538, "overall_consistency": 0.2759,
}  # fmt: skip


def test_the_scores_of_the_leaderboard() -> None:
    found = [quality(COGVIDEOX), semantic(COGVIDEOX), total(COGVIDEOX)]
    assert found == pytest.approx([0.82756, 0.77037, 0.81612], abs=5e-6)
    for value, published in zip(found, (82.75, 77.04, 81.61), strict=True):
        assert 100 * value == pytest.approx(published, abs=0.01)


def test_each_constant_of_the_scores() -> None:
    """A dimension's lower bound gives 0 and its upper one 1, whatever the others; dynamic degree weighs half."""
    bounds = vbench_scores.QUALITY | vbench_scores.SEMANTIC
    low = {name: one[0] for name, one in bounds.items()}
    assert [quality(low), semantic(low), total(low)] == [0, 0, 0]
    for name, (_, high) in bounds.items():
        own = low | {name: high}
        weight = 0.5 if name == "dynamic_degree" else 1.0
        assert quality(own) == pytest.approx(weight / 6.5 if name in vbench_scores.QUALITY else 0)
        assert semantic(own) == pytest.approx(1 / 9 if name in vbench_scores.SEMANTIC else 0)
        assert total(own) == pytest.approx((4 * quality(own) + semantic(own)) / 5)


@pytest.mark.parametrize("score", [quality, semantic, total])
def test_no_score_of_some_dimensions(score) -> None:
    missing = {name: value for name, value in COGVIDEOX.items() if name not in ("imaging_quality", "scene")}
    with pytest.raises(KeyError):
        score(missing)


def test_the_constants_are_upstreams() -> None:
    import json

    from tests.conftest import SHARED

    file = SHARED / "data/vbench/score_constants.json"
    if not file.exists():
        pytest.skip("shared/data/vbench is not beside this checkout")
    theirs = json.loads(file.read_text())
    assert list(vbench_scores.QUALITY) != []
    assert set(vbench_scores.QUALITY) == set(theirs["quality_dims"])
    assert set(vbench_scores.SEMANTIC) == set(theirs["semantic_dims"])
    for name, bounds in (vbench_scores.QUALITY | vbench_scores.SEMANTIC).items():
        assert list(bounds) == theirs["normalize_min_max"][name]
        assert vbench_scores.WEIGHTS.get(name, 1.0) == theirs["dim_weight"][name]
    assert theirs["quality_weight"] == vbench_scores.QUALITY_WEIGHT
    assert theirs["semantic_weight"] == vbench_scores.SEMANTIC_WEIGHT


def test_the_prompts_of_each_dimension_are_counted_alike_everywhere():
    assert {name: one.prompts for name, one in DIMENSIONS.items()} == PROMPTS
    assert tuple(DIMENSIONS) == script.DIMENSIONS
