"""MPS, a learned human preference of images: CLIP ViT-H/14 whose image tokens read the query's tokens.

The released checkpoint is a pickled module on Google Drive; vpo loads state dicts only. It was never run by us with the released
weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vpo.errors import UserError
from vpo.language.checkpoints.wording import in_short, some
from vpo.records import Clip
from vpo.reward.mps_network import MPS
from vpo.reward.scoring import Result, result_of, scored_each
from vpo.video.frames import FrameReader
from vpo.video.models import Lease, Place, Shared, load_clip
from vpo.video.states import read_state
from vpo.video.transforms import CLIP

BESIDE = "mps.safetensors"
CURE = "in an environment of its own with Kwai-Kolors/MPS, save the state_dict() of its checkpoint as safetensors, and give that file"


@dataclass(frozen=True)
class WithCheckpoint:
    """A CLIP, and the file of MPS's weights; None for the one that lies in the CLIP's folder."""

    clip: Place
    checkpoint: str | None


def load_mps(which: WithCheckpoint, key: str) -> Shared:
    """The model. Raises UserError where the checkpoint is no state dict of MPS."""
    shared = load_clip(which.clip, key)
    file = Path(which.checkpoint).expanduser() if which.checkpoint else shared.folder / BESIDE
    if not which.checkpoint and not file.is_file():
        raise UserError(f"reward.checkpoint: MPS's weights are on Google Drive only; {CURE}")
    where = f"reward.checkpoint={which.checkpoint or file}"
    state = read_state(file, where, CURE)
    own = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    head = {
        name.removeprefix("cross_model."): value for name, value in state.items() if name.startswith("cross_model.")
    }
    try:
        if own:  # the released one has CLIP's weights too, which were trained with the head
            lacking = [
                name
                for name in shared.model.load_state_dict(own, strict=False).missing_keys
                if "position_ids" not in name
            ]
            if lacking:
                raise KeyError(some(lacking))
        model = MPS(shared.model, head)
    except (KeyError, ValueError, RuntimeError, IndexError) as error:
        raise UserError(f"{where}: is no state dict of MPS ({in_short(error)}); {CURE}") from error
    shared.model = model.to(which.clip.torch_device, getattr(torch, which.clip.dtype)).eval().requires_grad_(False)
    return shared


class MPSReward:
    """The mean over frames of MPS (Zhang et al., CVPR 2024), for a condition that names what an image is judged by.

    Args:
        path: hub id or folder of the CLIP ViT-H/14 that MPS is made of: its sizes and its tokenizer.
        revision: commit of the hub; None for a folder.
        checkpoint: file of MPS's state dict, .safetensors or .pth; None is mps.safetensors in the folder of `path`.
        frames: which ones, as in `vpo.video.selection`.
        condition: text of what counts.
        dtype: of the weights.
        device: "cpu", "gpu" or "cuda".
        batch_size: clips that are scored in one call, one after the other.
    """

    shares_frames = True  # scores clips beside evaluators that do, so that a clip is decoded once (vpo.stages.together)

    def __init__(
        self, path: str, revision: str | None, checkpoint: str | None, frames: str, condition: str, dtype: str, device: str,
        batch_size: int,
    ) -> None:  # fmt: skip
        self.path, self.checkpoint, self.frames, self.batch_size = path, checkpoint, frames, batch_size
        self.condition = condition
        self.reader = FrameReader(frames, "reward.frames")
        place = WithCheckpoint(Place(path, revision, dtype, device), checkpoint)
        self.lease = Lease(load_mps, place, "reward.path")

    def score(self, clips: Sequence[Clip]) -> list[Result]:
        """One score a clip; a Failure where it cannot be read."""
        return scored_each(clips, self._one)

    def card(self) -> Mapping[str, Any]:
        """What the numbers depend on."""
        return {
            "name": "mps",
            "model": self.path,
            "checkpoint": self.checkpoint and Path(self.checkpoint).name,
            "condition": self.condition,
            "score": "mean of the frames' scores: exp(logit scale) times a cosine",
            "scale": "about 5 to 15 (derived from Prompt-A-Video's thresholds); compare, and read no absolute meaning",
            "better": "higher",
            "text": "the original query, its first 77 tokens",
            "frames": self.frames,
            "transform": "short side by bicubic with antialiasing, centre crop: what lies outside of the middle square is not seen",
            "licence": "MIT (Kwai-Kolors/MPS; CLIP ViT-H/14 of LAION)",
            "cannot_see": "motion, order, flicker and sound; queries beyond 77 tokens",
            "run_by_us": "never with the released weights: on a tiny random module of the same keys",
            "source": "Zhang et al., CVPR 2024, pages 8018-8027; Kwai-Kolors/MPS, eval_overall_mps_on_hpdv2.py",
        }

    def close(self) -> None:
        """Free model and frames."""
        self.lease.close()
        self.reader.close()

    def _one(self, clip: Clip) -> Result:
        images = self.reader.read(clip.path).images
        model = self.lease.get().model
        size = model.clip.config.vision_config.image_size
        pixels = CLIP.of_size(size)(images).to(model.clip.device, model.clip.dtype)
        with torch.inference_mode():
            found = model(pixels, self._ids(clip.query), self._ids(self.condition))
        return result_of(clip, float(found.double().mean()))

    def _ids(self, text: str) -> torch.Tensor:
        """Tokens of a text (1, m), filled up to the model's length, as the released script has them."""
        shared = self.lease.get()
        length = shared.model.clip.config.text_config.max_position_embeddings
        found = shared.tokenizer(text, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        ids: torch.Tensor = found.input_ids.to(shared.model.clip.device)
        return ids
