"""From frames to what an image encoder reads, with torch alone: resize, centre crop, normalise.

The steps and their rounding are torchvision's and Pillow's, which the published numbers were made with. VBench resizes tensors of
floating point numbers, without antialiasing and without rounding; CLIP's own preprocessing, and all that resizes images with Pillow,
antialiases and gives whole grey levels.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CHUNK = 8  # frames that are resized at once: their full size in 32 bits is what takes memory


@dataclass(frozen=True)
class Transform:
    """The short side is resized, the aspect ratio kept.

    Attributes:
        size: pixels of the short side.
        mode: of the interpolation.
        antialias: as Pillow does; off as VBench does.
        crop: the middle of the long side, to a square.
        mean: of each channel, of values in 0..1.
        std: the same.
        whole: whether resized pixels are whole grey levels in 0..255, as those of an image are. A tensor's are left as they come, and
            bicubic interpolation gives some beyond that range.
        cropped: pixels a side of the square that is cut out; None for `size`.
    """

    size: int
    mode: Literal["bicubic", "bilinear"]
    antialias: bool
    crop: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    whole: bool = True
    cropped: int | None = None

    def __call__(self, images: np.ndarray) -> torch.Tensor:
        """Frames, uint8 (n, H, W, 3), as float32 (n, 3, h, w)."""
        return torch.cat([self._some(images[start : start + _CHUNK]) for start in range(0, len(images), _CHUNK)])

    def of_size(self, size: int) -> "Transform":
        """The same for another short side."""
        return replace(self, size=size)

    def _some(self, images: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
        height, width = resized(pixels.shape[2], pixels.shape[3], self.size)
        if (height, width) != tuple(pixels.shape[2:]):
            # Pillow resizes, and rounds, one direction after the other.
            steps = [(pixels.shape[2], width), (height, width)] if self.antialias else [(height, width)]
            for step in steps:
                pixels = torch.nn.functional.interpolate(
                    pixels, step, mode=self.mode, align_corners=False, antialias=self.antialias
                )
                pixels = pixels.clamp(0, 255).round() if self.whole else pixels
        if self.crop:
            side = self.cropped or self.size
            top, left = round((height - side) / 2), round((width - side) / 2)
            pixels = pixels[:, :, top : top + side, left : left + side]
        mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (self.mean, self.std))
        return (pixels / 255 - mean) / std


def resized(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width when the short side becomes `size`; the long side is cut to a whole number."""
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


# VBench, `vbench/utils.py`: clip_transform, dino_transform (720 x 480 becomes 336 x 224, uncropped), of load_video's float32 tensor.
CLIP_OF_VBENCH = Transform(224, "bicubic", False, True, OPENAI_MEAN, OPENAI_STD, whole=False)
DINO_OF_VBENCH = Transform(224, "bilinear", False, False, IMAGENET_MEAN, IMAGENET_STD, whole=False)
# VBench-Long, `vbench2_beta_long/utils.py`: dinov2_transform, whose resizing is torchvision's default of 0.17 and later.
DINO2_OF_VBENCH = Transform(256, "bicubic", True, True, IMAGENET_MEAN, IMAGENET_STD, whole=False, cropped=224)
# openai/CLIP, `clip/clip.py`, and transformers' CLIPImageProcessor: images of Pillow.
CLIP = Transform(224, "bicubic", True, True, OPENAI_MEAN, OPENAI_STD)
