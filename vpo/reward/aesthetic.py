"""How beautiful frames are by LAION's aesthetic predictors: a linear function of CLIP's image embedding."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vpo.errors import UserError
from vpo.records import Clip
from vpo.reward.scoring import Result, result_of, scored, unreadable
from vpo.video.aesthetic_head import read_head
from vpo.video.clips import ClipError
from vpo.video.features import ClipEncoder, unit
from vpo.video.frames import FrameReader
from vpo.video.models import Place
from vpo.video.transforms import CLIP, CLIP_OF_VBENCH

TRANSFORMS = {"clip": CLIP, "vbench": CLIP_OF_VBENCH}


class AestheticReward:
    """The mean over frames of w . x + b, where x is a frame's CLIP embedding of length 1.

    Version 1 (LAION-AI/aesthetic-predictor) is one linear layer. The released version 2 (christophschuhmann/
    improved-aesthetic-predictor) is five of them without activations, which are one linear function. Their scores are not
    interchangeable: a threshold of one says nothing of the other.

    Args:
        path: hub id or folder of the CLIP ViT-L/14 that the head was trained on.
        revision: commit of the hub; None for a folder.
        head: file of the head, JSON (weight, bias) or a state dict (.pth, .safetensors), or an asset that holds `head.json`.
        frames: which ones, as in `vpo.video.selection`.
        transform: "clip" as the predictors do, "vbench" without antialiasing as VBench does.
        dtype: of the weights.
        device: "cpu", "gpu" or "cuda".
        batch_size: clips that are scored at once.
    """

    shares_frames = True  # scores clips beside evaluators that do, so that a clip is decoded once (vpo.stages.together)

    def __init__(
        self, path: str, revision: str | None, head: str, frames: str, transform: str, dtype: str, device: str,
        batch_size: int,
    ) -> None:  # fmt: skip
        if transform not in TRANSFORMS:
            raise UserError(f"reward.transform={transform} is unknown; choose one of {', '.join(TRANSFORMS)}")
        self.path, self.frames, self.transform, self.batch_size = path, frames, transform, batch_size
        self.head = head
        self._linear: tuple[torch.Tensor, float] | None = None
        self.reader = FrameReader(frames, "reward.frames")
        self.encoder = ClipEncoder(Place(path, revision, dtype, device), "reward.path", TRANSFORMS[transform])

    def score(self, clips: Sequence[Clip]) -> list[Result]:
        """One score a clip; a Failure where it cannot be read."""
        return scored(clips, self._scored)

    def card(self) -> Mapping[str, Any]:
        """What the numbers depend on."""
        return {
            "name": "aesthetic",
            "model": self.path,
            "head": Path(self.head).name,
            "score": "mean of the frames' scores",
            "scale": "about 1 to 10, of most pictures 4 to 7; VBench divides by 10; versions 1 and 2 differ in scale",
            "better": "higher",
            "text": "none: the query is not read",
            "frames": self.frames,
            "transform": self.transform,
            "licence": "head v1: MIT (LAION-AI/aesthetic-predictor), v2: Apache-2.0; CLIP: MIT",
            "cannot_see": "motion, flicker, the query, whether anything is right; it prefers paintings and photographs that people "
            "rated high, and what lies outside of the middle square is not seen",
            "source": "LAION-AI/aesthetic-predictor at 6d122ad",
        }

    def close(self) -> None:
        """Free model and frames."""
        self.encoder.close()
        self.reader.close()

    def _scored(self, clips: list[Clip]) -> list[Result]:
        found = self.encoder.images([clip.path for clip in clips], self.reader)
        return [
            unreadable(images) if isinstance(images, ClipError) else result_of(clip, self._mean(images))
            for clip, images in zip(clips, found, strict=True)
        ]

    def _mean(self, images: torch.Tensor) -> float:
        if self._linear is None:
            self._linear = read_head(self.head)
        weight, bias = self._linear
        if images.shape[1] != len(weight):
            raise UserError(
                f"reward.head: it reads embeddings of {len(weight)} numbers, and reward.path={self.path} makes "
                f"{images.shape[1]}; give the CLIP that it was trained on (ViT-L/14)"
            )
        return float((unit(images.double()) @ weight + bias).mean())
