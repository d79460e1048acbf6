"""From frames to what the vision towers of vision-language models read: resize, normalise, patchify, with torch alone.

transformers' own video processors need torchvision. What they do stands in its `models/qwen2_vl/video_processing_qwen2_vl.py`,
`models/qwen3_vl/video_processing_qwen3_vl.py`, `models/internvl/video_processing_internvl.py`, `video_processing_utils.py`; the tests
compare with the image processors that read with PIL.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LONGEST_SIDES = 200  # a picture with sides of another ratio is refused, as in transformers


class FrameError(ValueError):
    """Frames that a model cannot read."""


@dataclass(frozen=True)
class Colours:
    """How a model's frames are normalised: (value / 255 - mean) / std, channel by channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """How a model of Qwen's cuts a clip.

    Attributes:
        patch: side of a patch in pixels.
        merge: patches along a side that become one token.
        frames: that stand behind one another in a patch.
        min_pixels, max_pixels: of a frame, after resizing.
    """

    patch: int
    merge: int
    frames: int
    min_pixels: int
    max_pixels: int

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width to which a frame is resized; see `smart_resize`."""
        return smart_resize(height, width, self.patch * self.merge, self.min_pixels, self.max_pixels)


def smart_resize(height: int, width: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """The multiples of `factor` nearest to a frame's sides, made smaller or larger in one ratio until the pixels are within bounds.

    Source: `smart_resize` of Qwen's `qwen-vl-utils` and of transformers, with Python's rounding of halves to even numbers.

    Raises:
        FrameError: One side is more than 200 times the other.
    """
    if max(height, width) > LONGEST_SIDES * min(height, width):
        raise FrameError(f"frames of {height}x{width}: one side is more than {LONGEST_SIDES} times the other")
    new_height, new_width = round(height / factor) * factor, round(width / factor) * factor
    if new_height * new_width > max_pixels:
        ratio = math.sqrt(height * width / max_pixels)
        return tuple(max(factor, math.floor(side / ratio / factor) * factor) for side in (height, width))  # type: ignore[return-value]
    if new_height * new_width < min_pixels:
        ratio = math.sqrt(min_pixels / (height * width))
        return tuple(math.ceil(side * ratio / factor) * factor for side in (height, width))  # type: ignore[return-value]
    return new_height, new_width


def resize(frames: np.ndarray | Tensor, height: int, width: int) -> Tensor:
    """Frames, uint8 (T, H, W, 3), resized by antialiased bicubic interpolation (a = -0.5) to uint8 (T, 3, height, width).

    In whole numbers and on the CPU, as PIL and torchvision do: rows are rounded and cut off at 0 and 255 before columns are
    computed, which floating point would not repeat.
    """
    images = torch.as_tensor(frames).permute(0, 3, 1, 2)
    if images.shape[-2:] == (height, width):
        return images
    return torch.nn.functional.interpolate(
        images, size=(height, width), mode="bicubic", antialias=True, align_corners=False
    )


def normalise(images: Tensor, colours: Colours) -> Tensor:
    """uint8 (T, 3, H, W) to float32 of the same shape."""
    mean, std = (torch.tensor(one, dtype=torch.float32).view(1, 3, 1, 1) * 255 for one in (colours.mean, colours.std))
    return (images.to(torch.float32) - mean) / std


def patchify(images: Tensor, grid: Grid) -> tuple[Tensor, tuple[int, int, int]]:
    """The patches of normalised frames, and how many there are along time, height and width.

    Args:
        images: float (T, 3, H, W), H and W multiples of `patch` * `merge`. The last frame is repeated until T is a multiple of
            `frames`.
        grid: how they are cut.

    Returns:
        (t * h * w, 3 * frames * patch * patch): the patches of one token stand together, tokens in the order of time, rows, columns;
        within a patch channel, frame, row, column. And (t, h, w).
    """
    short = -len(images) % grid.frames
    if short:
        images = torch.cat([images, images[-1:].expand(short, -1, -1, -1)])
    count, channels, height, width = images.shape
    t, h, w = count // grid.frames, height // grid.patch, width // grid.patch
    cut = images.reshape(
        t, grid.frames, channels, h // grid.merge, grid.merge, grid.patch, w // grid.merge, grid.merge, grid.patch
    )  # fmt: skip
    cut = cut.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    return cut.reshape(t * h * w, channels * grid.frames * grid.patch * grid.patch), (t, h, w)


def patches(frames: np.ndarray, grid: Grid, colours: Colours) -> tuple[Tensor, tuple[int, int, int]]:
    """What a vision tower of Qwen's reads of frames, uint8 (T, H, W, 3): see `patchify`. Raises FrameError as `smart_resize`."""
    height, width = grid.size(*frames.shape[1:3])
    return patchify(normalise(resize(frames, height, width), colours), grid)


def pictures(frames: np.ndarray, size: tuple[int, int], colours: Colours) -> Tensor:
    """What a vision tower of one size reads of frames, uint8 (T, H, W, 3): float32 (T, 3, height, width), whatever their ratio."""
    return normalise(resize(frames, *size), colours)


def seconds_of_patches(times: Sequence[float], frames: int) -> list[float]:
    """When the patches of a clip are shown: of each the mean of its first and last frame's time, in seconds.

    Args:
        times: of the frames that are read; the last one is repeated until they are a multiple of `frames`.
        frames: in a patch.
    """
    padded = [*times, *[times[-1]] * (-len(times) % frames)]
    return [(padded[start] + padded[start + frames - 1]) / 2 for start in range(0, len(padded), frames)]
