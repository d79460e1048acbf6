"""Clips that are measured, the parts of them on which a dimension looks, and what is found."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from vpo.cards import Weighted
from vpo.evaluator.vbench.segments import Cut
from vpo.records import Clip, Failure, Query
from vpo.video.clips import ClipError
from vpo.video.flow import TooSmall
from vpo.video.frames import FrameReader

TOO_SHORT = Failure("clip_too_short", "the dimension compares frames, and sees one alone")
NOT_FINITE = Failure("not_finite", "the model gives what is no number")


Found = TypeVar("Found")


@dataclass(frozen=True)
class Dropped:
    """A clip that a dimension leaves out, as VBench does: one that moves has no temporal flickering.

    Attributes:
        seen: whether it was looked at; five static clips of a prompt are enough.
    """

    seen: bool


Value = Weighted | Dropped | Failure


@dataclass(frozen=True)
class Job:
    """One clip, and what is found of it.

    Attributes:
        place: of its sample; clips of one sample are of one prompt.
        dimensions: that are measured on it.
        found: by dimension; weights are frames, steps between frames, or 1 for a clip, as VBench counts.
    """

    place: int
    query: Query
    clip: Clip
    dimensions: tuple[str, ...]
    found: dict[str, Value] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Of the file."""
        return Path(self.clip.path)

    @property
    def size(self) -> int:
        """Bytes of its frames."""
        return self.clip.frames * self.clip.height * self.clip.width * 3


class Parts:
    """The parts of clips and their frames, by VBench's way of cutting or VBench-Long's.

    Args:
        reader: of all frames.
        cut: how clips are cut, and how the values of parts become one.
    """

    def __init__(self, reader: FrameReader, cut: Cut) -> None:
        self.reader, self.cut = reader, cut

    def spans(self, job: Job) -> list[range]:
        """The parts on which a clip is measured, by their frames. Raises ClipError where it cannot be read."""
        return self.cut.spans(
            job.query, self.reader.count(job.path), lambda: job.clip.fps or self.reader.rate(job.path)
        )

    def pooled(self, values: Sequence[Value]) -> Value:
        """A clip's value; a Failure where a part has one, or a number is none, as of broken weights."""
        found = [one for one in values if isinstance(one, Weighted)]
        if len(found) < len(values):
            return next(one for one in values if not isinstance(one, Weighted))
        if not all(math.isfinite(one.value) for one in found):
            return NOT_FINITE
        return self.cut.pooled(found)

    def images(self, job: Job, chosen: set[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The chosen frames with their places, in order. Raises ClipError where the clip cannot be read."""
        for window in self.reader.windows(job.path, chosen):
            yield from zip(window.indices, window.images, strict=True)

    def settled(self, job: Job, work: Callable[[], Found]) -> Found:
        """What some work on a clip gives; once more where, when it was read, it had other frames than its index had named.

        Raises ClipError where it cannot be read.
        """
        count = self.reader.count(job.path)
        try:
            found = work()
        except ClipError:
            if self.reader.count(job.path) == count:
                raise
            return work()
        return found if self.reader.count(job.path) == count else work()

    def images_at(self, job: Job, chosen: set[int]) -> dict[int, np.ndarray]:
        """The chosen frames at once. Raises ClipError where the clip cannot be read, or has not all of them."""
        found = dict(self.images(job, chosen))
        if len(found) < len(chosen):
            raise ClipError(f"{job.path}: has fewer frames than its index names")
        return found


def failure_of(error: Exception) -> Failure:
    """Of a clip that cannot be read, or whose pictures are too small."""
    return Failure("clip_too_small" if isinstance(error, TooSmall) else "unreadable", str(error))
