"""Dimensions that compare frames as pictures or by optical flow: steadiness, the static filter, dynamic degree."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from vpo.cards import Weighted
from vpo.evaluator.vbench import formulas
from vpo.evaluator.vbench.jobs import NOT_FINITE, TOO_SHORT, Dropped, Job, Parts, Value, failure_of
from vpo.records import Failure
from vpo.video.clips import ClipError
from vpo.video.flow import Raft, TooSmall
from vpo.workers.vbench.totals import CLIPS


class Motion:
    """What moves, and what flickers.

    Args:
        parts: of clips.
        flow: RAFT, which steadiness alone does not need.
    """

    def __init__(self, parts: Parts, flow: Raft) -> None:
        self.parts, self.flow = parts, flow
        self._accepted: Counter[int] = Counter()  # static clips, or segments, by sample

    def begin(self) -> None:
        """Other samples follow."""
        self._accepted.clear()

    def steadiness(self, job: Job) -> Value:
        """How little the picture changes from frame to frame."""
        try:
            steps = self._steps(job)
            spans = self.parts.spans(job)
        except ClipError as error:
            return failure_of(error)
        return self.parts.pooled([_steady(steps, span) for span in spans])

    def temporal_flickering(self, job: Job) -> Value:
        """Of the first five clips of each prompt that are static (of VBench-Long: segments)."""
        wanted = CLIPS - self._accepted[job.place]
        if wanted <= 0:
            return Dropped(seen=False)
        try:
            if any(len(span) < 2 for span in self.parts.spans(job)):
                return TOO_SHORT  # which VBench's filter drops as one that moves
            static = self.parts.settled(job, lambda: self._static(job))
            if not isinstance(static, list):
                return static
            if not static:
                return Dropped(seen=True)
            steps = self._steps(job)
        except (ClipError, TooSmall) as error:
            return failure_of(error)
        value = self.parts.pooled([_steady(steps, span) for span in static[:wanted]])
        if not isinstance(value, Weighted):
            return value
        self._accepted[job.place] += len(static[:wanted])
        return Weighted(value.value, 1)  # clips count alike, here of VBench-Long, too

    def _static(self, job: Job) -> list[range] | Failure:
        """The parts of a clip that the static filter accepts."""
        spans = self.parts.spans(job)
        pairs = [pair for span in spans for pair in (*pairwise(span), (span[0], span[-1]), (span[-1], span[0]))]
        speeds = self._speeds(job, pairs, formulas.STATIC_TOP)
        if not all(map(math.isfinite, speeds)):
            return NOT_FINITE
        found, start = [], 0
        for span in spans:
            *own, there, back = speeds[start : start + len(span) + 1]
            start += len(span) + 1
            if formulas.is_static(own, there, back, job.clip.height, job.clip.width):
                found.append(span)
        return found

    def dynamic_degree(self, job: Job) -> Value:
        """1 for a clip that moves, 0 for one that does not; of segments, the share of those that move."""
        try:
            sampled, speeds = self.parts.settled(job, lambda: self._sampled_speeds(job))
        except (ClipError, TooSmall) as error:
            return failure_of(error)
        if any(len(one) < 2 for one in sampled):
            return TOO_SHORT  # which VBench counts as one that does not move
        if not all(map(math.isfinite, speeds)):
            return NOT_FINITE
        found: list[Value] = []
        for one in sampled:
            own, speeds = speeds[: len(one) - 1], speeds[len(one) - 1 :]
            found.append(Weighted(float(formulas.is_dynamic(own, job.clip.height, job.clip.width)), 1))
        return self.parts.pooled(found)

    def _sampled_speeds(self, job: Job) -> tuple[list[list[int]], list[float]]:
        """Which frames of each part dynamic degree looks at, and the top speed from each of them to the next."""
        rate = self.parts.cut.rate(job.clip.fps or self.parts.reader.rate(job.path))
        sampled = [[span[place] for place in formulas.sampled(len(span), rate)] for span in self.parts.spans(job)]
        pairs = [pair for one in sampled for pair in pairwise(one)]
        return sampled, self._speeds(job, pairs, formulas.DYNAMIC_TOP)

    def _steps(self, job: Job) -> list[float]:
        """How much the picture changes from each frame to the next. Raises ClipError where the clip cannot be read."""
        return formulas.changes(window.images for window in self.parts.reader.windows(job.path))

    def _speeds(self, job: Job, pairs: Sequence[tuple[int, int]], share: float) -> list[float]:
        """The top speed from one frame to another, of each pair; the clip is read once, and frames are held while they are needed.

        Raises:
            ClipError: The clip cannot be read.
            TooSmall: Its pictures are too small for the model.
        """
        found = [math.nan] * len(pairs)
        complete: dict[int, list[int]] = {}  # by the frame with which a pair is there
        needed: dict[int, int] = {}  # of each frame, the last one that it is compared with
        for number, pair in enumerate(pairs):
            complete.setdefault(max(pair), []).append(number)
            for one in pair:
                needed[one] = max(needed.get(one, 0), *pair)
        held: dict[int, np.ndarray] = {}
        waiting: list[tuple[int, tuple[np.ndarray, np.ndarray]]] = []

        def measure() -> None:
            if waiting:
                numbers, images = zip(*waiting, strict=True)
                top = [speed for flow in self.flow.flows(images) for speed in formulas.top_speed(flow, share)]
                for number, speed in zip(numbers, top, strict=True):
                    found[number] = speed
                waiting.clear()

        for place, image in self.parts.images(job, set(needed)):
            held[place] = image
            for number in complete.get(place, ()):
                first, second = pairs[number]
                waiting.append((number, (held[first], held[second])))
                if len(waiting) == self.flow.batch_size:
                    measure()
            held = {one: picture for one, picture in held.items() if needed[one] > place}
        measure()
        return found


def _steady(steps: Sequence[float], span: range) -> Value:
    """Of the steps inside of a part."""
    value = formulas.steadiness(steps[span.start : span.stop - 1])
    return TOO_SHORT if value is None else Weighted(value, 1)
