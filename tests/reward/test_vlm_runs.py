"""A whole run whose reward is a vision-language model, as a user runs it."""

import json

import pytest

from tests.conftest import run_vpo
from tests.reward.asking import model_folder


@pytest.mark.slow
def test_a_run_scores_its_clips_by_a_vision_language_model(tmp_path):
    """From queries to DPO with conf/reward/vlm_tiny.yaml; the pairs come from its answers."""
    options = ["feedback=video", "feedback.threshold=0.01", "feedback.dominance=none", "method=[original,dpo]", "evaluator=[reward]",
               f"reward.path={model_folder('qwen2_5_vl')}"]  # fmt: skip
    done = run_vpo("run", "experiment=smoke", "reward=vlm_tiny", *options, cwd=tmp_path, timeout=900)
    assert done.returncode == 0, done.stderr
    (results,) = (tmp_path / "runs").rglob("results.json")
    methods = json.loads(results.read_text())["methods"]
    assert all(one["reward"]["n"] == 8 and one["reward"]["n_failed"] == 0 for one in methods.values())
    (card, *_) = (tmp_path / "store/score").rglob("card.json")
    assert json.loads(card.read_text())["name"] == "checklist surrogate"
    scores = [
        json.loads(line)
        for path in (tmp_path / "store/score").rglob("scores.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert all(len(one["answers"]) == 8 and None not in one["answers"] for one in scores)
    assert len({one["value"] for one in scores}) > 1
