"""Which frames of a clip a model reads: pure functions of when its frames are shown, and how a config names them.

    all           every frame
    middle N      the middle of N equal parts (VBench)
    arange N      N frames at steps of T/N from the first (Prompt-A-Video's aesthetic score and MPS, with N = 4)
    steps N       the same, and all frames where there are no more than N (VideoScore)
    parts N       where N equal parts begin (T2VSafetyBench, with N = 5)
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
    "seconds": lambda line, n: seconds(line.times, n),
}


def selection_of(text: str, key: str) -> Selection:
    """The selection that a config names. Raises UserError, which names the key, where there is none of this name."""
    if text == "all":
        return lambda line: list(range(line.count))
    found = re.fullmatch(r"([a-z]+) ([1-9]\d{0,4})", text)
    if found is None or found[1] not in _RULES:
        names = ", ".join(f"'{name} 8'" for name in _RULES)
        raise UserError(f"{key}={text} names no frames of a clip; choose all, or one of {names} (with a number of your own)")
    rule, n = _RULES[found[1]], int(found[2])
    return lambda line: rule(line, n)
