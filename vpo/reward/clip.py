"""How near a clip is to its query by a CLIP: the mean cosine over frames."""

from collections.abc import Mapping, Sequence
from typing import Any

from vpo.records import Clip
from vpo.reward.scoring import Result, result_of, scored, unreadable
from vpo.video.clips import ClipError
from vpo.video.features import ClipEncoder, mean_cosine
from vpo.video.frames import FrameReader
from vpo.video.models import Place


class ClipReward:
    """The mean over frames of the cosine of image and query embeddings by a CLIP (Radford et al., arXiv 2103.00020).

    Args:
        path: hub id or folder of a CLIP in transformers' format, of any size.
        revision: commit of the hub; None for a folder.
        frames: which ones, as in `vpo.video.selection`.
        dtype: of the weights.
        device: "cpu", "gpu" or "cuda".
        batch_size: clips that are scored at once.
    """

    shares_frames = True  # scores clips beside evaluators that do, so that a clip is decoded once (vpo.stages.together)

    def __init__(self, path: str, revision: str | None, frames: str, dtype: str, device: str, batch_size: int) -> None:
        self.name, self.batch_size, self.frames = path, batch_size, frames
        self.reader = FrameReader(frames, "reward.frames")
        self.encoder = ClipEncoder(Place(path, revision, dtype, device), "reward.path")

    def score(self, clips: Sequence[Clip]) -> list[Result]:
        """One score a clip; a Failure where it cannot be read."""
        return scored(clips, self._scored)

    def card(self) -> Mapping[str, Any]:
        """What the numbers depend on."""
        return {
            "name": "clip",
            "model": self.name,
            "score": "mean cosine of frames and query",
            "scale": "-1 to 1; of real CLIPs about 0.15 to 0.35, so compare, and read no absolute meaning",
            "better": "higher",
            "text": "the original query, its first 77 tokens",
            "frames": self.frames,
            "transform": "short side by bicubic with antialiasing, centre crop: what lies outside of the middle square is not seen",
            "licence": "MIT (openai/CLIP); of another path its own",
            "cannot_see": "motion, order and sound; counts, relations and negations hardly; queries beyond 77 tokens; other languages "
            "than English hardly",
            "source": "arXiv 2103.00020",
        }

    def close(self) -> None:
        """Free model and frames."""
        self.encoder.close()
        self.reader.close()

    def _scored(self, clips: list[Clip]) -> list[Result]:
        found = self.encoder.images([clip.path for clip in clips], self.reader)
        texts = self.encoder.texts([clip.query for clip in clips])
        return [
            unreadable(images) if isinstance(images, ClipError) else result_of(clip, mean_cosine(images, text))
            for clip, images, text in zip(clips, found, texts, strict=True)
        ]
