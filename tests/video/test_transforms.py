"""What encoders read, against numpy written from the definitions and against transformers' own processor on Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from vpo.video.transforms import CLIP, CLIP_OF_VBENCH, DINO_OF_VBENCH, IMAGENET_MEAN, IMAGENET_STD, resized


def pictures(height: int, width: int, count: int = 2) -> np.ndarray:
    """Noise in blocks of 3 pixels, uint8 (count, height, width, 3)."""
    small = np.random.default_rng(0).integers(0, 256, (count, height // 3 + 1, width // 3 + 1, 3), dtype=np.uint8)
    return np.repeat(np.repeat(small, 3, 1), 3, 2)[:, :height, :width]


def along(image: np.ndarray, axis: int, size: int, kernel) -> np.ndarray:
    """Sampled at the centres of `size` equal parts with a kernel of support 2, edges repeated: no antialiasing."""
    image = np.moveaxis(image, axis, 0)
    length = len(image)
    rows = []
    for place in range(size):
        centre = (place + 0.5) * length / size - 0.5
        first = int(np.floor(centre)) - 1
        taps = [(kernel(abs(centre - tap)), min(max(tap, 0), length - 1)) for tap in range(first, first + 4)]
        rows.append(sum(weight * image[tap] for weight, tap in taps))
    return np.moveaxis(np.stack(rows), 0, axis)


def cubic(x: float, a: float = -0.75) -> float:
    """Keys' kernel as OpenCV and torch have it."""
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def linear(x: float) -> float:
    return max(0.0, 1 - x)


def grey_levels(pixels: torch.Tensor, transform) -> np.ndarray:
    """Undo the normalisation: (n, 3, h, w) to (n, h, w, 3) in 0..255."""
    back = pixels.permute(0, 2, 3, 1).numpy() * np.array(transform.std) + np.array(transform.mean)
    return back * 255


@pytest.mark.parametrize(("height", "width", "expected"), [(480, 720, (224, 336)), (720, 480, (336, 224)), (480, 848, (224, 395)),
                                                           (224, 224, (224, 224)), (100, 150, (224, 336))])  # fmt: skip
def test_the_short_side_is_224(height: int, width: int, expected: tuple[int, int]) -> None:
    assert resized(height, width, 224) == expected


def test_clip_of_vbench_is_cubic_without_antialiasing() -> None:
    images = pictures(90, 135)
    found = grey_levels(CLIP_OF_VBENCH.of_size(32)(images), CLIP_OF_VBENCH)
    whole = along(along(images.astype(float), 1, 32, cubic), 2, 48, cubic)  # 90 x 135 becomes 32 x 48
    expected = whole[:, :, 8:40]  # the middle 32 of 48
    assert found.shape == (2, 32, 32, 3)
    # VBench resizes float32: nothing is rounded, and what the kernel overshoots stays.
    assert expected.min() < -1
    assert expected.max() > 256
    assert np.abs(found - expected).max() < 1e-3


def test_dino_of_vbench_is_linear_without_antialiasing_and_uncropped() -> None:
    images = pictures(90, 135)
    found = grey_levels(DINO_OF_VBENCH.of_size(32)(images), DINO_OF_VBENCH)
    expected = along(along(images.astype(float), 1, 32, linear), 2, 48, linear)
    assert found.shape == (2, 32, 48, 3)
    assert np.abs(found - expected).max() < 1e-3
    assert (DINO_OF_VBENCH.mean, DINO_OF_VBENCH.std) == (IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.parametrize(("height", "width"), [(480, 720), (270, 480), (301, 205), (100, 90)])
def test_clip_is_what_transformers_makes_with_pillow(height: int, width: int) -> None:
    images = pictures(height, width)
    processor = CLIPImageProcessorPil()
    assert processor.size["shortest_edge"] == 224
    expected = processor([Image.fromarray(one) for one in images], return_tensors="pt")["pixel_values"]
    found = CLIP(images)
    assert found.shape == expected.shape
    difference = np.abs(grey_levels(found, CLIP) - grey_levels(expected, CLIP))
    # Pillow rounds after each direction. A crop between two pixels may be put one pixel off.
    assert difference.mean() < 0.1, "a crop that is one pixel off differs by tens"
    assert difference.max() < 2.01


def test_antialiasing_matters() -> None:
    images = pictures(480, 720)
    assert (CLIP(images) - CLIP_OF_VBENCH(images)).abs().mean() > 0.1
