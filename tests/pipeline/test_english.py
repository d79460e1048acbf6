"""The experiment on real English: it composes on any copy of the data, and every stage runs with the real model."""

import json

import pytest

from tests.checking.test_config import composed, keys_of
from tests.conftest import OWN, run_vpo
from vpo.assets.folder import assets_folder
from vpo.build import build
from vpo.checking.rules import check

DATA = f"paths.data={OWN / 'english'}"
ASSETS = ("smollm2-135m-instruct", "all-minilm-l6-v2")
EXPERIMENTS = ("english", "english_grpo", "english_published", "english_smoke")


def of(config, stage):
    return {one for one in keys_of(config) if one.startswith(f"{stage}/")}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_of_the_experiments_is_a_valid_config(name):
    check(composed(f"experiment={name}", DATA))


def test_dpo_and_grpo_start_from_one_sft_policy():
    dpo, grpo = (
        composed(f"experiment={name}", "method=[sft]", "dataset=sketch") for name in ("english", "english_grpo")
    )
    assert of(dpo, "sft") == of(grpo, "sft") != set()


def test_the_smoke_takes_a_handful_of_each_split():
    config = composed("experiment=english_smoke", DATA)
    splits = build(config["dataset"]).splits()
    assert {name: len(rows) for name, rows in splits.items()} == {
        "sft": 8,
        "dpo": 4,
        "test": 2,
        "users": 2,
        "validation": 2,
    }


@pytest.mark.slow
@pytest.mark.skipif(not all((assets_folder() / one).is_dir() for one in ASSETS), reason=f"needs the assets {ASSETS}")
def test_every_stage_runs_with_the_real_model(tmp_path):
    """DPO's story on users' queries, then GRPO's, which takes up the same SFT policy."""
    arguments = ["run", "experiment=english_smoke", DATA, "measured=users"]
    done = run_vpo(*arguments, cwd=tmp_path, timeout=1500)
    assert done.returncode == 0, done.stderr
    (results,) = tmp_path.glob("runs/*/*/results.json")
    methods = json.loads(results.read_text())["methods"]
    assert list(methods) == ["original", "base_fewshot", "sft", "sft_more", "sft_chosen", "dpo", "sft_best", "dpo_best"]
    for name, metrics in methods.items():
        for metric in ("aligned", "semantic", "cut_prompts"):
            assert (metrics[metric]["n"], metrics[metric]["n_failed"]) == (2, 0), (name, metric)
    assert methods["original"]["aligned"]["mean"] == 1.0
    assert methods["original"]["semantic"]["mean"] == pytest.approx(1.0, abs=1e-5)
    online = run_vpo(*arguments, "objective=grpo", "method=[sft,grpo,grpo_best]", cwd=tmp_path, timeout=1500)
    assert online.returncode == 0, online.stderr
    assert len(list(tmp_path.glob("store/sft/*/manifest.json"))) == 3  # sft and its two controls: no other one for GRPO
