"""Which frames of a clip a model reads: pure functions of when its frames are shown, and how a config names them.

    all           every frame
    middle N      the middle of N equal parts (VBench)
    arange N      N frames at steps of T/N from the first (Prompt-A-Video's aesthetic score and MPS, with N = 4)
    steps N       the same, and all frames where there are no more than N (VideoScore)
    parts N       where N equal parts begin (T2VSafetyBench, with N = 5)
    span N        N frames at equal steps from the first to the last (Qwen3-VL; `nframes` of qwen-vl-utils)
    rate N        N frames a second, in equal steps from the first to the last (`fps` of qwen-vl-utils; VideoScore2, with N = 2)
    seconds N     the frame that is nearest to each full second, at most N ("chat" of CogVLM2-Video and VisionReward, with N = 24)

T is the number of frames, indices count from 0.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from vpo.errors import UserError


@dataclass(frozen=True)
class Timeline:
    """A clip's frames without their pictures.

    Attributes:
        times: in seconds, when each frame is shown, in order; those of a variable rate have no equal steps.
        frame_bytes: of one frame in RGB.
    """

    times: tuple[float, ...]
    frame_bytes: int

    @property
    def count(self) -> int:
        """T, the number of frames."""
        return len(self.times)


Selection = Callable[[Timeline], list[int]]


def middle(count: int, n: int) -> list[int]:
    """VBench's "middle": n' = min(n, T) intervals with edges linspace(0, T, n' + 1) cut to whole numbers; of each the middle.

    Where T < n the last index fills up. Source: Vchitect/VBench, `vbench/utils.py`, `get_frame_indices`.
    """
    intervals = min(n, count)
    step = count / intervals
    edges = [*(int(place * step) for place in range(intervals)), count]  # with numpy's rounding
    found = [(low + high - 1) // 2 for low, high in pairwise(edges)]
    return found + [found[-1]] * (n - intervals)


def arange(count: int, n: int) -> list[int]:
    """The whole parts of k T/n, k = 0 .. n - 1, as `numpy.arange(0, T, T/n)` rounds them; for T < n frames repeat.

    Source: jiyt17/Prompt-A-Video, `rewards/aes_predictor_dpo.py`.
    """
    step = count / n
    return [min(int(place * step), count - 1) for place in range(n)]


def steps(count: int, n: int) -> list[int]:
    """As `arange` where T > n, else all frames. Source: TIGER-AI-Lab/VideoScore, `README.md`, `_read_video_pyav`."""
    return arange(count, n) if count > n else list(range(count))


def parts(count: int, n: int) -> list[int]:
    """The whole parts of (k / n) T, k = 0 .. n - 1. Source: yibo-miao/T2VSafetyBench."""
    return [min(int(place / n * count), count - 1) for place in range(n)]


def span(count: int, n: int) -> list[int]:
    """linspace(0, T - 1, min(n, T)), halves rounded to even numbers; of one frame the first.

    Source: transformers, `Qwen3VLVideoProcessor.sample_frames`; QwenLM/Qwen2.5-VL, `qwen-vl-utils`, `vision_process.py`.
    """
    n = min(n, count)
    return [round(place * (count - 1) / (n - 1)) for place in range(n)] if n > 1 else [0]


def rate(times: Sequence[float], n: int) -> list[int]:
    """As `span`, with n frames a second: at least 4, at most 768 and T, an even number (but for a clip of one frame).

    Source: `smart_nframes` of qwen-vl-utils, which reads T / (frames a second) for the clip's length.
    """
    count = len(times)
    length = count * (times[-1] - times[0]) / (count - 1) if count > 1 else 0.0
    wanted = min(max(length * n, 4), 768, count)
    return span(count, max(1, int(wanted) // 2 * 2))


def seconds(times: Sequence[float], most: int) -> list[int]:
    """For each second s = 0 .. round(the last time) the frame nearest to s, the earlier of two, at most `most` of them.

    Source: THUDM/VisionReward, `inference-video.py`, strategy "chat". Python's rounding: 2.5 s end with s = 2. In a clip of less than
    2 frames a second a frame can come twice, as it does there.
    """
    ends = range(min(round(max(times)) + 1, most))
    return [min(range(len(times)), key=lambda index: (abs(times[index] - second), index)) for second in ends]


_RULES: dict[str, Callable[[Timeline, int], list[int]]] = {
    "middle": lambda line, n: middle(line.count, n),
    "arange": lambda line, n: arange(line.count, n),
    "steps": lambda line, n: steps(line.count, n),
    "parts": lambda line, n: parts(line.count, n),
    "span": lambda line, n: span(line.count, n),
    "rate": lambda line, n: rate(line.times, n),
    "seconds": lambda line, n: seconds(line.times, n),
}


def selection_of(text: str, key: str) -> Selection:
    """The selection that a config names. Raises UserError, which names the key, where there is none of this name."""
    if text == "all":
        return lambda line: list(range(line.count))
    found = re.fullmatch(r"([a-z]+) ([1-9]\d{0,4})", text)
    if found is None or found[1] not in _RULES:
        names = ", ".join(f"'{name} 8'" for name in _RULES)
        raise UserError(
            f"{key}={text} names no frames of a clip; choose all, or one of {names} (with a number of your own)"
        )
    rule, n = _RULES[found[1]], int(found[2])
    return lambda line: rule(line, n)
