"""Small operations on pixels that the reader and the reward share; none knows what a clip shows."""

import numpy as np

SIDE = 64  # pixels: clips are looked at in this height and width


def resized(frames: np.ndarray) -> np.ndarray:
    """Frames (T, H, W, 3) of any size as float32 (T, 64, 64, 3), by the nearest pixels."""
    rows, columns = (((np.arange(SIDE) + 0.5) * side / SIDE).astype(np.intp) for side in frames.shape[1:3])
    return frames[:, rows[:, None], columns].astype(np.float32)


def grey_of(frames: np.ndarray) -> np.ndarray:
    """Mean of the channels, (..., 3) -> (...); written out because numpy reduces an axis of 3 slowly."""
    return (frames[..., 0] + frames[..., 1] + frames[..., 2]) / 3


def saturation_of(frames: np.ndarray) -> np.ndarray:
    """Maximum less minimum of the channels, (..., 3) -> (...)."""
    return brightest_of(frames) - darkest_of(frames)


def brightest_of(frames: np.ndarray) -> np.ndarray:
    """Maximum of the channels, (..., 3) -> (...)."""
    return np.maximum(np.maximum(frames[..., 0], frames[..., 1]), frames[..., 2])


def darkest_of(frames: np.ndarray) -> np.ndarray:
    """Minimum of the channels, (..., 3) -> (...)."""
    return np.minimum(np.minimum(frames[..., 0], frames[..., 1]), frames[..., 2])


def squared_distances(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Squared RGB distance of each colour (m, 3) to each pixel (n, 3): (m, n)."""
    return (colours**2).sum(1)[:, None] - 2 * colours @ pixels.T + squared_lengths(pixels)


def squared_lengths(pixels: np.ndarray) -> np.ndarray:
    """Squared length of each pixel (n, 3): (n,)."""
    return pixels[:, 0] ** 2 + pixels[:, 1] ** 2 + pixels[:, 2] ** 2


def extent(profile: np.ndarray, least: int = 2) -> tuple[int, int]:
    """First and last (exclusive) index where a profile of pixel counts exceeds `least`; (0, 0) if nowhere."""
    where = np.flatnonzero(profile > least)
    return (int(where[0]), int(where[-1]) + 1) if len(where) else (0, 0)
