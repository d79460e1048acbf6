"""VBench in a whole run: clips of the sketch world, small random models, and what the run keeps and refuses."""

import json
from pathlib import Path

import pytest

from tests.conftest import run_vpo
from tests.pipeline.test_pipeline import rows, run_folder
from vpo.assets.tiny import vision

CHEAP = ["experiment=smoke", "method=[original]", "evaluator=[vbench]", "clips_per_prompt=2"]


def models_in(folder: Path) -> list[str]:
    """Overrides that name small random models, which are made in a folder."""
    for name in ("clip_b32", "clip_l14", "dino", "aesthetic_head"):
        (folder / name).mkdir()
        vision.MODELS[name](folder / name)
    key = "evaluator.vbench.models"
    named = [f"{key}.{name}.path={folder / name}" for name in ("dino", "clip_b32", "clip_l14")]
    return [*named, f"{key}.head_file={folder / 'aesthetic_head/head.json'}"]


@pytest.mark.slow
def test_a_run_measures_pools_and_keeps_features(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    models = models_in(tmp_path / "models")
    done = run_vpo("run", *CHEAP, *models, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = run_folder(tmp_path)
    results = json.loads((folder / "results.json").read_text())
    measured, items = results["methods"]["original"], rows(folder / "items.jsonl")
    # 8 queries of the sketch world, which no suite knows, with 2 clips of 9 frames each.
    names = {"subject_consistency", "background_consistency", "aesthetic_quality", "flicker_unfiltered"}
    assert set(measured) == names | {"vbench_failed_clips", "vbench_outside_suite"}
    assert all(measured[name]["n"] == 8 and 0 < measured[name]["mean"] <= 1 for name in names)
    assert measured["vbench_outside_suite"]["mean"] == 1.0
    frames = {item["weights"]["subject_consistency"] for item in items}
    assert len(frames) == 1
    assert frames.pop() % 2 == 0
    assert {item["weights"]["aesthetic_quality"] for item in items} == {2}
    assert [one["metric"] if "metric" in one else one["name"] for one in results["evaluators"]["vbench"]["derived"]] == [
        "vbench_quality", "vbench_semantic", "vbench_total",
    ]  # fmt: skip
    assert (
        not any(name.startswith("vbench_") and "prompt" not in name for name in measured)
        or "vbench_total" not in measured
    )
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "store/features").glob("*/*.npz")}
    assert len(kept) == 3 * 16
    # What was measured is done; where the cache of features lies cannot change it.
    again = run_vpo("run", *CHEAP, *models, "evaluator.vbench.cache.folder=null", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert len(list((tmp_path / "store/evaluate").glob("*/manifest.json"))) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "evaluator.vbench.models.head_file=nowhere.json",
            "evaluator.vbench.models.head_file=nowhere.json: no such file",
        ),
        ("evaluator.vbench.models.raft_file=nowhere.pth", "evaluator.vbench.models.raft_file"),
        ("evaluator.vbench.dimensions=[color]", "color is not measured here; evaluator=vbench_official measures it"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_made(tmp_path: Path, override: str, message: str) -> None:
    more = ["evaluator.vbench.dimensions=[dynamic_degree]"] if "raft" in override else []
    done = run_vpo("run", *CHEAP, override, *more, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "store").exists()
