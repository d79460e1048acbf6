"""NudeNet by onnxruntime alone: boxes worked out by hand, and, with the real weights, nudenet's own results."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.reward.clips import clip, named, node, reward
from vpo.assets.folder import assets_folder
from vpo.errors import UserError
from vpo.records import Failure
from vpo.reward.nudenet import CLASSES, Found, as_input, boxes_of, overlap, safety_of

FILE = Path(os.environ.get("VPO_NUDENET", assets_folder() / "nudenet-320n/320n.onnx"))

BOX = (0.0, 0.0, 1.0, 1.0)


def output(*boxes: tuple[float, float, float, float, int, float]) -> np.ndarray:
    """The model's output for boxes (centre x, y, width, height, class, score) in its 320 x 320 pixels."""
    found = np.zeros((4 + len(CLASSES), len(boxes) + 1), np.float32)
    for place, (x, y, w, h, number, score) in enumerate(boxes):
        found[:4, place] = x, y, w, h
        found[4 + number, place] = score
    return found


def test_boxes_are_scaled_to_the_frame_and_cut_at_its_edge() -> None:
    # A frame of 640 x 480 is a square of 640: a pixel of the model is 2 of the frame.
    (found,) = boxes_of(output((160, 100, 40, 20, 3, 0.9)), 480, 640)
    assert (found.name, found.box) == ("FEMALE_BREAST_EXPOSED", (280, 180, 80, 40))
    assert found.score == pytest.approx(0.9)
    (found,) = boxes_of(output((310, 235, 40, 20, 3, 0.9)), 480, 640)  # left 580, top 450, to 660 and 490
    assert found.box == (580, 450, 60, 30)


def test_of_overlapping_boxes_the_best_is_kept_whatever_its_class() -> None:
    one, same, other, weak = (
        (100, 100, 40, 40, 2, 0.6), (102, 100, 40, 40, 12, 0.8), (200, 200, 40, 40, 2, 0.7), (50, 50, 8, 8, 2, 0.2),
    )  # fmt: skip
    assert [(found.name, round(found.score, 2)) for found in boxes_of(output(one, same, other, weak), 320, 320)] == [
        ("FACE_MALE", 0.8),
        ("BUTTOCKS_EXPOSED", 0.7),
    ]
    # 40 x 40 moved by 2: 38 * 40 = 1520 in common, 1680 in all. Moved by 16: 960 of 2240, which is less than 0.45.
    assert overlap(np.array([0, 0, 40, 40]), np.array([2, 0, 40, 40])) == pytest.approx(1520 / 1680)
    assert len(boxes_of(output(one, (116, 100, 40, 40, 2, 0.5)), 320, 320)) == 2
    assert len(boxes_of(output(one, (114, 100, 40, 40, 2, 0.5)), 320, 320)) == 1  # 1040 of 2160
    assert overlap(np.zeros(4), np.zeros(4)) == 0


def test_frames_are_put_into_a_square() -> None:
    images = np.full((2, 160, 320, 3), 51, np.uint8)
    images[..., 0] = 255
    found = as_input(images)
    assert found.shape == (2, 3, 320, 320)
    assert found.dtype == np.float32
    assert np.all(found[:, 0, :160] == 1)  # red stays red
    assert np.allclose(found[:, 1:, :160], 0.2)
    assert np.all(found[:, :, 160:] == 0)
    assert as_input(np.full((1, 60, 40, 3), 7, np.uint8)).shape == (1, 3, 320, 320)


def test_classes_are_those_of_vbench() -> None:
    unsafe = node("nudenet")["unsafe"]
    assert len(unsafe) == len(set(unsafe)) == 10
    assert set(CLASSES) - set(unsafe) == {
        "FACE_FEMALE", "FACE_MALE", "FEET_EXPOSED", "FEET_COVERED", "BELLY_COVERED", "BELLY_EXPOSED", "ARMPITS_COVERED",
        "ARMPITS_EXPOSED",
    }  # fmt: skip


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"reward\.unsafe=KNEE is no class of NudeNet; choose from FEMALE_GENITALIA_COVERED"
    ):
        reward("nudenet", "reward.unsafe=[KNEE]")


def test_without_the_file_it_says_how_to_get_it(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `nudenet` is not installed")
    with pytest.raises(UserError, match=r"no such file; `vpo assets get nudenet-320n`"):
        reward("nudenet", f"reward.path={tmp_path / '320n.onnx'}").score([clip(tmp_path / "a.mp4")])
    (tmp_path / "320n.onnx").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"320n\.onnx cannot be loaded"):
        reward("nudenet", f"reward.path={tmp_path}").score([clip(tmp_path / "a.mp4")])


@pytest.mark.parametrize(
    ("scores", "share", "safe"),
    [([0.5] * 4, 1, True), ([0.5, 0.5, 0.5, 0.51], 0.75, True), ([0.5, 0.51, 0.5, 0.51], 0.5, False), ([0.9], 0, False),
     ([0.5], 1, True), ([0.9, 0, 0], 2 / 3, False)],
)  # fmt: skip
def test_the_score_is_the_share_of_safe_frames(scores: list[float], share: float, safe: bool) -> None:
    """Unsafe are int(T/2) frames and more: two of four, one of three."""
    frames = [[Found("FACE_MALE", 0.99, BOX), Found("ANUS_COVERED", score, BOX)] for score in scores]
    assert safety_of(frames, ["ANUS_COVERED"], 0.5) == (pytest.approx(share), safe)
    assert safety_of(frames, ["BUTTOCKS_EXPOSED"], 0.5) == (1, True)


@pytest.mark.slow
@pytest.mark.skipif(
    not FILE.exists(), reason="`vpo assets get nudenet-320n` was not run, and $VPO_NUDENET names no file"
)
def test_the_real_model_runs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `nudenet` is not installed")
    role = reward("nudenet", f"reward.path={FILE}")
    (tmp_path / "zero.mp4").write_bytes(b"")
    clips = [
        clip(tmp_path / "a.mp4", size=(64, 96)),
        named(tmp_path / "zero.mp4"),
        clip(tmp_path / "b.mp4", size=(96, 64)),
    ]
    found = role.score(clips)
    assert [one.value for one in found[::2]] == [1, 1]
    assert isinstance(found[1], Failure)
    role.close()


@pytest.mark.slow
@pytest.mark.skipif(
    not FILE.exists(), reason="`vpo assets get nudenet-320n` was not run, and $VPO_NUDENET names no file"
)
def test_it_finds_what_nudenet_finds() -> None:
    """Faces and shoulders of a photograph that matplotlib brings; the package reads arrays as RGB, as VBench hands them over."""
    nudenet = pytest.importorskip("nudenet", reason="the package nudenet, which vpo does not need, is not installed")
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    whole = np.asarray(Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB"))
    pictures = [
        whole,
        whole[:, ::-1],
        whole[:400, :320],
        whole[::2, ::2],
        np.hstack([whole, whole]),
        np.vstack([whole, whole]),
    ]
    role = reward("nudenet", f"reward.path={FILE}")
    own = nudenet.NudeDetector()
    seen = 0
    for picture in pictures:
        picture = np.ascontiguousarray(picture)
        expected = sorted(own.detect(picture), key=lambda one: -one["score"])
        (found,) = role.detect(picture[None])
        seen += len(expected)
        assert [one.name for one in found] == [one["class"] for one in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.score == pytest.approx(other["score"], abs=0.02)
            assert one.box == pytest.approx(other["box"], abs=4)
    role.close()
    assert seen >= 6
