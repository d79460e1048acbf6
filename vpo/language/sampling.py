"""Draws of tokens whose randomness belongs to the item, not to its batch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


class Sampler:
    """Draws the next token of rows, each with random numbers of its own: a sample depends on its seed and not on its batch.

    Of waiting times e / p, e from the exponential distribution, the shortest is a draw from p (the Gumbel-max trick without its
    logarithms: -log e is Gumbel noise). Each token of the vocabulary has its own e, so a difference of rounding between two
    batches changes a draw only where two tokens are nearly equally soon. Nucleus (top_p) filtering comes first, as in Holtzman
    et al. 2020.

    Args:
        seeds: one seed a row.
        temperature: 0 takes the likeliest token.
        top_p: mass of the nucleus, in (0, 1].
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float, device: torch.device) -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.temperature, self.top_p = temperature, top_p

    def draw(self, logits: Tensor, rows: Sequence[int]) -> Tensor:
        """The next token of each of these rows (R,), from their logits (R, V)."""
        if not self.temperature:
            return logits.argmax(-1)
        probability = (logits.float() / self.temperature).softmax(-1)
        uniform = torch.empty_like(probability)
        for place, row in enumerate(rows):
            torch.rand(uniform.shape[-1], generator=self.generators[row], out=uniform[place])
        tokens = None
        if self.top_p < 1:
            probability, tokens = _nucleus(probability, self.top_p)
            uniform = uniform.gather(-1, tokens)
        # A uniform number of 0 would wait for ever, one of 1 not at all; torch draws from [0, 1).
        waiting = uniform.clamp_min_(torch.finfo(torch.float32).tiny).log_().neg_()
        soonest = (probability / waiting).argmax(-1)
        return soonest if tokens is None else tokens.gather(-1, soonest[:, None]).squeeze(-1)


class Forced(LogitsProcessor):
    """Lets transformers' `generate` take the tokens that a sampler draws."""

    def __init__(self, sampler: Sampler, rows: int) -> None:
        self.sampler, self.rows = sampler, range(rows)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (R, V) of -inf for all tokens but those drawn."""
        tokens = self.sampler.draw(scores, self.rows)[:, None]
        return torch.full_like(scores, float("-inf")).scatter_(-1, tokens, 0.0)


def _nucleus(probability: Tensor, top_p: float, few: int = 64) -> tuple[Tensor, Tensor]:
    """The smallest set of tokens whose probabilities sum to at least top_p, from probabilities (R, V).

    Returns their probabilities and ids, both (R, n), likeliest first; tokens outside of a row's set have probability 0. A
    nucleus rarely holds more than a few tokens, so the largest `few` are tried before more are sorted.
    """
    count = min(few, probability.shape[-1])
    while True:
        ordered, tokens = probability.topk(count, dim=-1)
        upto = ordered.cumsum(-1)
        if count == probability.shape[-1] or bool((upto[:, -1] >= top_p).all()):
            return ordered.masked_fill(upto - ordered >= top_p, 0.0), tokens
        count = min(16 * count, probability.shape[-1])
