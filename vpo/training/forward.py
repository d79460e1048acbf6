"""How a model gets a batch: as a packed tree where it can take one, else as padded sequences."""

import logging
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vpo.training.data import Padded
from vpo.training.logprobs import SequenceLogprobs, completion_logprobs, head_problem
from vpo.training.packing.flex_probe import flex_problem
from vpo.training.packing.rows import PackedRow, enable_packing, packed_logprobs, packing_problem

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reader:
    """Log-probabilities of completions under one model.

    Attributes:
        model: a causal language model.
        packing: whether it takes packed rows (`vpo.training.packing.rows`).
        own_logits: whether its own logits must be used, because it does more than a linear head.
    """

    model: Any
    packing: bool
    own_logits: bool

    @classmethod
    def of(
        cls, model: nn.Module, *, packing: bool, longest: int, device: str = "cpu", precision: str = "32-true"
    ) -> "Reader":
        """The fastest way for this model; where packing is requested and impossible, the reason is logged.

        Args:
            model: a causal language model, wherever it lies now.
            packing: whether packed rows are requested.
            longest: most tokens of prompt and completion together.
            device: where it will compute; on a GPU its attention kernel is tested there first.
            precision: the trainer's.
        """
        reason = packing_problem(model, longest=longest) if packing else None
        if packing and reason is None and torch.device(device).type == "cuda":
            reason = flex_problem(model, device, precision)
        if packing and reason is None:
            enable_packing(model)
        elif packing and not int(os.environ.get("RANK", 0)):  # once, not by every rank
            log.warning("  padded batches instead of packed ones: %s", reason)
        return cls(model, packing and reason is None, own_logits=head_problem(model) is not None)

    def logprobs(self, sequences: Padded | PackedRow) -> SequenceLogprobs:
        """Summed log-probability of every completion and its number of tokens, (B * C,) each."""
        if isinstance(sequences, PackedRow):
            return packed_logprobs(self.model, sequences)
        ids, mask, completion = sequences.input_ids, sequences.attention_mask, sequences.completion_mask
        return completion_logprobs(self.model, ids, mask, completion, own_logits=self.own_logits)
