"""Temporal flickering as VBench measures it, for any clip; no weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vpo.cards import EvaluatorCard, Metric
from vpo.records import Clip, Failure, Sample
from vpo.video import clips


class Flicker:
    """Metric `flicker`: (255 - mean |I_t - I_{t+1}|) / 255 over pixels, channels and consecutive frames; 1 is a still
    picture.

    VBench, arXiv 2311.17982, dimension `temporal_flickering`, without its RAFT filter for static videos: here motion
    counts as flicker, too, so the metric is to be read beside `motion`.
    """

    card = EvaluatorCard(
        name="flicker",
        version="1",
        about="VBench's temporal flickering (arXiv 2311.17982), of all clips and not of static ones alone",
        needs=frozenset({"clips"}),
        metrics=(
            # Higher is steadier, but a frozen clip has 100, so nobody wins by it.
            Metric(
                "flicker", "Flicker-free", unit="%", scale=100.0, decimals=2,
                about="steadiness from frame to frame; see motion",
            ),
        ),
    )  # fmt: skip

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """{'flicker': value} a sample; None where the clip is unreadable or failed; left out where there is none."""
        return [{} if one.clip is None else {"flicker": _of(one.clip)} for one in samples]


def flicker(frames: np.ndarray) -> float | None:
    """The value of frames (T, H, W, 3) in 0..255; None for fewer than two frames."""
    if len(frames) < 2:
        return None
    steps = np.abs(np.diff(frames.astype(np.float32), axis=0))
    return float((255 - steps.mean()) / 255)


def _of(clip: Clip | Failure) -> float | None:
    if isinstance(clip, Failure):
        return None
    try:
        return flicker(clips.read_mp4(Path(clip.path))[0])
    except clips.ClipError:
        return None
