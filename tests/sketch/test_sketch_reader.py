"""The reader finds the scene in the pixels of real files, and does not find what is not there."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from vpo.records import Clip, Prompt, Query, Sample
from vpo.sketch.evaluator import SceneAccuracy, accuracy
from vpo.sketch.grammar import draw_scene
from vpo.sketch.painter import Drawing, paint
from vpo.sketch.reader import read_scene
from vpo.sketch.subjects import read_count, read_motion
from vpo.sketch.vocabulary import FACETS
from vpo.video import clips

N = 60
FULL = Drawing("dog", "red", 1, "run", "beach", "day", "static", "cinematic", hue=(120, 130, 140))


def through_a_file(drawing: Drawing, seed: int, folder: Path) -> np.ndarray:
    clips.write_mp4(paint(drawing, 16, np.random.default_rng(seed)), 8, folder / "clip.mp4")
    return clips.read_mp4(folder / "clip.mp4")[0]


def test_complete_scenes_are_read_from_files(tmp_path: Path) -> None:
    hits: Counter[str] = Counter()
    for seed in range(N):
        scene = draw_scene(Random(seed))
        facets = {facet: getattr(scene, facet) for facet in FACETS}
        seen = read_scene(through_a_file(Drawing(**facets, hue=(120, 120, 120)), seed, tmp_path))
        hits.update(facet for facet in FACETS if seen[facet] == facets[facet])
    assert min(hits[facet] for facet in FACETS) >= 0.9 * N, hits
    assert sum(hits.values()) >= 0.95 * N * len(FACETS), hits


@pytest.mark.parametrize("facet", ["light", "place", "camera", "style"])
def test_what_was_not_told_is_not_read(facet: str, tmp_path: Path) -> None:
    for seed in range(5):
        assert read_scene(through_a_file(replace(FULL, **{facet: None}), seed, tmp_path))[facet] is None


def test_a_frozen_subject_has_no_motion(tmp_path: Path) -> None:
    for seed in range(5):
        assert read_scene(through_a_file(replace(FULL, motion=None), seed, tmp_path))["motion"] is None


def test_other_sizes_and_lengths_are_read(tmp_path: Path) -> None:
    frames = through_a_file(FULL, 0, tmp_path)
    large = frames.repeat(2, 0).repeat(3, 1).repeat(3, 2)
    assert read_scene(large) == read_scene(frames)
    assert read_scene(frames[:1])["motion"] is None
    assert set(read_scene(np.zeros((3, 20, 30, 3), np.uint8))) == set(FACETS)


def test_count_and_axis_by_hand() -> None:
    mask = np.zeros((1, 64, 64), bool)
    mask[0, 20:36, 8:24] = mask[0, 20:36, 40:56] = True  # two squares of 16, 16 apart
    assert read_count(mask, np.array([0])) == (2, 1)
    assert read_count(mask.transpose(0, 2, 1), np.array([0])) == (2, 0)
    mask[0, 20:36, 25:39] = True  # a third between them
    assert read_count(mask, np.array([0])) == (3, 1)
    mask[0, :, 25:] = False
    assert read_count(mask, np.array([0])) == (1, 0)
    assert read_count(np.zeros((1, 64, 64), bool), np.array([0])) == (None, 1)


@pytest.mark.parametrize(
    ("dx", "dy", "motion"), [(2.8, 0, "run"), (-0.93, 0, "drift"), (0, 2.4, "fall"), (0, -2.4, "rise"), (0, 0, None)]
)
def test_motion_by_hand(dx: float, dy: float, motion: str | None) -> None:
    mask = np.zeros((16, 64, 64), bool)
    for i in range(16):
        x, y = round(32 + dx * (i - 7.5)), round(32 + dy * (i - 7.5))
        mask[i, y - 5 : y + 5, x - 5 : x + 5] = True
    assert read_motion(mask) == motion


def test_accuracy_is_the_share_of_the_named_facets() -> None:
    named = {"subject": "dog", "colour": "red", "count": 2}
    assert accuracy(named, {"subject": "dog", "colour": None, "count": 1, "place": "beach"}) == {
        "scene": pytest.approx(1 / 3), "scene_subject": 1.0, "scene_colour": 0.0, "scene_count": 0.0,
    }  # fmt: skip


def sample(truth: dict[str, object] | None, path: Path | None) -> Sample:
    clip = None
    if path is not None:
        clip = Clip("c", "p", "q", "a query", "a prompt", str(path), 0, 16, 8, 64, 64)
    return Sample(Query("q", "a query", truth), Prompt("p", "q", "a query", "a prompt", "m"), (clip,) if clip else ())


def test_the_evaluator_leaves_out_what_does_not_apply_and_fails_what_it_cannot_read(tmp_path: Path) -> None:
    through_a_file(FULL, 0, tmp_path)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    truth = {"subject": "dog", "light": "night", "unsafe": True}
    assert SceneAccuracy().measure([
        sample(truth, tmp_path / "clip.mp4"),
        sample(truth, tmp_path / "broken.mp4"),
        sample(truth, tmp_path / "absent.mp4"),
        sample(truth, None),
        sample(None, tmp_path / "clip.mp4"),
        sample({"unsafe": True}, tmp_path / "clip.mp4"),
    ]) == [
        {"scene": 0.5, "scene_subject": 1.0, "scene_light": 0.0},
        {"scene": None, "scene_subject": None, "scene_light": None},
        {"scene": None, "scene_subject": None, "scene_light": None},
        {}, {}, {},
    ]  # fmt: skip
