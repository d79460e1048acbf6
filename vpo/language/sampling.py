"""Draws of tokens whose randomness belongs to the item, not to its batch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


class GumbelNoise(LogitsProcessor):
    """Samples by the Gumbel-max trick: argmax(logits / T + g) is a draw from softmax(logits / T).

    Each item draws its own g from its own generator, so a sample depends on its seed and not on its batch. Nucleus (top_p)
    filtering comes first, as in Holtzman et al. 2020.

    Args:
        seeds: one seed an item, (B,).
        temperature: above 0.
        top_p: mass of the nucleus, in (0, 1].
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float, device: torch.device) -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.temperature, self.top_p = temperature, top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Noised logits, (B, V), from logits (B, V)."""
        scores = scores.float() / self.temperature
        if self.top_p < 1:
            scores = _keep_nucleus(scores, self.top_p)
        uniform = torch.stack(
            [torch.rand(scores.shape[-1], generator=one, device=scores.device) for one in self.generators]
        )
        return scores - torch.log(-torch.log(uniform.clamp_min(torch.finfo(torch.float32).tiny)))


def _keep_nucleus(scores: Tensor, top_p: float, few: int = 64) -> Tensor:
    """Logits (B, V) with -inf outside the smallest set of tokens whose probabilities sum to at least top_p.

    A nucleus rarely holds more than a few tokens, so the largest `few` are tried before all V are sorted.
    """
    count = min(few, scores.shape[-1])
    while True:
        ordered, order = scores.topk(count, dim=-1)
        probability = (ordered - scores.logsumexp(-1, keepdim=True)).exp()
        upto = probability.cumsum(-1)
        if count == scores.shape[-1] or bool((upto[:, -1] >= top_p).all()):
            keep = upto - probability < top_p
            return torch.full_like(scores, float("-inf")).scatter(-1, order, ordered.masked_fill(~keep, float("-inf")))
        count = scores.shape[-1]
