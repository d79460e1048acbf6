"""Optical flow by RAFT (Teed and Deng, arXiv 2003.12039), as VBench runs it.

The network is torchvision's `raft_large`, and its weights `C_T_V1`, which are the authors' own `raft-things` (trained on FlyingChairs
and FlyingThings3D) in torchvision's names; torchvision's default weights are others. 20 updates, as VBench, where torchvision does 12.

torchvision is an extra: `pip install "vpo[raft]"`, in the version that goes with the installed torch.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vpo.errors import UserError

UPDATES = 20
LEAST = 121  # pixels a side, which are padded to 128: below, the fourth level of RAFT's correlation pyramid is empty
_EXTRA = 'pip install "vpo[raft]" brings torchvision, in the version that goes with your torch'


class TooSmall(ValueError):  # noqa: N818 (an answer about a clip, as ClipError is)
    """Frames that RAFT cannot read."""


class Raft:
    """RAFT, loaded when the first flow is asked for.

    Args:
        file: of the weights, torchvision's `raft_large_C_T_V1-22a6c225.pth`; None has torchvision fetch them into torch's own cache.
        device: "cpu", "gpu" or "cuda".
        key: the config key that names the file, for messages.
        batch_size: pairs of frames at once.
    """

    def __init__(self, file: str | None, device: str, key: str, batch_size: int = 4) -> None:
        self.file, self.key, self.batch_size = file, key, batch_size
        self.device = "cuda" if device == "gpu" else device
        self._model: Any = None

    @torch.inference_mode()
    def flows(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Iterator[torch.Tensor]:
        """The flow from the first to the second frame of each pair, float32 (1, 2, h, w) in pixels.

        Frames are uint8 (H, W, 3). h and w are H and W padded to multiples of 8 by the edges' pixels: VBench looks at padded flows.

        Raises:
            UserError: torchvision or the weights are not there.
            TooSmall: A side is shorter than RAFT can read.
        """
        for start in range(0, len(pairs), self.batch_size):
            part = pairs[start : start + self.batch_size]
            first, second = (_inputs(np.stack(side)).to(self.device) for side in zip(*part, strict=True))
            for flow in self.model(first, second, num_flow_updates=UPDATES)[-1]:
                yield flow.float().cpu().unsqueeze(0)

    @property
    def model(self) -> Any:
        """The network, in eval mode. Raises UserError where it cannot be loaded."""
        if self._model is None:
            self._model = load_raft(self.file, self.key).to(self.device)
        return self._model

    def close(self) -> None:
        """Free its memory."""
        self._model = None


def load_raft(file: str | None, key: str) -> Any:
    """torchvision's RAFT with the weights C_T_V1. Raises UserError where torchvision, or they, are not there."""
    raft = check_raft(file, key)
    try:
        if file is None:
            return raft.raft_large(weights=raft.Raft_Large_Weights.C_T_V1, progress=False).eval().requires_grad_(False)
        model = raft.raft_large(weights=None)
        model.load_state_dict(torch.load(Path(file).expanduser(), map_location="cpu", weights_only=True))
        return model.eval().requires_grad_(False)
    except Exception as error:  # what a download and an unpickler raise varies
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{key}: RAFT's weights cannot be had ({reason}); give a copy of "
            "download.pytorch.org/models/raft_large_C_T_V1-22a6c225.pth"
        ) from error


def check_raft(file: str | None, key: str) -> Any:
    """torchvision's module. Raises UserError where it cannot be imported, or there is no such file."""
    try:
        from torchvision.models import optical_flow
    except Exception as error:  # one that does not fit the torch beside it raises RuntimeError, or worse
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{key}: optical flow needs torchvision, which cannot be imported ({reason}); {_EXTRA}"
        ) from error
    if file is not None and not Path(file).expanduser().is_file():
        raise UserError(f"{key}={file}: no such file; null has torchvision fetch RAFT's weights")
    return optical_flow


def padding(height: int, width: int) -> tuple[int, int, int, int]:
    """Pixels to the left, right, top and bottom that make both sides multiples of 8: half on each side, the odd one at the end."""
    across, down = -width % 8, -height % 8
    return across // 2, across - across // 2, down // 2, down - down // 2


def _inputs(images: np.ndarray) -> torch.Tensor:
    """Frames, uint8 (n, H, W, 3), as RAFT reads them: float32 (n, 3, h, w) in -1..1."""
    height, width = images.shape[1:3]
    if min(height, width) < LEAST:
        raise TooSmall(f"frames of {height}x{width}: RAFT reads none with a side below {LEAST} pixels")
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    padded = torch.nn.functional.pad(pixels, padding(height, width), mode="replicate")
    return 2 * (padded / 255) - 1
