"""`evaluator=vbench_official` through the real worker: its process, script and protocol; the official code is a small stand-in."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checking.test_config import composed
from tests.conftest import ROOT, run_vpo
from tests.evaluator.test_vbench import dimension
from tests.worker_environments.environments import made_environment
from vpo.build import build, card_of, cards_of
from vpo.cards import Weighted
from vpo.errors import UserError
from vpo.evaluator.vbench.dimensions import DIMENSIONS
from vpo.records import Clip, Failure, Prompt, Query, Sample

SUITE = {
    "a dog on the left of a cat": ["spatial_relationship"],
    "a bus": ["object_class", "imaging_quality"],
    "a train": ["object_class"],
    "a red car": ["color"],
    "a person is dancing": ["human_action"],
    "a blue bird": ["color"],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    repository = made_environment(folder, "vbench") / "repository"
    shutil.copytree(Path(__file__).parent / "stand_ins/vbench", repository)
    rows = [{"prompt_en": prompt, "dimension": names} for prompt, names in SUITE.items()]
    (repository / "vbench/VBench_full_info.json").write_text(json.dumps(rows))
    return folder


def node(**values: Any) -> dict[str, Any]:
    own: dict[str, Any] = yaml.safe_load((ROOT / "conf/evaluator/vbench_official.yaml").read_text(encoding="utf-8"))
    return own | values


def sample(text: str, folder: Path, *videos: list[float] | Failure, names: list[str] | None = None) -> Sample:
    """A query with clips whose frames have these numbers. The prompt that they were rendered from is another one."""
    asked = Query(text, text, meta={"dimension": SUITE.get(text, ()) if names is None else names})
    prompt = Prompt(text, text, text, f"{text}, at dusk, wide shot", "m")
    clips: list[Clip | Failure] = []
    for number, numbers in enumerate(videos):
        if isinstance(numbers, Failure):
            clips.append(numbers)
            continue
        path = folder / f"{abs(hash(text))}-{number}.mp4"
        path.write_text(json.dumps(numbers))
        clips.append(
            Clip(f"{text}#{number}", text, text, text, prompt.text, str(path), 0, max(1, len(numbers)), 8.0, 8, 8)
        )
    return Sample(asked, prompt, tuple(clips))


def measured(root: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch, **values: Any) -> list[Any]:
    monkeypatch.setenv("VPO_WORKERS", str(root))
    evaluator = build(node(**values))
    try:
        return evaluator.measure(samples)
    finally:
        evaluator.close()


def test_its_numbers_are_vbenchs_own(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    samples = [
        sample("a bus", tmp_path, [0, 1, 1, 1], [1, 1]),  # one frame without a bus; imaging quality is 0..100 a video
        sample("a train", tmp_path, [0, 0]),
        sample("a red car", tmp_path, [1, 0], [], [1, 1]),  # of the second no frame shows a car: color drops it
        sample("a dog on the left of a cat", tmp_path, [0.5, 1.0, 0.0], Failure("timeout", "no answer")),
        sample("a blue bird", tmp_path, []),
        sample("a person is dancing", tmp_path, [1]),
        sample("waves", tmp_path, [1]),
        sample("a whale", tmp_path, [1], names=["color"]),  # labelled as of the suite, which does not have it
    ]
    own = node(dimensions=["object_class", "color", "spatial_relationship", "human_action", "imaging_quality"])
    card = card_of(own)
    with caplog.at_level(logging.WARNING):
        rows = measured(root, samples, monkeypatch, dimensions=own["dimensions"])
    bus, train, car, dog, bird, dancing, waves, whale = rows
    assert bus["object_class"] == Weighted(pytest.approx(5 / 6), 6)
    assert bus["imaging_quality"] == Weighted(pytest.approx((0.75 + 1) / 2 / 100), 2)
    assert car["color"] == Weighted(pytest.approx(0.75), 2)
    assert dog["spatial_relationship"] == Weighted(pytest.approx(0.5), 3)
    assert dog["vbench_official_failed_clips"] == Weighted(0.5, 2)
    assert bird == {"vbench_official_failed_clips": Weighted(0.0, 1)}  # no failure, and not 0: VBench leaves it out
    assert isinstance(dancing, Failure)
    assert "no weights of UMT" in dancing.detail
    assert "human_action: no weights of UMT" in caplog.text
    assert waves == {}
    assert (whale.kind, "a whale-0.mp4" in whale.detail) == ("no_result", True)
    assert dimension([bus, train], "object_class", card) == pytest.approx(5 / 8)  # frames count alike
    assert dimension([car], "color", card) == pytest.approx((0.5 + 1) / 2)  # videos count alike
    for one, row in zip(samples, rows, strict=True):
        assert isinstance(row, Failure) or set(row) <= set(card.applicable(one))


def test_a_config_is_checked_before_anything_is_made() -> None:
    for values, message in (
        ({"dimensions": ["temporal_flickering"]}, "evaluator=vbench measures it, with its static filter"),
        ({"dimensions": ["colour"]}, "'colour' is no dimension"),
        ({"imaging_quality_mode": "longest"}, "imaging_quality_mode=longest is unknown"),
    ):
        with pytest.raises(UserError, match=message):
            card_of(node(**values))
    vbench = yaml.safe_load((ROOT / "conf/evaluator/vbench.yaml").read_text(encoding="utf-8"))
    both = {"vbench": vbench, "vbench_official": node()}
    assert [one.metric.name for one in cards_of(both)["vbench"].derived] == [
        "vbench_quality",
        "vbench_semantic",
        "vbench_total",
    ]
    both["vbench_official"] = node(dimensions=["appearance_style"])
    with pytest.raises(UserError, match="both measure 'appearance_style'"):
        cards_of(both)


def test_the_named_pair_measures_all_sixteen() -> None:
    """README and the yaml say which; without all of them there is no Quality, Semantic or Total."""
    pair = composed("evaluator=[vbench_raft,vbench_official]", "generator=cogvideox_tiny")["evaluator"]
    measured_by = [name for one in pair.values() for name in one["dimensions"]]
    assert sorted(measured_by) == sorted(DIMENSIONS)
    assert list(pair) == ["vbench", "vbench_official"]
    assert {one for derived in cards_of(pair)["vbench"].derived for one in derived.of} == set(DIMENSIONS)


def test_a_name_that_no_file_can_have_is_said(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["either/or", "w" * 260]
    samples = [sample(text, tmp_path, [1], names=["color"]) for text in texts]
    rows = measured(root, samples, monkeypatch, dimensions=["color"])
    assert [row.kind for row in rows] == ["unnamable", "unnamable"]


def test_a_clip_of_vbench_longs_length_is_not_given_to_vbench(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 40 frames at 8 a second; the others are measured."""
    both = sample("a bus", tmp_path, [1] * 39, [1] * 40)
    alone = sample("a train", tmp_path, [1] * 40)
    rows = measured(root, [both, alone], monkeypatch, dimensions=["object_class"])
    assert rows[0] == {"object_class": Weighted(1.0, 39), "vbench_official_failed_clips": Weighted(0.5, 2)}
    assert (rows[1].kind, "5 s" in rows[1].detail) == ("clip_too_long", True)
    card = card_of(node(dimensions=["object_class"]))
    assert card.failed_row(alone) == {"object_class": None, "vbench_official_failed_clips": Weighted(1.0, 1)}
    (row,) = measured(root, [alone], monkeypatch, dimensions=["object_class"], below_seconds=None)
    assert row["object_class"] == Weighted(1.0, 40)
    with pytest.raises(UserError, match="below_seconds=0 must be above 0"):
        card_of(node(below_seconds=0))


@pytest.mark.slow
def test_a_run_needs_the_worker_before_anything_is_made(tmp_path: Path) -> None:
    done = run_vpo(
        "run", "experiment=smoke", "method=[original]", "evaluator=[vbench_official]", cwd=tmp_path, VPO_WORKERS=str(tmp_path / "w")
    )  # fmt: skip
    assert done.returncode == 2
    assert "workers: vbench is not installed" in done.stderr
    assert not list(tmp_path.glob("store/*/*/manifest.json"))
