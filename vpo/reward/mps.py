"""MPS, a learned human preference of images: CLIP ViT-H/14 whose image tokens read the query's tokens.

The module follows Kwai-Kolors/MPS (MIT), and its keys are those of the released state dict. The released checkpoint is a pickled
module on Google Drive; vpo loads state dicts only. It was never run by us with the released weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cosine_similarity, layer_norm, scaled_dot_product_attention, silu

from vpo.errors import UserError
from vpo.language.checkpoints.wording import in_short, some
from vpo.records import Clip
from vpo.reward.scoring import Result, result_of, scored, unreadable
from vpo.video.clips import ClipError
from vpo.video.frames import FrameReader
from vpo.video.models import Lease, Place, Shared, load_clip
from vpo.video.transforms import CLIP

LEAST = 0.3  # share of the best token's likeness to the condition above which a token of the query is read


class MPS(nn.Module):
    """The preference of frames for a text.

    Args:
        clip: a CLIPModel.
        state: the cross-attention head, by the released names.
    """

    def __init__(self, clip: Any, state: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.clip = clip
        self.cross_model = CrossModel(state)

    def forward(self, pixels: torch.Tensor, text: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Scores (n,) of frames (n, 3, h, w) for the tokens of a text (1, m), by those of a condition (1, m); all of m are read.

        A token of the text takes part if its largest product with a token of the condition exceeds 0.3 of the largest of all.
        """
        words, ending = self._text(text)
        about, _ = self._text(condition)
        likeness = (words @ about.transpose(1, 2)).amax(-1)  # (1, m)
        hidden = ~(likeness / likeness.max() > LEAST)
        mask = torch.zeros_like(likeness).masked_fill(hidden, float("-inf"))[:, None, None]
        tokens = self.clip.visual_projection(self.clip.vision_model(pixels).last_hidden_state)
        seen = self.cross_model(tokens, words.expand(len(pixels), -1, -1), mask)[:, 0]
        return self.clip.logit_scale.exp() * cosine_similarity(seen, ending)

    def _text(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The projected states of all tokens (1, m, d), and of the one that ends the text (1, d)."""
        found = self.clip.text_model(ids)
        return self.clip.text_projection(found.last_hidden_state), self.clip.text_projection(found.pooler_output)


class CrossModel(nn.Module):
    """Layers of cross-attention and self-attention, each with a feed-forward net beside it."""

    def __init__(self, state: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        sizes = {name: tuple(value.shape) for name, value in state.items()}
        count = 1 + max(int(name.split(".")[1]) for name in sizes)
        width, head = sizes["layers.0.0.fn.to_out.weight"][0], sizes["layers.0.0.fn.to_kv.weight"][0] // 2
        heads, wide = sizes["layers.0.0.fn.to_q.weight"][0] // head, sizes["layers.0.0.fn.ff.2.weight"][1]
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [Residual(CrossAttention(width, heads, head, wide)), Residual(SelfAttention(width, heads, head, wide))]
            )
            for _ in range(count)
        )
        self.load_state_dict(state)

    def forward(self, tokens: torch.Tensor, context: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Tokens (n, q, d) that have read the context (n, m, d) under an additive mask (1, 1, 1, m)."""
        for across, own in self.layers:
            tokens = own(across(tokens, context, mask))
        return tokens


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, tokens: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        return tokens + self.fn(tokens, *more)


class Norm(nn.Module):
    """A layer norm whose bias is not trained."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.register_buffer("bias", torch.zeros(width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return layer_norm(tokens, tokens.shape[-1:], self.weight, self.bias)


class SwiGLU(nn.Module):
    """The first half times the SiLU of the second (Shazeer, arXiv 2002.05202)."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        plain, gate = values.chunk(2, dim=-1)
        return silu(gate) * plain


class CrossAttention(nn.Module):
    """Many heads of queries, one of keys and values (arXiv 1911.02150), with a feed-forward net in parallel."""

    def __init__(self, width: int, heads: int, head: int, wide: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = Norm(width)
        self.to_q = nn.Linear(width, heads * head, bias=False)
        self.to_kv = nn.Linear(width, 2 * head, bias=False)
        self.to_out = nn.Linear(heads * head, width, bias=False)
        self.ff = nn.Sequential(nn.Linear(width, 2 * wide, bias=False), SwiGLU(), nn.Linear(wide, width, bias=False))

    def forward(self, tokens: torch.Tensor, context: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(tokens)
        key, value = self.to_kv(context).chunk(2, dim=-1)
        return self.to_out(attend(self.to_q(tokens), key, value, self.heads, mask)) + self.ff(tokens)


class SelfAttention(nn.Module):
    """The same among the tokens themselves, with rotary positions (arXiv 2104.09864), all projections in one matrix."""

    def __init__(self, width: int, heads: int, head: int, wide: int) -> None:
        super().__init__()
        self.heads, self.sizes = heads, (heads * head, head, head, 2 * wide)
        self.norm = Norm(width)
        self.rotary_emb = nn.Module()
        self.rotary_emb.register_buffer("inv_freq", torch.zeros(head // 2))
        self.fused_attn_ff_proj = nn.Linear(width, sum(self.sizes), bias=False)
        self.attn_out = nn.Linear(heads * head, width, bias=False)
        self.ff_out = nn.Sequential(SwiGLU(), nn.Linear(wide, width, bias=False))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value, wide = self.fused_attn_ff_proj(self.norm(tokens)).split(self.sizes, dim=-1)
        places = torch.arange(tokens.shape[1], device=tokens.device, dtype=self.rotary_emb.inv_freq.dtype)
        angles = torch.outer(places, self.rotary_emb.inv_freq).repeat(1, 2)  # (tokens, head)
        query = turn(query.unflatten(-1, (self.heads, -1)), angles[:, None]).flatten(-2)
        return self.attn_out(attend(query, turn(key, angles), value, self.heads, None)) + self.ff_out(wide)


def turn(values: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotate the pairs (i, i + d/2) of the last axis by their angles."""
    first, second = values.chunk(2, dim=-1)
    return values * angles.cos() + torch.cat([-second, first], -1) * angles.sin()


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, mask: torch.Tensor | None
) -> torch.Tensor:
    """Attention of (n, q, heads d) to one head of keys and values (n, m, d)."""
    split = query.unflatten(-1, (heads, -1)).transpose(1, 2)
    one, other = (part[:, None].expand(-1, heads, -1, -1) for part in (key, value))
    return scaled_dot_product_attention(split, one, other, attn_mask=mask).transpose(1, 2).flatten(-2)


@dataclass(frozen=True)
class WithCheckpoint:
    """A CLIP, and the file whose weights take its place."""

    clip: Place
    checkpoint: str


def load_mps(which: WithCheckpoint, key: str) -> Shared:
    """The model. Raises UserError where the checkpoint is no state dict of MPS."""
    where = f"reward.checkpoint={which.checkpoint}"
    shared = load_clip(which.clip, key)
    state = read_state(Path(which.checkpoint).expanduser(), where)
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
        raise UserError(
            f"{where}: is no state dict of MPS ({in_short(error)}); give MPS_overall_checkpoint as one"
        ) from error
    shared.model = model.to(which.clip.torch_device, getattr(torch, which.clip.dtype)).eval().requires_grad_(False)
    return shared


def read_state(path: Path, where: str) -> dict[str, torch.Tensor]:
    """A state dict, read without running code that it holds. Raises UserError where it is none."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
        return dict(found.get("state_dict", found))
    except FileNotFoundError as error:
        raise UserError(f"{where}: no such file; give the file of MPS's state dict") from error
    except Exception as error:  # what pickle and safetensors raise varies
        raise UserError(
            f"{where}: cannot be read safely ({in_short(error)}); a pickled module runs code when it is loaded: in an environment "
            "of its own with Kwai-Kolors/MPS, save its state_dict() as safetensors, and give that file"
        ) from error


class MPSReward:
    """The mean over frames of MPS (Zhang et al., CVPR 2024), for a condition that names what an image is judged by.

    Args:
        path: hub id or folder of the CLIP ViT-H/14 that MPS is made of: its sizes and its tokenizer.
        revision: commit of the hub; None for a folder.
        checkpoint: file of MPS's state dict, .safetensors or .pth; None says at the first clip that it is needed.
        frames: which ones, as in `vpo.video.selection`.
        condition: text of what counts.
        dtype: of the weights.
        device: "cpu", "gpu" or "cuda".
        batch_size: clips that are scored in one call, one after the other.
    """

    def __init__(
        self, path: str, revision: str | None, checkpoint: str | None, frames: str, condition: str, dtype: str, device: str,
        batch_size: int,
    ) -> None:  # fmt: skip
        self.path, self.checkpoint, self.frames, self.batch_size = path, checkpoint, frames, batch_size
        self.condition = condition
        self.reader = FrameReader(frames, "reward.frames")
        place = WithCheckpoint(Place(path, revision, dtype, device), checkpoint or "")
        self.lease = Lease(load_mps, place, "reward.path")
        self._tokenizer: Any = None

    def score(self, clips: Sequence[Clip]) -> list[Result]:
        """One score a clip; a Failure where it cannot be read."""
        if self.checkpoint is None:
            raise UserError(
                "reward.checkpoint: MPS's weights are on Google Drive only (Kwai-Kolors/MPS); give the file of their state dict"
            )
        return scored(clips, lambda usable: [self._one(clip) for clip in usable])

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
        self._tokenizer = None

    def _one(self, clip: Clip) -> Result:
        try:
            images = self.reader.read(clip.path).images
        except ClipError as error:
            return unreadable(error)
        model = self.lease.get().model
        size = model.clip.config.vision_config.image_size
        pixels = CLIP.of_size(size)(images).to(model.clip.device, model.clip.dtype)
        with torch.inference_mode():
            found = model(pixels, self._ids(clip.query), self._ids(self.condition))
        return result_of(clip, float(found.double().mean()))

    def _ids(self, text: str) -> torch.Tensor:
        """Tokens of a text (1, m), filled up to the model's length, as the released script has them."""
        shared = self.lease.get()
        if self._tokenizer is None:
            from transformers import AutoTokenizer

            self._tokenizer = AutoTokenizer.from_pretrained(shared.folder)
        length = shared.model.clip.config.text_config.max_position_embeddings
        found = self._tokenizer(text, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        ids: torch.Tensor = found.input_ids.to(shared.model.clip.device)
        return ids
