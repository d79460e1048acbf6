"""How much moves in a clip, for any clip; no weights."""

import itertools
import math
from collections.abc import Iterable

import numpy as np

from vpo.assets.models import NO_MODEL, OF_VPO
from vpo.cards import EvaluatorCard, Metric
from vpo.evaluator.pixels import PixelEvaluator

_SIDE = 64  # clips are compared at this height and width, so that a pixel means the same for all
_BLOCK = 8  # pixels a side of a block
_SEARCH = 4  # pixels, the largest displacement looked for, each way
_STEPS = sorted(itertools.product(range(-_SEARCH, _SEARCH + 1), repeat=2), key=lambda step: math.hypot(*step))
_NOISE = 3.0  # grey levels by which a displacement must beat standing still; below it is codec noise


class Motion(PixelEvaluator):
    """Metric `motion`: the mean displacement between consecutive frames in pixels of a 64 x 64 picture; 0 is a frozen
    clip.

    A small stand-in for optical flow as in VBench's `dynamic_degree`: exhaustive matching of 8 x 8 blocks within 4
    pixels.
    """

    name = "motion"
    card = EvaluatorCard(
        name="motion",
        version="1",
        about="block matching; a stand-in for optical flow",
        model=NO_MODEL,
        licence=OF_VPO,
        needs=frozenset({"clips"}),
        metrics=(
            Metric(
                "motion", "Motion", unit="px", decimals=2, range=(0.0, math.hypot(_SEARCH, _SEARCH)),
                about="pixels moved a frame, of 64; a frozen clip has 0",
            ),
        ),
    )  # fmt: skip

    def of_frames(self, windows: Iterable[np.ndarray]) -> float | None:
        return motion(windows)


def motion(windows: Iterable[np.ndarray]) -> float | None:
    """Mean length in pixels of the blocks' displacements over consecutive frames; None for fewer than two.

    The frames come in windows, (n, H, W, 3).

    A block stands still unless another place matches it better by more than the noise of a codec, so flat areas and
    frozen clips count 0.
    """
    grey = [_small_grey(window) for window in windows]
    if sum(map(len, grey)) < 2:
        return None
    return float(_displacements(np.concatenate(grey)).mean())


def _small_grey(frames: np.ndarray) -> np.ndarray:
    """Grey levels, float32 (T, 64, 64), by the nearest pixels."""
    rows, columns = (((np.arange(_SIDE) + 0.5) * side / _SIDE).astype(int) for side in frames.shape[1:3])
    grey: np.ndarray = frames[:, rows][:, :, columns].astype(np.float32).mean(-1)
    return grey


def _displacements(grey: np.ndarray) -> np.ndarray:
    """Length of the displacement of each inner block from frame to frame, pixels, (T - 1, n, n). grey: (T, 64, 64)."""
    low, high = _BLOCK, _SIDE - _BLOCK
    n = (high - low) // _BLOCK
    inner = grey[:-1, low:high, low:high]
    costs = np.stack(
        [
            np.abs(grey[1:, low + dy : high + dy, low + dx : high + dx] - inner)
            .reshape(len(inner), n, _BLOCK, n, _BLOCK)
            .mean((2, 4))
            for dy, dx in _STEPS
        ]
    )  # (n_steps, T - 1, n, n); of equal costs the shortest step wins, the first of which stands still
    moved = costs[0] - costs.min(0) > _NOISE
    lengths: np.ndarray = np.hypot(*np.array(_STEPS).T)[costs.argmin(0)] * moved
    return lengths
