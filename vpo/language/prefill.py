"""Prompts are read once: what all of a batch begin with in one row, and equal prompts (the candidates of a query) in one row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationMixin
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from vpo.language.cache import GrowingCache

# Fewer common tokens are read with each prompt: a forward pass of their own costs more than they do.
WORTH_A_PASS = 16


def shares_prefill(model: Any) -> bool:
    """Whether a model's keys and values may be copied between rows: all its layers attend, in transformers' usual way.

    Not so: recurrent and hybrid models (Mamba, RWKV, Qwen3-Next), ALiBi without positions (BLOOM), layers that share keys
    or attend in chunks, and models that prepare their inputs in a way of their own (Phi-3's long positions).
    """
    inner = inner_model(model)
    config = inner.config.get_text_config(decoder=True)
    if (
        not {"attention_mask", "position_ids", "past_key_values"} <= signature(inner.forward).parameters.keys()
        or type(inner).prepare_inputs_for_generation is not GenerationMixin.prepare_inputs_for_generation
        or inner.config.is_encoder_decoder
        or getattr(config, "num_kv_shared_layers", None)
        or getattr(config, "attention_chunk_size", None)
    ):
        return False
    layers = DynamicCache(config=config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def inner_model(model: Any) -> Any:
    """The transformers model, also of one with a PEFT adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@dataclass
class Batch:
    """Rows that a model has read, and their logits.

    Attributes:
        mask: (rows, tokens) 1 for tokens and 0 for the padding on the left.
        cache: keys and values of these tokens.
        logits: (rows, vocabulary) of what follows.
    """

    forward: Callable[..., Any]
    mask: Tensor
    cache: GrowingCache
    logits: Tensor

    def read(self, ids: Tensor) -> None:
        """Read new tokens (rows, tokens); `mask` holds them already."""
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        self.logits = self.forward(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
        ).logits[:, -1]

    def take(self, rows: Sequence[int]) -> None:
        """Replace the rows by those of these numbers, which may repeat."""
        index = torch.tensor(rows, device=self.mask.device)
        self.mask, self.logits = self.mask[index], self.logits[index]
        self.cache.take(index)

    def keep(self, rows: Sequence[int]) -> None:
        """Replace the rows by fewer, as `GrowingLayer.keep` does; `logits` are not kept."""
        self.mask = self.mask[rows]
        self.cache.keep(rows)

    def append(self, tokens: Tensor) -> None:
        """Read one token more of each row (rows,)."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=-1)
        self.read(tokens[:, None])


def prefill(model: Any, prompts: Sequence[Sequence[int]], pad: int) -> Batch:
    """The batch of these prompts, a row each, in their order.

    Args:
        model: in eval mode; `shares_prefill` holds for it.
        prompts: token ids.
        pad: the id on the left of shorter prompts.
    """
    distinct = {tuple(ids): number for number, ids in enumerate(dict.fromkeys(map(tuple, prompts)))}
    batch = _read(model, list(distinct), pad)
    if len(distinct) < len(prompts):
        batch.take([distinct[tuple(ids)] for ids in prompts])
    return batch


def left_padded(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask, both (prompts, longest)."""
    width = max(map(len, prompts))
    ids = [[pad] * (width - len(one)) + list(one) for one in prompts]
    mask = [[0] * (width - len(one)) + [1] * len(one) for one in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _read(model: Any, prompts: Sequence[Sequence[int]], pad: int) -> Batch:
    """Read different prompts; what all begin with is read in one row.

    The result has no gaps: a row's padding is on its left, and what it begins with is moved to the right by as much. Of a
    shorter prompt the last of these tokens are read again, in the place of padding.
    """
    ids, mask = left_padded(prompts, pad, model.device)
    batch = Batch(_forward(model), mask, GrowingCache(), torch.empty(0))
    # Of each prompt at least one token is read in its own row, whose logits are needed.
    common = _common_prefix([one[:-1] for one in prompts]) if len(prompts) > 1 else ()
    if len(common) < WORTH_A_PASS:
        batch.read(ids)
        return batch
    batch.mask = mask.new_ones(1, len(common))
    batch.read(torch.tensor([common], device=model.device))
    padding = mask.shape[1] - mask.sum(-1, keepdim=True)
    # Places of the padding get some token's keys: they are masked, but must be numbers.
    batch.cache.spread((torch.arange(len(common), device=mask.device) - padding).clamp(min=0))
    batch.mask = mask
    batch.read(ids[:, len(common) :])
    return batch


def _common_prefix(prompts: Sequence[Sequence[int]]) -> Sequence[int]:
    """What all begin with: the first and the last in order differ first."""
    first, last = min(prompts), max(prompts)
    same = (place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(same, min(len(first), len(last)))]


def _forward(model: Any) -> Callable[..., Any]:
    """A model's forward pass, of whose logits the last token's are computed alone where the model can."""
    if "logits_to_keep" not in signature(inner_model(model).forward).parameters:
        return model
    return lambda **inputs: model(**inputs, logits_to_keep=1)
