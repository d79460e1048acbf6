"""What evaluators of pixels do alike: one number of all frames of a clip, which come in windows."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vpo.cards import mean_over_clips
from vpo.records import Clip, Failure, Sample
from vpo.video.clips import ClipError
from vpo.video.frames import FrameReader


class PixelEvaluator:
    """One metric, `name`, of a clip's frames; a subclass has the card and computes it."""

    name: str
    shares_frames = True  # measured with others that do, so that a clip is decoded once (vpo.stages.together)

    def __init__(self) -> None:
        self.reader = FrameReader("all")

    def of_frames(self, windows: Iterable[np.ndarray]) -> float | None:
        """The value of frames, which come in windows (n, H, W, 3) in 0..255; None where they are too few."""
        raise NotImplementedError

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """{name: value} a sample, the mean over its clips; None where none could be read; left out where there is none."""
        return [mean_over_clips([{self.name: self._of(clip)} for clip in one.clips]) for one in samples]

    def close(self) -> None:
        """Free the frames."""
        self.reader.close()

    def _of(self, clip: Clip | Failure) -> float | None:
        if isinstance(clip, Failure):
            return None
        try:
            return self.of_frames(window.images for window in self.reader.windows(clip.path))
        except ClipError:
            return None
