"""What a dimension is measured on: VBench takes a clip as it is, VBench-Long cuts it into segments.

Source: Vchitect/VBench at 45e79ec, `vbench2_beta_long/utils.py` and `configs/clip_length_mix.yaml`.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from vpo.cards import Weighted
from vpo.evaluator.vbench.dimensions import labels_of
from vpo.records import Query

SECONDS = 2  # of a segment
LONGER = dict.fromkeys(("human_action", "temporal_style", "overall_consistency"), 10)  # of a prompt of these


class Cut(Protocol):
    """How a clip is cut, and how the values of its parts become one."""

    def spans(self, query: Query, count: int, rate: Callable[[], float]) -> list[range]:
        """The parts of a clip of `count` frames by their frames; `rate` tells its frames a second."""
        ...

    def rate(self, fps: float) -> float:
        """Frames a second of a part, as the code that measures it reads them."""
        ...

    def pooled(self, values: Sequence[Weighted]) -> Weighted:
        """A clip's value from those of one part or more."""
        ...


class Whole:
    """VBench: one part, which is the clip, with the weight that the formula gives it."""

    def spans(self, query: Query, count: int, rate: Callable[[], float]) -> list[range]:
        """The whole clip."""
        return [range(count)]

    def rate(self, fps: float) -> float:
        """The clip's own."""
        return fps

    def pooled(self, values: Sequence[Weighted]) -> Weighted:
        """The only value."""
        (only,) = values
        return only


class Segments:
    """VBench-Long: segments of 2 s (of 10 s for a prompt of the suite that a dimension with models of longer clips measures, too)."""

    def spans(self, query: Query, count: int, rate: Callable[[], float]) -> list[range]:
        """By `segments`."""
        seconds = max(LONGER.get(name, SECONDS) for name in labels_of(query) or [""])
        return segments(count, rate(), seconds)

    def rate(self, fps: float) -> float:
        """Whole frames, with which segments are written."""
        return whole_rate(fps)

    def pooled(self, values: Sequence[Weighted]) -> Weighted:
        """The mean, with the number of segments as its weight.

        `reorganize_clips_results` means to average over a clip first, but names each segment by a path of its own: what it returns is
        the mean over all segments of all clips.
        """
        return Weighted(sum(one.value for one in values) / len(values), len(values))


def segments(count: int, fps: float, seconds: int) -> list[range]:
    """Parts of int(fps) x seconds frames (`split_video_into_clips`). The last is as long as the others, and shares frames with one.

    A clip that is shorter than a part is one. Upstream writes each part to a file of its own, which changes its pixels a little.

    Args:
        count: T, the frames of the clip.
        fps: frames a second.
        seconds: of a part.
    """
    length = whole_rate(fps) * seconds
    if count < length:
        return [range(count)]
    starts = [*range(0, count - length + 1, length), *([count - length] if count % length else [])]
    return [range(start, start + length) for start in starts]


def whole_rate(fps: float) -> int:
    """int(fps), at least 1; what is less than half a thousandth below a whole number is taken for it, as a rate read from times is."""
    return max(1, int(round(fps, 3)))
