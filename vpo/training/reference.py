"""Log-probabilities of pairs under the reference policy, computed once and kept."""

from collections.abc import Sequence
from typing import Any

import torch

from vpo.training.data import Row, collate
from vpo.training.logprobs import completion_logprobs


@torch.inference_mode()
def reference_logprobs(model: Any, rows: Sequence[Row], pad_id: int) -> list[tuple[float, ...]]:
    """Summed log-probability of each completion of each row; `model` must be in eval mode (no dropout)."""
    if model.training:
        raise RuntimeError("reference log-probabilities need model.eval()")
    batch = collate(rows, [True] * len(rows), pad_id=pad_id, normaliser=1.0).to(model.device)
    sums, _ = completion_logprobs(model, batch.input_ids, batch.attention_mask, batch.completion_mask)
    return [tuple(line) for line in sums.view(len(rows), -1).tolist()]
