"""Runs from Python: without Hydra's global state, beside and inside of others."""

import json

import pytest
from hydra.core.global_hydra import GlobalHydra

import vpo
from vpo.runs import cards_of_run, check_assets

SMALL = ("experiment=smoke", "method=[original]", "evaluator=[alignment]", "dataset.test=3")


def test_a_run_from_python_is_that_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    composed = vpo.compose(*SMALL)
    assert not GlobalHydra.instance().is_initialized()
    folder = vpo.run(composed)
    assert folder == composed.folder
    assert folder.parts[:2] == ("runs", "smoke")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert results["methods"]["original"]["aligned"]["n"] == 3
    assert results["run"]["overrides"] == list(SMALL)
    assert results["run"]["world"]["judge"] == "rules"
    assert vpo.run(composed) == folder  # again, from the store


@pytest.mark.slow
def test_two_configs_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = vpo.compose(*SMALL), vpo.compose(*SMALL, "dataset.test=4", "paths.runs=elsewhere")
    assert [
        len(json.loads((vpo.run(composed) / "results.json").read_text())["methods"]) for composed in (one, other)
    ] == [1, 1]
    assert other.folder.parts[0] == "elsewhere"
    assert one.name != other.name


def test_a_config_of_a_programs_own_runs_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = vpo.compose(*SMALL).config
    folder = vpo.run(vpo.Composed({**config, "seed": 7}))
    assert folder.parts[1] == "default"
    assert json.loads((folder / "results.json").read_text(encoding="utf-8"))["run"]["seed"] == 7


def test_the_users_own_configs_join(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/mine.yaml").write_text("# @package _global_\nseed: 5\n")
    composed = vpo.compose("experiment=mine")
    assert (composed.config["seed"], composed.experiment) == (5, "mine")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sampling.k=0", "sampling.k=0 must be a whole number of at least 2"),
        ("seed=0,1", "seed"),
        ("judge=lunch", "judge=lunch is no choice of judge"),
        ("judge.api_key=abc123456", "api_key"),
    ],
)
def test_what_is_wrong_is_one_line(override, message):
    with pytest.raises(vpo.UserError, match=message) as caught:
        vpo.compose(override)
    assert "\n" not in str(caught.value)
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize(
    ("choice", "named"),
    [
        ("reward=prompt_a_video_tiny", r"reward\.parts\.videoscore\.path=asset:tiny/videoscore"),
        ("generator=cogvideox_tiny", r"generator\.path=asset:tiny/cogvideox"),
        ("evaluator=[semantic]", r"evaluator\.semantic\.model=asset:all-minilm-l6-v2"),
        ("reward=vlm_checklist", r"config: reward\.texts_file=data/visionreward/video_qa\.txt: no such file"),
    ],
)
def test_what_roles_name_is_there_before_anything_is_made(tmp_path, monkeypatch, choice, named):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VPO_ASSETS", str(tmp_path / "assets"))
    with pytest.raises(vpo.UserError, match=named):
        vpo.run(vpo.compose(*SMALL, choice))
    assert not (tmp_path / "store").exists()


def test_what_a_users_own_reward_calls_a_head_is_no_file():
    config = {**vpo.compose(*SMALL).config, "reward": {"_target_": "mine.Reward", "head": "linear"}}
    check_assets(config)


def test_cards_name_the_model_of_the_runs_judge_and_reward():
    """Of evaluators that read verdicts or scores: who made them stands in the run's config, and results.json says it."""
    served = ["engine=server", "engine.base_url=http://localhost:1/v1", "engine.model=m-7b"]
    cards = cards_of_run(vpo.compose("evaluator=[alignment,reward,flicker]", "judge=llm", *served).config)
    assert cards["alignment"]["model"] == "the judge of the run: LLMJudge by m-7b"
    assert cards["reward"]["model"] == "the reward of the run: SketchReward, without a model"
    assert (cards["flicker"]["model"], "Apache-2.0" in cards["flicker"]["licence"]) == ("none", True)
    assert cards["flicker"]["metrics"][0]["range"] == (0.0, 1.0)
