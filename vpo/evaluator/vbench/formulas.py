"""VBench's formulas, pure functions of features, frames and optical flow (Vchitect/VBench at 45e79ec, arXiv 2311.17982).

T is the number of a clip's frames. A clip that is too short for a formula has no value, None; VBench divides by zero there.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch

STATIC_TOP, DYNAMIC_TOP = 0.02, 0.05  # shares of the pixels: those that move the most
SCALE = 256.0  # pixels of the short side to which thresholds refer


def consistency(features: torch.Tensor) -> float | None:
    """How alike a clip's frames are: the mean over t >= 1 of (max(0, cos(f_t-1, f_t)) + max(0, cos(f_0, f_t))) / 2.

    `vbench/subject_consistency.py` with DINO's features, `vbench/background_consistency.py` with CLIP's.

    Args:
        features: of all frames, (T, d), of any length.

    Returns:
        A number in 0..1; None where T < 2.
    """
    if len(features) < 2:
        return None
    unit = torch.nn.functional.normalize(features.double(), dim=-1)
    to_last = (unit[1:] * unit[:-1]).sum(-1).clamp(min=0)
    to_first = (unit[1:] * unit[:1]).sum(-1).clamp(min=0)
    return float((to_last + to_first).mean() / 2)


def aesthetic(features: torch.Tensor, weight: torch.Tensor, bias: float) -> float:
    """The mean over frames of (w . f + b) / 10, of features of length 1 (`vbench/aesthetic_quality.py`).

    Args:
        features: of all frames by CLIP L/14, (T, d).
        weight: of LAION's linear head, version 1, (d,).
        bias: of it.
    """
    unit = torch.nn.functional.normalize(features.double(), dim=-1)
    return float((unit @ weight.double() + bias).mean() / 10)


def style(images: torch.Tensor, text: torch.Tensor) -> float:
    """The mean over frames of the cosine of frame and text (`vbench/appearance_style.py`: logits / 100, where 100 is CLIP's scale).

    Args:
        images: features of all frames by CLIP B/32, (T, d).
        text: feature of the name of the style, (d,).
    """
    cosines = torch.nn.functional.cosine_similarity(images.double(), text.double().unsqueeze(0), dim=-1)
    return float(cosines.mean())


def changes(windows: Iterable[np.ndarray]) -> list[float]:
    """Of each step from frame to frame, the mean of |I_t - I_t+1| over pixels and channels (`vbench/temporal_flickering.py`).

    Args:
        windows: all frames in order, some at a time, uint8 (n, H, W, 3).

    Returns:
        T - 1 numbers in 0..255.
    """
    found: list[float] = []
    last: np.ndarray | None = None
    for window in windows:
        for image in window:
            frame = image.astype(np.int16)
            if last is not None:
                found.append(float(np.abs(frame - last).mean(dtype=np.float64)))
            last = frame
    return found


def steadiness(steps: Sequence[float]) -> float | None:
    """(255 - the mean of `changes`) / 255 (`vbench/temporal_flickering.py`): 1 for a frozen picture, None without a step."""
    return (255 - sum(steps) / len(steps)) / 255 if steps else None


def top_speed(flows: torch.Tensor, share: float) -> list[float]:
    """Of each flow, (n, 2, h, w) in pixels a step, the mean length of the int(h w share) longest vectors."""
    lengths = flows.double().square().sum(1).sqrt().flatten(1)
    count = int(flows.shape[2] * flows.shape[3] * share)
    if count == 0:
        return [math.nan] * len(lengths)
    found: list[float] = lengths.topk(count, dim=1).values.mean(1).tolist()
    return found


def is_static(speeds: Sequence[float], there: float, back: float, height: int, width: int) -> bool:
    """Whether the static filter accepts a clip, so that what changes in it is flicker and not motion (`static_filter.py`).

    With a threshold of 3 pixels for a short side of 256 and k = round(2 T / 16): at most k steps are faster than the threshold, and
    from the first frame to the last, and back, it is at most 2 k thresholds.

    Args:
        speeds: the top 2 % of each step from frame to frame, T - 1 numbers.
        there: the same from the first frame to the last.
        back: from the last to the first.
        height: of a frame in pixels, as it is in the file.
        width: the same.
    """
    threshold = 3.0 * (min(height, width) / SCALE)
    most = round(2 * ((len(speeds) + 1) / 16.0))
    fast = sum(speed > threshold for speed in speeds)
    return fast <= most and max(there, back) <= threshold * most * 2


def is_dynamic(speeds: Sequence[float], height: int, width: int) -> bool:
    """Whether a clip moves (`vbench/dynamic_degree.py`): at least round(4 n / 16) steps are faster than the threshold.

    That is 6 pixels for a short side of 256. By Python's rounding of halves two frames need no fast step: such a clip always moves.
    One frame never does, which is no measurement: its caller leaves such clips out.

    Args:
        speeds: the top 5 % of each step between the n sampled frames, n - 1 numbers.
        height: of a frame in pixels, as it is in the file.
        width: the same.
    """
    threshold = 6.0 * (min(height, width) / SCALE)
    least = round(4 * ((len(speeds) + 1) / 16.0))
    return bool(speeds) and sum(speed > threshold for speed in speeds) >= least


def sampled(count: int, fps: float) -> list[int]:
    """Which frames `is_dynamic` looks at: every max(1, round(fps / 8))-th of `count`."""
    return list(range(0, count, max(1, round(fps / 8))))
