"""Frames for vision-language models, against the image processors of transformers that read with PIL, and by hand."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import GotOcr2ImageProcessorPil, LlavaOnevisionImageProcessorPil, Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as theirs
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as theirs_of_clips

from vpo.video.vlm import (
    Colours,
    FrameError,
    Grid,
    normalise,
    patches,
    patchify,
    pictures,
    resize,
    seconds_of_patches,
    smart_resize,
)

CLIP = Colours((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
GRID = Grid(patch=14, merge=2, frames=2, min_pixels=56 * 56, max_pixels=112 * 112)
SIDES = [(480, 720), (720, 480), (33, 47), (28, 28), (13, 900), (1080, 1920), (42, 70), (70, 98), (5, 5)]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Shapes with sharp edges, a slope and some noise, uint8 (height, width, 3)."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).integers(0, 40, (height, width, 3))
    slope = np.stack([rows * 180 // height, columns * 180 // width, (rows + columns) % 90 * 2], -1)
    slope[height // 4 : height // 2, width // 3 : width // 2] = 200
    return np.clip(slope + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), SIDES)
@pytest.mark.parametrize("bounds", [(3136, 12845056), (128 * 784, 768 * 784), (3136, 10000)])
def test_sizes_are_those_of_transformers(height, width, bounds):
    assert smart_resize(height, width, 28, *bounds) == theirs(height, width, 28, *bounds)


@pytest.mark.parametrize(("height", "width"), [one for one in SIDES if min(one) >= 32])
def test_bounds_of_a_frame_are_those_of_qwen3s_clips_divided_by_their_frames(height, width):
    """Qwen3-VL bounds the pixels of all frames together; so many frames of ours have the same bound."""
    for count in (2, 8, 16):
        assert smart_resize(height, width, 32, 65536, 262144) == theirs_of_clips(
            count, height, width, 2, 32, count * 65536, count * 262144
        )


def test_a_strip_is_refused():
    with pytest.raises(FrameError, match="one side is more than 200 times the other"):
        smart_resize(2, 500, 28, 3136, 10**6)


def test_halves_are_rounded_to_even_numbers():
    assert smart_resize(42, 70, 28, 1, 10**6) == (56, 56)  # 1.5 to 2, and 2.5 to 2


@pytest.mark.parametrize(("height", "width"), [(61, 97), (200, 150), (30, 40)])
def test_resizing_is_pils_bicubic(height, width):
    frame = picture(height, width)
    expected = np.asarray(Image.fromarray(frame).resize((84, 56), Image.Resampling.BICUBIC)).astype(int)
    found = resize(frame[None], 56, 84)[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - expected).max() <= 1


def test_patches_are_those_of_qwens_image_processor():
    """Of one frame, which stands twice in each patch: within one step of 255, which is 1 / 255 / 0.26 = 0.0151."""
    frame = picture(123, 201)
    expected = Qwen2VLImageProcessorPil(size={"shortest_edge": GRID.min_pixels, "longest_edge": GRID.max_pixels})(
        frame, return_tensors="pt"
    )
    found, grid = patches(frame[None], GRID, CLIP)
    assert list(grid) == expected["image_grid_thw"][0].tolist()
    assert found.shape == expected["pixel_values"].shape
    assert (found - expected["pixel_values"]).abs().max() < 0.0152
    assert (found - expected["pixel_values"]).abs().mean() < 0.002


def test_patches_without_resizing_are_equal():
    frame = picture(84, 112)
    grid = Grid(14, 2, 2, 1, 10**6)
    expected = Qwen2VLImageProcessorPil(size={"shortest_edge": 1, "longest_edge": 10**6})(frame, return_tensors="pt")
    assert torch.allclose(patches(frame[None], grid, CLIP)[0], expected["pixel_values"], atol=1e-5)


@pytest.mark.parametrize("count", [4, 5, 1])
def test_clips_are_cut_as_qwens_video_processor_does(count):
    """transformers' function, which needs no torchvision by itself; five frames and one are filled up with the last."""
    images = torch.randn(count, 3, 56, 84, generator=torch.Generator().manual_seed(0))
    expected, *grid = Qwen3VLVideoProcessor.patchify(None, images[None], 14, 2, 2)
    found, ours = patchify(images, GRID)
    assert list(ours) == grid
    assert torch.equal(found, expected[0])


def test_the_order_within_a_patch_by_hand():
    """2 x 2 frames of patches of one pixel, two frames in a patch: channel, then frame."""
    images = torch.arange(2 * 3 * 2 * 2, dtype=torch.float32).reshape(2, 3, 2, 2)
    found, grid = patchify(images, Grid(patch=1, merge=2, frames=2, min_pixels=1, max_pixels=4))
    assert grid == (1, 2, 2)
    # frame f, channel c, row r, column q is 12 f + 4 c + 2 r + q; the first patch is r = q = 0
    assert found[0].tolist() == [0, 12, 4, 16, 8, 20]
    assert found[:, 0].tolist() == [0, 1, 2, 3]  # the four patches of the one token, row by row


@pytest.mark.parametrize("processor", [GotOcr2ImageProcessorPil, LlavaOnevisionImageProcessorPil])
def test_pictures_of_one_size_are_those_of_the_image_processors(processor):
    """InternVL reads its frames by the first; of LLaVA-OneVision's picture the first part is the whole, at the model's size."""
    frame = picture(90, 130)
    theirs = processor(size={"height": 48, "width": 48}, image_grid_pinpoints=[[48, 48]]) if processor is (
        LlavaOnevisionImageProcessorPil
    ) else processor(size={"height": 48, "width": 48}, crop_to_patches=False)  # fmt: skip
    expected = theirs(frame, return_tensors="pt")["pixel_values"].reshape(-1, 3, 48, 48)[0]
    found = pictures(frame[None], (48, 48), CLIP)[0]
    assert (found - expected).abs().max() < 0.0152
    assert (found - expected).abs().mean() < 0.002


def test_normalising_by_hand():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    found = normalise(images, Colours((0.5, 0.1, 0.0), (0.5, 0.2, 2.0))).flatten().tolist()
    assert found == pytest.approx([-1.0, 0.5, 0.5])  # (0 - .5)/.5, (.2 - .1)/.2, (1 - 0)/2


@pytest.mark.parametrize("count", [1, 4, 5])
def test_times_of_patches_are_qwen3s(count):
    indices = [0, 7, 16, 24, 31][:count]
    expected = Qwen3VLProcessor._calculate_timestamps(None, list(indices), 8.0, 2)
    assert seconds_of_patches([index / 8 for index in indices], 2) == expected
