"""What a vision-language model behind an engine is shown of a clip: some of its frames as pictures."""

from dataclasses import dataclass
from pathlib import Path

from vpo.errors import UserError
from vpo.video.clips import ClipError, check
from vpo.video.frames import FrameReader
from vpo.video.jpegs import check_quality, jpeg_urls
from vpo.video.vlm import FrameError


@dataclass(frozen=True)
class Shown:
    """How clips are shown; a part of the node of an evaluator that asks a vision-language model.

    Attributes:
        frames: which ones; see `vpo.video.selection`.
        min_pixels, max_pixels: of a frame as it is sent.
        quality: of the JPEGs, up to 100.
    """

    frames: str
    min_pixels: int
    max_pixels: int
    quality: int

    def __post_init__(self) -> None:
        check_quality(self.quality, "evaluator.shown.quality")
        if not 0 < self.min_pixels <= self.max_pixels:
            raise UserError(
                f"evaluator.shown: min_pixels={self.min_pixels} must be above 0 and at most max_pixels={self.max_pixels}"
            )


class ClipPictures:
    """Reads the frames of clips, through the cache that all evaluators share, as pictures to send."""

    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self.reader = FrameReader(shown.frames, "evaluator.shown.frames")

    def of(self, path: str | Path) -> tuple[str, ...]:
        """The pictures of a clip, as data URLs. Raises ClipError where it cannot be read, or shows nothing."""
        found = self.reader.read(path)
        status = check(found.images)
        if status != "ok":
            raise ClipError(f"{path}: {status}")
        try:
            return jpeg_urls(found.images, self.shown.min_pixels, self.shown.max_pixels, self.shown.quality)
        except FrameError as error:
            raise ClipError(f"{path}: {error}") from error

    def close(self) -> None:
        """Free the frames."""
        self.reader.close()
