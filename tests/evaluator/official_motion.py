"""VBench's static filter and dynamic degree written a second time: pair by pair, in numpy, without batches or windows.

After `static_filter.py` and `vbench/dynamic_degree.py` at 45e79ec. It shares with the package the decoded frames and the network, and
nothing else.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from vpo.video.clips import read_mp4


class Motion:
    """With a network from two pictures, (1, 3, h, w) in -1..1, to a list of flows, (1, 2, h, w), of which the last one counts."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def radius(self, one: np.ndarray, other: np.ndarray, share: float) -> float:
        """The mean of the longest vectors of a flow between pictures that are padded to multiples of 8."""
        pictures = []
        for image in (one, other):
            up, left = (-image.shape[0] % 8) // 2, (-image.shape[1] % 8) // 2
            down, right = -image.shape[0] % 8 - up, -image.shape[1] % 8 - left
            padded = np.pad(image.astype(np.float32), ((up, down), (left, right), (0, 0)), mode="edge")
            pictures.append(torch.from_numpy(2 * (padded / 255.0) - 1).permute(2, 0, 1)[None])
        with torch.no_grad():
            u, v = self.network(*pictures, num_flow_updates=20)[-1][0].numpy()
        lengths = np.sort(np.sqrt(u.astype(float) ** 2 + v.astype(float) ** 2).flatten())[::-1]
        return float(np.mean(lengths[: int(u.shape[0] * u.shape[1] * share)]))

    def is_static(self, video: str) -> bool:
        """The filter of temporal flickering, over all frames."""
        frames, _ = read_mp4(Path(video))
        limit = 3.0 * min(frames.shape[1:3]) / 256.0
        allowed = round(2 * (len(frames) / 16.0))
        fast = 0
        for t in range(len(frames) - 1):
            if self.radius(frames[t], frames[t + 1], 0.02) > limit:
                fast += 1
            if fast > allowed:
                return False
        ends = [self.radius(frames[0], frames[-1], 0.02), self.radius(frames[-1], frames[0], 0.02)]
        return all(one <= limit * allowed * 2 for one in ends)

    def moves(self, video: str) -> bool:
        """Dynamic degree of one clip, at about eight frames a second."""
        frames, fps = read_mp4(Path(video))
        frames = frames[:: max(1, round(fps / 8.0))]
        limit = 6.0 * min(frames.shape[1:3]) / 256.0
        needed, fast = round(4 * (len(frames) / 16.0)), 0
        for t in range(len(frames) - 1):
            if fast >= needed:
                return True
            fast += self.radius(frames[t], frames[t + 1], 0.05) > limit
        return fast >= needed
