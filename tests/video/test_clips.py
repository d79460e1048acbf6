"""Clips survive the way to disk and back, and what is broken says so."""

import os
from pathlib import Path

import numpy as np
import pytest

from vpo.video import clips


def ramp(t: int = 8, height: int = 32, width: int = 48) -> np.ndarray:
    """Smooth colours that brighten over time, uint8 (t, height, width, 3)."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([x * 3, y * 4, 120 + 0 * x], -1)
    return np.stack([image + 5 * i for i in range(t)]).clip(0, 255).astype(np.uint8)


def test_a_clip_comes_back_nearly_as_it_was(tmp_path: Path) -> None:
    frames = ramp()
    clips.write_mp4(frames, 8, tmp_path / "a.mp4")
    back, fps = clips.read_mp4(tmp_path / "a.mp4")
    assert fps == 8
    assert back.shape == frames.shape
    assert back.dtype == np.uint8
    assert np.abs(back.astype(int) - frames).mean() < 3


def test_equal_frames_give_equal_bytes_and_no_other_file_stays(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        clips.write_mp4(ramp(), 8, tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "b.mp4"]


def test_the_index_stands_at_the_front(tmp_path: Path) -> None:
    clips.write_mp4(ramp(), 8, tmp_path / "a.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((0, 32, 32, 3), np.uint8), "T > 0"),
        (np.zeros((4, 32, 32, 3), np.float32), "uint8"),
        (np.zeros((4, 31, 32, 3), np.uint8), "must be even"),
    ],
)
def test_frames_that_cannot_be_written_are_refused(tmp_path: Path, frames: np.ndarray, message: str) -> None:
    with pytest.raises(clips.ClipError, match=message):
        clips.write_mp4(frames, 8, tmp_path / "a.mp4")
    assert os.listdir(tmp_path) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    (tmp_path / "a.mp4").write_bytes(b"old")
    monkeypatch.setattr(clips, "_encode", fail)
    with pytest.raises(OSError, match="disk full"):
        clips.write_mp4(ramp(), 8, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("content", [None, b"", b"not a video at all", b"\x00" * 4096])
def test_broken_files_raise_clip_errors(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(clips.ClipError, match=r"broken\.mp4"):
        clips.read_mp4(path)


def test_a_file_cut_short_raises_or_gives_what_is_left(tmp_path: Path) -> None:
    clips.write_mp4(ramp(), 8, tmp_path / "a.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 3])
    try:
        frames, _ = clips.read_mp4(tmp_path / "cut.mp4")
    except clips.ClipError:
        return
    assert 0 < len(frames) <= 8


def test_frame_rules() -> None:
    grey = np.full((2, 4, 4, 3), 100, np.uint8)
    assert clips.check(grey) == "ok"
    assert clips.check(grey * 0) == "black"
    assert clips.check(grey[:0]) == "empty"
    assert clips.check(np.where(np.arange(4)[None, :, None, None] == 0, np.nan, grey.astype(float))) == "non-finite"


def test_equal_frames_give_equal_files(tmp_path: Path) -> None:
    """Forty tries on moving, noisy frames: with x264's look-ahead about one in four differed."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 40, (16, 64, 64, 3), dtype=np.uint8)
    for t in range(16):
        noise[t, 20:40, 2 * t : 2 * t + 20] = (200, 30, 60)
    files = set()
    for _ in range(40):
        clips.write_mp4(noise, 8.0, tmp_path / "clip.mp4")
        files.add((tmp_path / "clip.mp4").read_bytes())
    assert len(files) == 1
