"""How beautiful frames are by LAION's aesthetic predictors: a linear function of CLIP's image embedding."""

import json
import math
import pickle
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from vpo.errors import UserError
from vpo.records import Clip
from vpo.reward.scoring import Result, result_of, scored, unreadable
from vpo.video.clips import ClipError
from vpo.video.features import ClipEncoder, unit
from vpo.video.frames import FrameReader
from vpo.video.models import Place
from vpo.video.transforms import CLIP, CLIP_OF_VBENCH

V1 = "sa_0_4_vit_l_14_linear.json"  # in vpo/reward/heads, LAION-AI/aesthetic-predictor, MIT
TRANSFORMS = {"clip": CLIP, "vbench": CLIP_OF_VBENCH}


class AestheticReward:
    """The mean over frames of w . x + b, where x is a frame's CLIP embedding of length 1.

    Version 1 (LAION-AI/aesthetic-predictor) is one linear layer. The released version 2 (christophschuhmann/
    improved-aesthetic-predictor) is five of them without activations, which are one linear function. Their scores are not
    interchangeable: a threshold of one says nothing of the other.

    Args:
        path: hub id or folder of the CLIP ViT-L/14 that the head was trained on.
        revision: commit of the hub; None for a folder.
        head: file of the head, JSON (weight, bias) or a state dict (.pth, .safetensors); None is version 1, which vpo carries.
        frames: which ones, as in `vpo.video.selection`.
        transform: "clip" as the predictors do, "vbench" without antialiasing as VBench does.
        dtype: of the weights.
        device: "cpu", "gpu" or "cuda".
        batch_size: clips that are scored at once.
    """

    def __init__(
        self, path: str, revision: str | None, head: str | None, frames: str, transform: str, dtype: str, device: str,
        batch_size: int,
    ) -> None:  # fmt: skip
        if transform not in TRANSFORMS:
            raise UserError(f"reward.transform={transform} is unknown; choose one of {', '.join(TRANSFORMS)}")
        self.path, self.frames, self.transform, self.batch_size = path, frames, transform, batch_size
        self.head = "LAION v1 (sa_0_4_vit_l_14_linear)" if head is None else Path(head).name
        self.weight, self.bias = read_head(head)
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
            "head": self.head,
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
        if images.shape[1] != len(self.weight):
            raise UserError(
                f"reward.head: it reads embeddings of {len(self.weight)} numbers, and reward.path={self.path} makes "
                f"{images.shape[1]}; give the CLIP that it was trained on (ViT-L/14)"
            )
        return float((unit(images.double()) @ self.weight + self.bias).mean())


def read_head(path: str | None) -> tuple[torch.Tensor, float]:
    """Weight, float64 (d,), and bias of a head. Raises UserError where the file is none.

    Linear layers without activations in between are multiplied: W = W_n .. W_1, b = W_n .. W_2 b_1 + .. + b_n.
    """
    if path is None:
        packed = json.loads(resources.files("vpo.reward").joinpath("heads", V1).read_text(encoding="utf-8"))
        return torch.tensor(packed["weight"], dtype=torch.float64), float(packed["bias"])
    where = f"reward.head={path}"
    try:
        layers = _layers(Path(path).expanduser())
        weight, bias = layers[0]
        for matrix, offset in layers[1:]:
            weight, bias = matrix @ weight, matrix @ bias + offset
    except (OSError, ValueError, KeyError, IndexError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        raise UserError(f"{where}: is no aesthetic head ({' '.join(str(error).split())[:160]}); {_CURE}") from error
    if weight.shape[0] != 1 or not math.isfinite(float(weight.abs().sum() + bias.abs().sum())):
        raise UserError(f"{where}: it gives {weight.shape[0]} numbers, and a head gives one that is finite; {_CURE}")
    return weight[0], float(bias[0])


_CURE = "give LAION's JSON or .pth, or leave reward.head out for version 1"


def _layers(path: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(weight (out, in), bias (out,)) of each linear layer in order, float64."""
    if path.suffix == ".json":
        packed = json.loads(path.read_text(encoding="utf-8"))
        state = {"0.weight": torch.tensor([packed["weight"]]), "0.bias": torch.tensor([packed["bias"]])}
    elif path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    names = sorted((name for name in state if name.endswith("weight")), key=_number)
    return [(state[one].double(), state[one.removesuffix("weight") + "bias"].double()) for one in names]


def _number(name: str) -> int:
    """The number of a layer in a Sequential: 4 of `layers.4.weight`."""
    digits = [part for part in name.split(".") if part.isdigit()]
    return int(digits[-1]) if digits else 0
