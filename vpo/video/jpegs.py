"""Frames as pictures that a vision-language model is sent: JPEGs as data URLs."""

import base64
import io

import numpy as np

from vpo.errors import UserError
from vpo.video.vlm import resize, smart_resize

SIDE = 28  # frames are sent in multiples of what Qwen2.5-VL makes one token of, so that its server resizes nothing
_HEAD = "data:image/jpeg;base64,"


def check_quality(quality: int, key: str) -> None:
    """Raise UserError, which names the key, where a number is no quality of a JPEG."""
    if not 1 <= quality <= 100:
        raise UserError(f"{key}={quality} is that of a JPEG; give a number from 1 to 100")


def jpeg_urls(frames: np.ndarray, min_pixels: int, max_pixels: int, quality: int) -> tuple[str, ...]:
    """Frames, uint8 (n, H, W, 3) RGB, as data URLs; each is resized to multiples of 28 with pixels within the bounds.

    Raises:
        FrameError: One side is more than 200 times the other.
    """
    _, height, width, _ = frames.shape
    pictures = (
        resize(frames, *smart_resize(height, width, SIDE, min_pixels, max_pixels))
        .permute(0, 2, 3, 1)
        .contiguous()
        .numpy()
    )
    return tuple(jpeg_url(one, quality) for one in pictures)


def jpeg_url(image: np.ndarray, quality: int) -> str:
    """A picture, uint8 (H, W, 3) RGB, as a data URL of a JPEG with its colours at full resolution."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=quality, subsampling=0)
    return f"{_HEAD}{base64.b64encode(content.getvalue()).decode()}"


def picture_of(url: str) -> np.ndarray:
    """The picture of a data URL, uint8 (H, W, 3) RGB. Raises ValueError where it holds none."""
    from PIL import Image

    head, comma, content = url.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64") or not comma:
        raise ValueError("an image is no data URL of a picture")
    try:
        return np.array(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))
    except OSError as error:
        raise ValueError(f"an image cannot be opened: {error}") from error
