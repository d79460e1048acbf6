"""Small clips with something that moves in them."""

from pathlib import Path

import numpy as np

from vpo.video.clips import write_mp4


def write_clip(path: Path, *, frames: int = 4, size: int = 64, fps: float = 8, step: int = 4, light: int = 90) -> Path:
    """A bright square that moves by `step` pixels a frame over a plain background."""
    pictures = np.full((frames, size, size, 3), light, np.uint8)
    for number in range(frames):
        left = 4 + step * number
        pictures[number, 8:24, left : left + 16] = 220
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(pictures, fps, path)
    return path
