"""The generic pixel metrics, with numbers worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from vpo.evaluator.flicker import Flicker, flicker
from vpo.evaluator.motion import Motion, motion
from vpo.records import Clip, Prompt, Query, Sample
from vpo.video import clips
from vpo.video.frames import CACHE


def sample(path: Path | None) -> Sample:
    clip = None if path is None else Clip("c", "p", "q", "a query", "a prompt", str(path), 0, 4, 8, 64, 64)
    return Sample(Query("q", "a query"), Prompt("p", "q", "a query", "a prompt", "m"), (clip,) if clip else ())


def noise(seed: int = 0) -> np.ndarray:
    """Coarse noise, uint8 (96, 96, 3): structure everywhere, so that a block has one best match."""
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 24, 1))
    return np.repeat(np.repeat(np.repeat(coarse, 4, 0), 4, 1), 3, 2).astype(np.uint8)


def test_flicker_by_hand() -> None:
    frames = np.zeros((3, 2, 2, 3), np.uint8)
    frames[1] = 51  # steps of 51 and 51: (255 - 51) / 255 = 0.8
    assert flicker([frames]) == pytest.approx(0.8)
    frames[2] = 51  # steps of 51 and 0: (255 - 25.5) / 255 = 0.9
    assert flicker([frames]) == pytest.approx(0.9)
    assert flicker([np.full((4, 2, 2, 3), 7, np.uint8)]) == 1.0
    assert flicker([frames[:1]]) is None


def test_motion_of_a_frozen_or_flickering_clip_is_none_at_all() -> None:
    still = np.stack([noise()[:64, :64]] * 4)
    assert motion([still]) == 0.0
    assert motion([still[:1]]) is None
    flat = np.stack([np.full((64, 64, 3), 90 + 20 * i, np.uint8) for i in range(4)])
    assert motion([flat]) == 0.0  # brightness changes, nothing moves


@pytest.mark.parametrize(("dy", "dx", "pixels"), [(0, 2, 2.0), (3, 0, 3.0), (0, -1, 1.0)])
def test_motion_of_a_sliding_picture_is_its_speed(dy: int, dx: int, pixels: float) -> None:
    picture = noise()
    frames = np.stack([picture[16 - dy * i : 80 - dy * i, 16 - dx * i : 80 - dx * i] for i in range(4)])
    assert motion([frames]) == pytest.approx(pixels, rel=0.05)


def test_motion_counts_the_share_that_moves() -> None:
    picture = noise()
    frames = np.stack([picture[:64, :64]] * 2)
    frames[1, :32] = picture[:32, 2:66]  # the upper half slides by 2: 3 of the 6 inner rows of blocks
    assert motion([frames]) == pytest.approx(1.0, rel=0.1)


def test_files_are_measured_and_failures_are_none(tmp_path: Path) -> None:
    clips.write_mp4(np.stack([noise()[:64, :64]] * 4), 8, tmp_path / "still.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    samples = [sample(tmp_path / "still.mp4"), sample(tmp_path / "broken.mp4"), sample(None)]
    flickers, motions = Flicker().measure(samples), Motion().measure(samples)
    assert flickers[0]["flicker"] > 0.99
    assert motions[0] == {"motion": 0.0}
    assert (flickers[1:], motions[1:]) == ([{"flicker": None}, {}], [{"motion": None}, {}])


def test_windows_of_a_clip_count_as_one() -> None:
    """Steps between the last frame of a window and the first of the next count like any other."""
    picture = noise()
    frames = np.stack([picture[:64, 2 * i : 64 + 2 * i] for i in range(5)])
    for cuts in ([3], [1, 2], [4]):
        windows = np.split(frames, cuts)
        assert flicker(windows) == pytest.approx(flicker([frames]), abs=1e-7)
        assert motion(windows) == motion([frames])
    assert flicker([]) is None
    assert motion([]) is None


def test_one_decode_serves_both(tmp_path: Path) -> None:
    clips.write_mp4(np.stack([noise()[:64, :64]] * 4), 8, tmp_path / "still.mp4")
    samples, before = [sample(tmp_path / "still.mp4")], CACHE.decodes
    one, other = Flicker(), Motion()
    one.measure(samples)
    other.measure(samples)
    assert CACHE.decodes - before == 1
    one.close()
    other.close()
