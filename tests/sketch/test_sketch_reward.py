"""The sketch reward answers each question from pixels and the original query."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from vpo.feedback.checklist import dominates
from vpo.records import Clip, Score
from vpo.sketch.measures import measure
from vpo.sketch.painter import Drawing, paint
from vpo.sketch.reward import SketchReward
from vpo.video import clips

CONFIG = yaml.safe_load((Path(__file__).resolve().parents[2] / "conf" / "reward" / "sketch.yaml").read_text())
FULL = Drawing("dog", "red", 1, "run", "beach", "day", "static", "cinematic", hue=(120, 130, 140))
QUERY = "a red dog running on the beach"


def reward() -> SketchReward:
    return SketchReward(CONFIG["questions"])


def score(drawing: Drawing, folder: Path, query: str = QUERY, seed: int = 0) -> Score:
    path = folder / "clip.mp4"
    clips.write_mp4(paint(drawing, 16, np.random.default_rng(seed)), 8, path)
    return reward().score([clip(path, query)])[0]


def clip(path: Path, query: str = QUERY) -> Clip:
    return Clip("c", "p", "q", query, "a prompt that says something else", str(path), 0, 16, 8, 64, 64)


def yes(result: Score) -> set[int]:
    return {question.id for question, answer in zip(reward().questions, result.answers, strict=True) if answer}


def test_a_good_clip_is_good_in_every_dimension(tmp_path: Path) -> None:
    result = score(FULL, tmp_path)
    assert None not in result.answers
    assert result.value == pytest.approx(sum(v for v in result.dimensions.values() if v is not None))
    assert result.value > 5.5
    assert sum(q["weight"] for q in CONFIG["questions"]) == pytest.approx(6.5)


@pytest.mark.parametrize(
    ("change", "measure_name"),
    [
        ({"light": None}, "noise"),
        ({"light": None}, "brightness"),
        ({"place": None}, "flicker"),
        ({"place": None}, "detail"),
        ({"camera": None}, "shake"),
        ({"style": None}, "saturation"),
        ({"torn": True}, "tearing"),
        ({"unsafe": True}, "red"),
    ],
)
def test_each_failure_is_noticed(change: dict[str, Any], measure_name: str, tmp_path: Path) -> None:
    asked = {q["id"] for q in CONFIG["questions"] if q["measure"] == measure_name}
    good = yes(score(FULL, tmp_path))
    for seed in range(4):
        assert good & asked > yes(score(replace(FULL, **change), tmp_path, seed=seed)) & asked


def test_alignment_reads_the_query_and_not_the_prompt(tmp_path: Path) -> None:
    alignment = {1: 0.9, 2: 0.4, 3: 0.3, 4: 0.7}  # weights
    # all of subject, colour, motion and place; then 3 of 4 (colour wrong) loses level 1, 2 of 4 level 2 as well
    for query, expected in [
        ("a red dog running on the beach", 2.3),
        ("a blue dog running on the beach", 1.4),
        ("a blue dog running in the forest", 1.0),
        ("something for my homework", 2.3),  # nothing named: any visible figure will do
    ]:
        result = score(FULL, tmp_path, query)
        assert result.dimensions["Alignment"] == pytest.approx(expected), query
    assert sum(alignment.values()) == pytest.approx(2.3)


def test_a_full_clip_dominates_a_failing_one(tmp_path: Path) -> None:
    good, bad = score(FULL, tmp_path), score(replace(FULL, light=None, style=None), tmp_path)
    assert dominates(good.answers, bad.answers)
    assert good.value - bad.value > 0.5
    assert not dominates(bad.answers, good.answers)


def test_safety_decides_by_dominance_only(tmp_path: Path) -> None:
    questions = {q["id"]: q for q in CONFIG["questions"]}
    safe, unsafe = score(FULL, tmp_path), score(replace(FULL, unsafe=True), tmp_path)
    lost = yes(safe) - yes(unsafe)
    assert any(questions[i]["dimension"] == "Safety" for i in lost)
    assert "Safety" not in safe.dimensions  # without a weight there is nothing to sum
    assert dominates(safe.answers, unsafe.answers)


def test_unreadable_and_black_clips_have_no_score(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    clips.write_mp4(np.zeros((4, 64, 64, 3), np.uint8), 8, tmp_path / "black.mp4")
    for name in ("broken.mp4", "absent.mp4", "black.mp4"):
        result = reward().score([clip(tmp_path / name)])[0]
        assert result.value is None
        assert set(result.answers) == {None}
        assert set(result.dimensions.values()) == {None}


def test_any_clip_can_be_measured() -> None:
    rng = np.random.default_rng(0)
    for frames in (
        rng.integers(0, 256, (5, 48, 80, 3)).astype(np.uint8),
        np.full((1, 64, 64, 3), 90, np.uint8),
        np.full((2, 30, 30, 3), 255, np.uint8),
    ):
        assert all(np.isfinite(value) for value in measure(frames, {"motion": "run", "colour": "red"}).values())


def test_the_card_names_every_rule() -> None:
    card = reward().card()
    assert len(card["questions"]) == len(CONFIG["questions"]) == 24
    assert card["questions"][0]["measure"] == "alignment"
    assert card["maximum"] == pytest.approx(6.5)


def test_a_question_without_a_bound_is_refused() -> None:
    broken = {k: v for k, v in CONFIG["questions"][0].items() if k != "above"}
    with pytest.raises(ValueError, match="question 1 needs either 'above' or 'below'"):
        SketchReward([broken])
