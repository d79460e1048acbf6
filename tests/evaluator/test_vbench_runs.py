"""VBench in a whole run: clips of the sketch world, small random models, and what the run keeps and refuses."""

import json
from pathlib import Path

import pytest

from tests.checking.test_config import composed
from tests.conftest import SHARED, run_vpo
from tests.pipeline.test_pipeline import rows, run_folder
from tests.vision_models import write_models
from vpo.build import build
from vpo.checking.rules import check_roles
from vpo.errors import UserError
from vpo.evaluator.vbench.dimensions import DIMENSIONS, applicable, label_of
from vpo.stages.queries import check_splits
from vpo.workers.vbench.totals import QUERIES

CHEAP = ["experiment=smoke", "method=[original]", "evaluator=[vbench]", "clips_per_prompt=2"]


def models_in(folder: Path) -> list[str]:
    """Overrides that name small random models, which are made in a folder."""
    write_models(folder, "clip_b32", "clip_l14", "dino", "aesthetic_head")
    key = "evaluator.vbench.models"
    named = [f"{key}.{name}.path={folder / name}" for name in ("dino", "clip_b32", "clip_l14")]
    return [*named, f"{key}.head_file={folder / 'aesthetic_head/head.json'}"]


def clip_frames(folder: Path) -> int:
    """How many frames the clips of a run have, by their records."""
    (file,) = (folder / "store/render").glob("*/clips.jsonl")
    (count,) = {one["frames"] for one in rows(file)}
    return count


@pytest.mark.slow
def test_a_run_measures_pools_and_keeps_features(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    models = models_in(tmp_path / "models")
    done = run_vpo("run", *CHEAP, *models, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = run_folder(tmp_path)
    results = json.loads((folder / "results.json").read_text())
    measured, items = results["methods"]["original"], rows(folder / "items.jsonl")
    # 8 queries of the sketch world, which no suite knows, with 2 clips each.
    names = {"subject_consistency", "background_consistency", "aesthetic_quality", "flicker_unfiltered"}
    assert set(measured) == names | {"vbench_failed_clips", "vbench_outside_suite"}
    assert all(measured[name]["n"] == 8 and 0 < measured[name]["mean"] <= 1 for name in names)
    assert measured["vbench_outside_suite"]["mean"] == 1.0
    assert {item["weights"]["subject_consistency"] for item in items} == {2 * (clip_frames(tmp_path) - 1)}
    assert {item["weights"]["aesthetic_quality"] for item in items} == {2}
    derived = [one["name"] for one in results["evaluators"]["vbench"]["derived"]]
    assert derived == ["vbench_quality", "vbench_semantic", "vbench_total"]  # and none of them can be measured here
    assert len(list((tmp_path / "store/features").glob("*/*.npz"))) == 3 * 16  # three encoders, 16 clips
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
@pytest.mark.slow
def test_what_is_missing_is_said_before_anything_is_made(tmp_path: Path, override: str, message: str) -> None:
    more = ["evaluator.vbench.dimensions=[dynamic_degree]"] if "raft" in override else []
    done = run_vpo("run", *CHEAP, override, *more, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        (
            ["evaluator=[vbench]", "generator=cogvideox_5b"],
            "evaluator.vbench could measure no clip .*6.12 s.*vbench_long",
        ),
        (
            ["evaluator=[vbench_official]", "generator=cogvideox_5b"],
            "evaluator.vbench_official could .*below_seconds=null",
        ),
        (["evaluator=[vbench_long]"], "evaluator.vbench_long could measure no clip .*2 s.*evaluator=vbench is"),
        (["evaluator=[vbench]"], None),
        (["evaluator=[vbench]", "generator=cogvideox_5b", "evaluator.vbench.below_seconds=null"], None),
        (["evaluator=[vbench_long]", "generator=cogvideox_5b"], None),
        (["evaluator=[vbench]", "generator=server", "generator.base_url=http://localhost:1/v1"], None),  # nobody knows
    ],
)
def test_clips_that_are_all_of_another_length_are_refused_at_once(overrides: list[str], refused: str | None) -> None:
    """CogVideoX makes 49 frames at 8 a second, the sketch world 16."""
    if refused is None:
        check_roles(composed(*overrides))
        return
    with pytest.raises(UserError, match=refused) as raised:
        check_roles(composed(*overrides))
    assert "\n" not in str(raised.value)


def test_the_suite_has_each_dimensions_prompts() -> None:
    """`dataset=vbench_suite` measures on all of VBench's prompts; the numbers are those of its own files, a line a prompt."""
    files = SHARED / "data/vbench/prompts_per_dimension"
    if not files.is_dir() or not (SHARED / "data/rewrites").is_dir():
        pytest.skip("shared/data/vbench and shared/data/rewrites are not beside this checkout")
    config = composed("dataset=vbench_suite", f"paths.data={SHARED / 'data'}")
    splits = build(config["dataset"]).splits()
    # Of 946 prompts two are there twice, on other dimensions, and one differs from another by a capital letter alone.
    assert len(splits["test"]) == 943
    assert len(splits["dpo"]) == 100
    check_splits(splits)  # none is empty, and no text stands in two of them
    shared = {
        "background_consistency": "scene", "motion_smoothness": "subject_consistency", "dynamic_degree": "subject_consistency",
        "aesthetic_quality": "overall_consistency", "imaging_quality": "overall_consistency",
    }  # fmt: skip
    for name, one in DIMENSIONS.items():
        lines = (files / f"{shared.get(name, name)}.txt").read_text(encoding="utf-8").splitlines()
        measured = [query for query in splits["test"] if name in applicable(query, DIMENSIONS)]
        lost = [] if "overall_consistency" not in (name, shared.get(name)) else ["A fantasy landscape"]
        assert sorted([*lost, *(query.text for query in measured)]) == sorted(line.strip() for line in lines), name
        assert one.prompts == len(lines)
        assert len(measured) == QUERIES[name]  # so that the totals of a complete run are of the whole benchmark
    styles = {
        label_of(query, "appearance_style")
        for query in splits["test"]
        if "appearance_style" in applicable(query, DIMENSIONS)
    }
    assert "Van Gogh style" in styles
    assert None not in styles
