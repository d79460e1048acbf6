"""Checklist arithmetic, with numbers worked out by hand and with VisionReward's own weights."""

import json
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from vpo.feedback.checklist import (
    Question,
    dimension_scores,
    dimensions_dominate,
    dominates,
    is_better,
    mean_of_signed,
    never_yes,
    weighted_sum,
)
from vpo.reward.asking.checklist import Checklist

VISIONREWARD = Path(__file__).resolve().parents[3] / "shared" / "data" / "visionreward" / "video_checklist_64.json"


def question(id: int, dimension: str, weight: float) -> Question:
    return Question(id, "?", dimension, dimension, 1, weight)


def test_weighted_sum_adds_the_weights_of_yes() -> None:
    # 0.5 [yes] + 0.25 [no] + 2 [yes] = 2.5
    assert weighted_sum([True, False, True], [0.5, 0.25, 2.0]) == 2.5
    assert weighted_sum([False, False], [1.0, 1.0]) == 0.0


def test_weighted_sum_is_none_where_a_weighty_answer_is_missing() -> None:
    assert weighted_sum([True, None], [1.0, 0.5]) is None
    assert weighted_sum([True, None], [1.0, 0.0]) == 1.0  # a question without weight cannot change the sum


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="2 answers for 1 weights"):
        weighted_sum([True, True], [1.0])
    with pytest.raises(ValueError, match="1 answers for 2 questions"):
        dimension_scores([True], [question(1, "a", 1.0), question(2, "a", 1.0)])
    with pytest.raises(ValueError, match="1 answers against 2"):
        dominates([True], [True, False])


def test_dimension_scores_sum_each_dimension_alone() -> None:
    questions = [question(1, "Quality", 0.5), question(2, "Stability", 2.0), question(3, "Quality", 0.25)]
    assert dimension_scores([True, False, True], questions) == {"Quality": 0.75, "Stability": 0.0}
    assert dimension_scores([None, True, True], questions) == {"Quality": None, "Stability": 2.0}


def test_a_dimension_without_weight_has_no_score() -> None:
    questions = [question(1, "Quality", 0.5), question(2, "Safety", 0.0), question(3, "Quality", 0.0)]
    assert dimension_scores([True, True, False], questions) == {"Quality": 0.5}
    assert dimension_scores([None, None, None], questions) == {"Quality": None}  # unread: no 0.0 among them


def test_dominance_needs_no_worse_answer_and_one_better() -> None:
    assert dominates([True, True, False], [True, False, False])
    assert not dominates([True, False], [True, False])  # equal
    assert not dominates([True, False, True], [False, True, False])  # better twice, worse once
    assert not dominates([False, False], [True, False])


def test_nothing_dominates_where_an_answer_is_missing() -> None:
    assert not dominates([True, None], [False, None])
    assert not dominates([True, True], [False, None])
    assert not dominates([None, True], [False, False])


def test_dimensions_dominate_where_none_is_worse_and_one_is_better() -> None:
    assert dimensions_dominate({"a": 2.0, "b": 1.0}, {"a": 1.0, "b": 1.0})
    assert not dimensions_dominate({"a": 2.0, "b": 0.5}, {"a": 1.0, "b": 1.0})
    assert not dimensions_dominate({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.0})  # equal
    assert not dimensions_dominate({"a": 2.0, "b": None}, {"a": 1.0, "b": None})  # unknown
    assert not dimensions_dominate({"a": 2.0, "b": 1.0}, {"a": 1.0})
    assert not dimensions_dominate({}, {})


@pytest.mark.skipif(not VISIONREWARD.exists(), reason="shared/data/visionreward is not beside this checkout")
def test_visionreward_weights_give_its_published_maxima() -> None:
    data = json.loads(VISIONREWARD.read_text())
    questions = [
        Question(q["id"], q["question"], q["dimension"], q["sub_dimension"], q["level"], q["weight"])
        for q in data["questions"]
    ]
    weights = [q.weight for q in questions]
    everything = [True] * 64
    assert weighted_sum(everything, weights) == pytest.approx(6.27717, abs=1e-5)
    maxima = {dimension: maximum for dimension, maximum in data["max_per_dimension"].items() if maximum}  # safety: 0
    assert dimension_scores(everything, questions) == pytest.approx(maxima)
    # VisionReward's script prints the mean of +-w over its 29 questions: (2 * 0 - 6.27717) / 29 for all "no"
    assert (2 * weighted_sum([False] * 64, weights) - sum(weights)) / 29 == pytest.approx(-0.2164542, abs=1e-6)
    # questions 1 and 4 alone: .95439 + 1.14182
    assert weighted_sum([i in (0, 3) for i in range(64)], weights) == pytest.approx(2.09621, abs=1e-5)


@pytest.mark.skipif(not VISIONREWARD.exists(), reason="shared/data/visionreward is not beside this checkout")
def test_our_yaml_holds_visionrewards_weights_and_its_file_the_texts() -> None:
    ours = yaml.safe_load((ROOT / "conf/reward/base/visionreward.yaml").read_text(encoding="utf-8"))["questions"]
    published = json.loads(VISIONREWARD.read_text())["questions"]
    names = ("id", "dimension", "sub_dimension", "level", "weight")
    assert ours == [{name: one[name] for name in names} for one in published]
    read = Checklist(ours, "sum_of_yes", str(VISIONREWARD.with_name("video_qa.txt"))).questions
    assert [one.text for one in read] == [one["question"] for one in published]


def test_the_mean_of_signed_weights_counts_questions_that_have_one() -> None:
    # (+0.5 - 0.25 + 2) / 3; the fourth question has no weight
    assert mean_of_signed([True, False, True, False], [0.5, 0.25, 2.0, 0.0]) == pytest.approx(2.25 / 3)
    assert mean_of_signed([False, False], [1.0, 3.0]) == -2.0
    assert mean_of_signed([None, True], [1.0, 3.0]) is None
    assert mean_of_signed([None, True], [0.0, 3.0]) == 3.0
    assert mean_of_signed([True], [0.0]) is None  # no question has a weight


def test_comparing_gives_a_tie_to_the_second() -> None:
    assert is_better([True, False], [False, True], [1.0, 0.5]) is True  # 2 * (1 - 0.5) > 0
    assert is_better([False, True], [True, False], [1.0, 0.5]) is False
    assert is_better([True, False], [False, True], [1.0, 1.0]) is False
    assert is_better([True, False, False], [False, True, True], [0.3, 0.1, 0.2]) is False  # 0.1 + 0.2 > 0.3 in floats
    assert is_better([None], [True], [1.0]) is None
    with pytest.raises(ValueError, match="1 answers against 2"):
        is_better([True], [True, False], [1.0])


@pytest.mark.skipif(not VISIONREWARD.exists(), reason="shared/data/visionreward is not beside this checkout")
def test_all_no_of_visionreward_is_the_number_that_was_reported_for_a_broken_load() -> None:
    weights = [one["weight"] for one in json.loads(VISIONREWARD.read_text())["questions"]]
    assert mean_of_signed([False] * 64, weights) == pytest.approx(-0.21645422762, abs=1e-11)
    assert mean_of_signed([True] * 64, weights) == pytest.approx(0.21645422762, abs=1e-11)


def test_never_yes_needs_an_answer() -> None:
    assert never_yes([False, None, False])
    assert not never_yes([False, True])
    assert not never_yes([None, None])
    assert not never_yes([])
