"""The network of MPS: CLIP ViT-H/14 whose image tokens read the tokens of a text.

It follows Kwai-Kolors/MPS (MIT), `trainer/models/cross_modeling.py` and `eval_overall_mps_on_hpdv2.py`; its keys are those of the
released state dict.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cosine_similarity, layer_norm, scaled_dot_product_attention, silu

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
