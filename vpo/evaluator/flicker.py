"""Temporal flickering as VBench measures it, for any clip; no weights."""

from collections.abc import Iterable

import numpy as np

from vpo.assets.models import NO_MODEL, OF_VPO
from vpo.cards import SHARE, EvaluatorCard, Metric
from vpo.evaluator.pixels import PixelEvaluator


class Flicker(PixelEvaluator):
    """Metric `flicker`: (255 - mean |I_t - I_{t+1}|) / 255 over pixels, channels and consecutive frames; 1 is a still
    picture.

    VBench, arXiv 2311.17982, dimension `temporal_flickering`, without its RAFT filter for static videos: here motion
    counts as flicker, too, so the metric is to be read beside `motion`.
    """

    name = "flicker"
    card = EvaluatorCard(
        name="flicker",
        version="1",
        about="VBench's temporal flickering (arXiv 2311.17982), of all clips and not of static ones alone",
        model=NO_MODEL,
        licence=OF_VPO,
        needs=frozenset({"clips"}),
        metrics=(
            # Higher is steadier, but a frozen clip has 100, so nobody wins by it.
            Metric(
                "flicker", "Flicker-free", unit="%", scale=100.0, decimals=2, range=SHARE,
                about="steadiness from frame to frame; see motion",
            ),
        ),
    )  # fmt: skip

    def of_frames(self, windows: Iterable[np.ndarray]) -> float | None:
        return flicker(windows)


def flicker(windows: Iterable[np.ndarray]) -> float | None:
    """The value of a clip's frames, which come in windows (n, H, W, 3) in 0..255; None for fewer than two frames."""
    total, steps = 0.0, 0
    last: np.ndarray | None = None
    for window in windows:
        frames = window.astype(np.float32) if last is None else np.concatenate([last, window.astype(np.float32)])
        total += float(np.abs(np.diff(frames, axis=0)).mean((1, 2, 3), dtype=np.float64).sum())
        steps += len(frames) - 1
        last = frames[-1:]
    return (255 - total / steps) / 255 if steps else None
