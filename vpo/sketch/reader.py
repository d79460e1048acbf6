"""Reads a scene back from a clip's pixels alone: the sketch world's held-out evaluator.

It knows how the world looks (paints, tones, silhouettes, paths) and never sees a prompt.
"""

import numpy as np

from vpo.sketch.backdrop import read_backdrop, read_camera, read_style
from vpo.sketch.pixels import resized
from vpo.sketch.subjects import find_subjects, read_count, read_motion, read_subject

FRAMES = 16  # a clip is read at so many moments, evenly spread


def read_scene(frames: np.ndarray) -> dict[str, str | int | None]:
    """Each facet's concept or None where nothing known is seen. frames: uint8 (T, H, W, 3) of any size."""
    when = np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int)
    pixels = resized(frames[when])
    style = read_style(pixels)
    backdrop = read_backdrop(pixels)
    mask, colour = find_subjects(pixels, backdrop, style)
    area = mask.sum((1, 2))
    seen = np.flatnonzero(area >= 0.6 * max(1, area.max()))
    count, axis = read_count(mask, seen)
    return {
        "subject": read_subject(pixels, mask, count, axis, style) if count else None,
        "colour": colour,
        "count": count,
        "motion": read_motion(mask),
        "place": backdrop.place,
        "light": backdrop.light,
        "camera": read_camera(pixels, ~mask, backdrop.light) if backdrop.place else None,
        "style": style,
    }
