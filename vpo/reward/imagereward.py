"""ImageReward, a learned human preference of images: a BLIP whose text encoder reads the picture, and a linear head.

The network is transformers' BLIP. The released checkpoint has BLIP's own names, which are translated here. It was never run by us
with the released weights.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BlipTextConfig, BlipVisionConfig
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from vpo.errors import UserError
from vpo.language.checkpoints.intake import fetch
from vpo.language.checkpoints.wording import in_short
from vpo.records import Clip
from vpo.reward.scoring import Result, result_of, scored_each
from vpo.video.frames import FrameReader
from vpo.video.models import Lease, Place, Shared
from vpo.video.states import one_linear, read_state
from vpo.video.transforms import CLIP

MEAN, STD = 0.16717362830052426, 1.0333394966054072  # of its training data, by which scores are normalised
TOKENS = 35  # of a text are read
HEAD = 64  # numbers of an attention head, in all of BLIP's sizes
BESIDE = "imagereward.safetensors"
CURE = "give ImageReward.pt of zai-org/ImageReward"
# BLIP's names of the picture's encoder, and transformers'.
NAMES = (
    ("cls_token", "embeddings.class_embedding"), ("pos_embed", "embeddings.position_embedding"),
    ("patch_embed.proj", "embeddings.patch_embedding"), ("blocks", "encoder.layers"), (".norm1", ".layer_norm1"),
    (".norm2", ".layer_norm2"), (".attn.qkv", ".self_attn.qkv"), (".attn.proj", ".self_attn.projection"),
)  # fmt: skip


class ImageReward(nn.Module):
    """The preference of pictures for a text.

    Args:
        state: the released state dict: `blip.visual_encoder.*`, `blip.text_encoder.*`, `mlp.layers.*`. The sizes are read from it.
    """

    def __init__(self, state: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        picture, text, head = (_part(state, name) for name in ("blip.visual_encoder.", "blip.text_encoder.", "mlp."))
        self.vision = BlipVisionModel(_vision_config(picture))
        self.text = BlipTextModel(_text_config(text, picture["cls_token"].shape[-1]), add_pooling_layer=False)
        self.vision.load_state_dict(_renamed(picture))
        self.text.load_state_dict({name: value for name, value in text.items() if not name.endswith("position_ids")})
        weight, bias = one_linear(head)
        self.register_buffer("weight", weight[0].float())
        self.register_buffer("bias", bias[0].float())

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Scores (n,) of pictures (n, 3, h, w) for the tokens of a text (1, m), of which those with mask 1 are read."""
        seen = self.vision(pixels).last_hidden_state
        count = len(pixels)
        states = self.text(
            input_ids=ids.expand(count, -1), attention_mask=mask.expand(count, -1), encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device),
        ).last_hidden_state  # fmt: skip
        return (states[:, 0].float() @ self.weight.float() + self.bias.float() - MEAN) / STD


def _part(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _renamed(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A picture's encoder by transformers' names."""
    found = {}
    for name, value in state.items():
        new = f"post_layernorm{name.removeprefix('norm')}" if name.startswith("norm.") else name
        for old, ours in NAMES:
            new = new.replace(old, ours)
        found[new] = value
    return found


def _layers(state: Mapping[str, torch.Tensor], place: int) -> int:
    """How many layers there are, by the numbers at a place of their names."""
    return 1 + max(int(parts[place]) for parts in (name.split(".") for name in state) if len(parts) > place + 1)


def _vision_config(state: Mapping[str, torch.Tensor]) -> BlipVisionConfig:
    width, patch = state["cls_token"].shape[-1], state["patch_embed.proj.weight"].shape[-1]
    blocks = {name.removeprefix("blocks."): value for name, value in state.items() if name.startswith("blocks.")}
    return BlipVisionConfig(
        hidden_size=width, intermediate_size=state["blocks.0.mlp.fc1.weight"].shape[0], num_hidden_layers=_layers(blocks, 0),
        num_attention_heads=width // HEAD, patch_size=patch,
        image_size=patch * math.isqrt(state["pos_embed"].shape[1] - 1), layer_norm_eps=1e-6,
    )  # fmt: skip


def _text_config(state: Mapping[str, torch.Tensor], seen: int) -> BlipTextConfig:
    vocabulary, width = state["embeddings.word_embeddings.weight"].shape
    layers = {
        name.removeprefix("encoder.layer."): one for name, one in state.items() if name.startswith("encoder.layer.")
    }
    return BlipTextConfig(
        vocab_size=vocabulary, hidden_size=width, encoder_hidden_size=seen, num_hidden_layers=_layers(layers, 0),
        num_attention_heads=width // HEAD, intermediate_size=state["encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=state["embeddings.position_embeddings.weight"].shape[0], layer_norm_eps=1e-12,
        bos_token_id=None, eos_token_id=None, sep_token_id=None,  # nothing is written with it
    )  # fmt: skip


@dataclass(frozen=True)
class Files:
    """The place of the tokenizer, and the checkpoint's file; None for the one that lies in the tokenizer's folder."""

    place: Place
    checkpoint: str | None


def load_imagereward(which: Files, key: str) -> Shared:
    """The model. Raises UserError where the checkpoint is not one."""
    folder, _ = fetch(which.place.path, which.place.revision, key)
    file = Path(which.checkpoint).expanduser() if which.checkpoint else folder / BESIDE
    if not which.checkpoint and not file.is_file():
        raise UserError(f"reward.checkpoint: ImageReward's weights are a file of the hub; {CURE}")
    where = f"reward.checkpoint={which.checkpoint or file}"
    state = read_state(file, where, CURE)
    try:
        model = ImageReward(state)
    except (KeyError, ValueError, IndexError, RuntimeError) as error:
        raise UserError(f"{where}: is no state dict of ImageReward ({in_short(error)}); {CURE}") from error
    model = model.to(which.place.torch_device, getattr(torch, which.place.dtype))
    return Shared(model.eval().requires_grad_(False), folder)


class ImageRewardReward:
    """The mean over frames of ImageReward (Xu et al., arXiv 2304.05977), which was trained on people's rankings of images.

    Args:
        path: hub id or folder of its tokenizer, BERT's.
        revision: commit of the hub; None for a folder.
        checkpoint: file of its state dict, .pt or .safetensors; None is imagereward.safetensors in the folder of `path`.
        frames: which ones, as in `vpo.video.selection`.
        dtype: of the weights.
        device: "cpu", "gpu" or "cuda".
        batch_size: clips that are scored in one call, one after the other.
    """

    shares_frames = True  # scores clips beside evaluators that do, so that a clip is decoded once (vpo.stages.together)

    def __init__(
        self,
        path: str,
        revision: str | None,
        checkpoint: str | None,
        frames: str,
        dtype: str,
        device: str,
        batch_size: int,
    ) -> None:
        self.checkpoint, self.frames, self.batch_size = checkpoint, frames, batch_size
        self.reader = FrameReader(frames, "reward.frames")
        self.lease = Lease(load_imagereward, Files(Place(path, revision, dtype, device), checkpoint), "reward.path")

    def score(self, clips: Sequence[Clip]) -> list[Result]:
        """One score a clip; a Failure where it cannot be read."""
        return scored_each(clips, self._one)

    def card(self) -> Mapping[str, Any]:
        """What the numbers depend on."""
        return {
            "name": "imagereward",
            "model": self.checkpoint and Path(self.checkpoint).name,
            "score": "mean of the frames' scores, normalised by the mean and deviation of the authors' data",
            "scale": "about -2 to 2, of average images 0",
            "better": "higher",
            "text": f"the original query, its first {TOKENS} tokens",
            "frames": self.frames,
            "transform": "short side by bicubic with antialiasing, centre crop: what lies outside of the middle square is not seen",
            "licence": "Apache-2.0 (ImageReward), BSD-3-Clause (BLIP)",
            "cannot_see": f"motion, order, flicker and sound; queries beyond {TOKENS} tokens; other languages than English",
            "run_by_us": "never with the released weights: on a tiny random network of the same keys",
            "source": "arXiv 2304.05977; THUDM/ImageReward, ImageReward/ImageReward.py",
        }

    def close(self) -> None:
        """Free model and frames."""
        self.lease.close()
        self.reader.close()

    def _one(self, clip: Clip) -> Result:
        images = self.reader.read(clip.path).images
        shared = self.lease.get()
        model, device = shared.model, shared.model.weight.device
        text = shared.tokenizer(
            clip.query, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        )
        pixels = CLIP.of_size(model.vision.config.image_size)(images).to(device, model.vision.dtype)
        with torch.inference_mode():
            found = model(pixels, text.input_ids.to(device), text.attention_mask.to(device))
        return result_of(clip, float(found.double().mean()))
