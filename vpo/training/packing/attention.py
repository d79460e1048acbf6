"""Attention over a packed tree: every token sees its ancestors only, in one forward pass of a Hugging Face model.

A packed row is `[template | query 1 | completions of query 1 | query 2 | ...]` (see `vpo.training.packing.rows`). A branch
is the path below the template that ends in one completion: its query, then that completion. Two facts make exact
attention cheap: the template sees itself only, so it runs causally once; and a branch, taken out of the row, is a plain
causal sequence after the template. So on CPU the branches become a batch of (query + completion) tokens that attend to
`[template | own branch]` under one small mask, the same for all. A shared query is computed once in every linear layer,
and only in the attention product once per completion, which measured no slower than a mask per item.

On GPU the same tree is a FlexAttention block mask. `dense_mask` is the slow, obvious form; tests compare with it.

Registered under `IMPLEMENTATION` with transformers' `AttentionInterface`. The layout travels as a keyword argument of
the forward call down to the attention function, not in a global: gradient checkpointing calls the layers again in
backward.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from vpo.training.logprobs import unwrap

IMPLEMENTATION = "vpo_tree"
BLOCK = 128  # FlexAttention's block; rows for the GPU are padded to a multiple of it

TEMPLATE, QUERY, PADDING = -1, -1, -2  # values of `item` (TEMPLATE, PADDING) and `branch` (TEMPLATE, QUERY)


@dataclass(frozen=True)
class BranchGroup:
    """Branches of similar length, as a batch.

    Attributes:
        count: b, branches.
        width: s, tokens of the longest; the others are padded with token 0 of the row, which is never read.
        mask: (1, 1, s, P + s) bool, whether a branch token sees a template token (always) or one of its own (causal).
    """

    count: int
    width: int
    mask: Tensor


@dataclass(frozen=True)
class TreeLayout:
    """Where the nodes of a tree lie in its row of N tokens.

    Attributes:
        prefix: P, tokens of the template; may be 0.
        groups: The branches as batches, for `_branch_attention`.
        query_index: (sum of b * s,), the row index of every query token of every group, group after group.
        key_index: (sum of b * (P + s),), the row index of every key: for each branch the template, then its own tokens.
        outputs: (N - P,), for each token below the template its index in `query_index`.
        item: (N,), which item (query) a token belongs to; TEMPLATE or PADDING.
        branch: (N,), which completion a token belongs to; TEMPLATE or QUERY.
        block_mask: For FlexAttention; set by `to` on a GPU and by `with_block_mask`.
    """

    prefix: int
    groups: tuple[BranchGroup, ...]
    query_index: Tensor
    key_index: Tensor
    outputs: Tensor
    item: Tensor
    branch: Tensor
    block_mask: BlockMask | None = None

    def to(self, device: torch.device | str) -> "TreeLayout":
        """The layout on a device; on a GPU with its block mask."""
        groups = tuple(replace(group, mask=group.mask.to(device)) for group in self.groups)
        names = ("query_index", "key_index", "outputs", "item", "branch")
        moved = replace(self, groups=groups, **{name: getattr(self, name).to(device) for name in names})
        return moved.with_block_mask() if torch.device(device).type == "cuda" else moved

    def with_block_mask(self) -> "TreeLayout":
        """The layout with FlexAttention's block mask, which needs rows of a multiple of `BLOCK` tokens."""
        return replace(self, block_mask=block_mask(self.item, self.branch))


def branch_mask(prefix: int, width: int) -> Tensor:
    """Which of `[template | own branch]` a branch token sees: (1, 1, width, prefix + width) bool, True for visible.

    Padding at the end of a short branch needs no mask of its own: causality hides it from the tokens before it.
    """
    return torch.ones(width, prefix + width, dtype=torch.bool).tril(prefix)[None, None]


def dense_mask(item: Tensor, branch: Tensor) -> Tensor:
    """The ancestry of a whole row as (1, 1, N, N) bool, True for visible: the reference in tests, quadratic in N."""
    index = torch.arange(item.numel(), device=item.device)
    return _visible(item, branch, index[:, None], index[None, :])[None, None]


def _visible(item: Tensor, branch: Tensor, q: Tensor, kv: Tensor) -> Tensor:
    """Whether token kv is an ancestor of token q, or q itself.

    An ancestor is before its descendants in the row, so `kv <= q`; it is the template, or the same item's query, or
    the same completion. Padding sees the template and itself (a row of the softmax must not be empty); nothing sees it.
    """
    same_item = item[kv] == item[q]
    on_path = (branch[kv] == QUERY) | (branch[kv] == branch[q])
    return (kv <= q) & ((item[kv] == TEMPLATE) | (same_item & on_path))


def block_mask(item: Tensor, branch: Tensor) -> BlockMask:
    """FlexAttention's block mask of a tree.

    A block is skipped where no pair is visible, taken whole where all are (template blocks below the template), and
    masked by token elsewhere. Blocks of queries are compared in turn, so memory is BLOCK x N and not N x N.

    Args:
        item: (N,), as in `TreeLayout`, N a multiple of BLOCK.
        branch: (N,).

    Returns:
        A mask for sequences of N tokens, on the same device.
    """
    count, remainder = divmod(item.numel(), BLOCK)
    if remainder:
        raise ValueError(
            f"FlexAttention needs rows of a multiple of {BLOCK} tokens, got {item.numel()}; pack with pad_to"
        )
    index = torch.arange(item.numel(), device=item.device)
    partial, full = [], []
    for queries in torch.split(index, BLOCK):
        seen = _visible(item, branch, queries[:, None], index[None, :]).view(BLOCK, count, BLOCK)
        whole = seen.all(dim=2).all(dim=0)
        full.append(whole)
        partial.append(seen.any(dim=2).any(dim=0) & ~whole)

    def mask_mod(b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        return _visible(item, branch, q, kv)

    return BlockMask.from_kv_blocks(
        *_ordered(torch.stack(partial)), *_ordered(torch.stack(full)), BLOCK_SIZE=BLOCK, mask_mod=mask_mod
    )


def _ordered(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of a bool matrix (R, C) the number of True, and the columns with those first: BlockMask's form."""
    counts = blocks.sum(-1, dtype=torch.int32)
    order = blocks.int().argsort(dim=-1, descending=True, stable=True).to(torch.int32)
    return counts[None, None], order[None, None].contiguous()


def _branch_attention(query: Tensor, key: Tensor, value: Tensor, layout: TreeLayout, scaling: float | None) -> Tensor:
    """Exact tree attention as one causal SDPA for the template and one batched SDPA a group of branches.

    Args:
        query: (1, H, N, D).
        key: (1, K, N, D), K heads that divide H.
        value: (1, K, N, D).
        layout: Of the row.
        scaling: Of the scores; None is 1 / sqrt(D).

    Returns:
        (1, N, H, D).
    """
    # One gather for all groups, because the backward of each begins with a zeroed copy of the row; and token-major, so
    # that a gathered token is one contiguous piece of memory.
    q = query[0].transpose(0, 1).index_select(0, layout.query_index)  # (sum of b * s, H, D)
    k, v = (x[0].transpose(0, 1).index_select(0, layout.key_index) for x in (key, value))
    prefix = layout.prefix
    qs = torch.split(q, [group.count * group.width for group in layout.groups])
    ks, vs = (torch.split(x, [group.count * (prefix + group.width) for group in layout.groups]) for x in (k, v))
    parts = []
    for group, *tokens in zip(layout.groups, qs, ks, vs, strict=True):
        # (b, heads, s or P + s, D)
        own_q, own_k, own_v = (x.reshape(group.count, -1, *x.shape[1:]).transpose(1, 2) for x in tokens)
        parts.append(_sdpa(own_q, own_k, own_v, scaling, mask=group.mask).transpose(1, 2).flatten(0, 1))
    below = torch.cat(parts).index_select(0, layout.outputs)
    if not prefix:
        return below[None]
    head = _sdpa(query[:, :, :prefix], key[:, :, :prefix], value[:, :, :prefix], scaling, mask=None)
    return torch.cat([head[0].transpose(0, 1), below])[None]


def _sdpa(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, *, mask: Tensor | None) -> Tensor:
    """SDPA with grouped heads, causal where there is no mask. CUDA's fast kernels take no grouped heads with a mask."""
    grouped = query.shape[1] != key.shape[1]
    if grouped and mask is not None and query.device.type == "cuda":
        repeats = query.shape[1] // key.shape[1]
        key, value, grouped = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1), False
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=grouped
    )


@cache
def _compiled_flex() -> Any:
    """FlexAttention, compiled for rows of any length (`dynamic`) during the first rows of a process.

    The first two lengths compile a graph each, and further lengths reuse the second; a row of a single block compiles one of
    its own, because PyTorch does not take a size of 1 as variable. With static shapes each new length costs a compilation of
    seconds (unslothai/unsloth-zoo#868).
    """
    return torch.compile(flex_attention, dynamic=True)


def _flex_attention(query: Tensor, key: Tensor, value: Tensor, mask: BlockMask, scaling: float | None) -> Tensor:
    """Exact tree attention through FlexAttention: (1, H, N, D) to (1, N, H, D).

    PyTorch 2.13 has no backward of FlexAttention on CPU, so tests compare its forward there; gradients need a GPU.
    """
    device = query.device.type
    if torch.is_autocast_enabled(
        device
    ):  # which casts for SDPA but not for flex: rotary embedding leaves q and k in fp32
        query, key, value = (x.to(torch.get_autocast_dtype(device)) for x in (query, key, value))
    kernel = _compiled_flex() if query.device.type == "cuda" else flex_attention
    heads = query.shape[1]
    if heads & (heads - 1):  # as transformers does: the kernel's grouped heads want a power of two
        key, value = (x.repeat_interleave(heads // x.shape[1], 1) for x in (key, value))
    out: Tensor = kernel(query, key, value, block_mask=mask, scale=scaling, enable_gqa=heads != key.shape[1])
    return out.transpose(1, 2)


def tree_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    tree_layout: TreeLayout | None = None,
    **kwargs: Any,  # transformers hands every keyword of the forward call to the attention function
) -> tuple[Tensor, None]:
    """The attention function that models call; without a layout it is transformers' own SDPA (evaluation, sampling).

    Args:
        module: The attention layer.
        query: (B, H, N, D), after rotary embedding.
        key: (B, K, N, D).
        value: (B, K, N, D).
        attention_mask: Used without a layout only.
        scaling: Of the scores.
        dropout: Of the attention weights; must be 0 with a layout.
        tree_layout: Of the packed row, B = 1.
        **kwargs: What transformers adds, by model.

    Returns:
        (B, N, H, D) and None (no weights).
    """
    if tree_layout is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
    extras = [name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None]
    if dropout or extras:
        raise ValueError(f"packed attention has no {' or '.join(extras) or 'dropout'}; use the padded path")
    if tree_layout.block_mask is not None:
        return _flex_attention(query, key, value, tree_layout.block_mask, scaling), None
    return _branch_attention(query, key, value, tree_layout, scaling), None


AttentionInterface.register(IMPLEMENTATION, tree_attention_forward)
# Ordinary calls of a model that uses our function need the mask that SDPA would get.
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)


def enable_packing(model: nn.Module) -> None:
    """Make a model's layers call the tree attention; calls without a packed row go to SDPA as before."""
    unwrap(model).set_attn_implementation(IMPLEMENTATION)


def attention_problem(model: nn.Module, longest: int | None = None) -> str | None:
    """Why a model cannot take the tree attention by its config, or None; the arguments of `packing_problem`."""
    inner = unwrap(model)
    config = inner.config.get_text_config()
    name = type(inner).__name__
    if not (inner._supports_sdpa and inner._supports_attention_backend and inner._can_set_attn_implementation()):
        return f"{name} does not take an attention function from outside"
    for field in ("attention_dropout", "attn_pdrop"):
        if getattr(config, field, 0.0):
            return f"{field} is {getattr(config, field)}; packed attention has no dropout"
    window = _window(config)
    if window is not None and (longest is None or longest > window):
        return f"{name} attends to a window of {window} tokens only"
    return None


def _window(config: object) -> int | None:
    """The sliding or chunked window of a config, None where every layer sees everything."""
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds and kinds == {"full_attention"}:
        return None
    sliding = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return sliding or getattr(config, "attention_chunk_size", None)
