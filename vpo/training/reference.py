"""Log-probabilities of pairs under the reference policy, computed once and kept."""

from collections.abc import Sequence

import torch

from vpo.training.data import Row, arrange
from vpo.training.forward import Reader


@torch.inference_mode()
def reference_logprobs(reader: Reader, rows: Sequence[Row], pad_id: int) -> list[tuple[float, ...]]:
    """Summed log-probability of each completion of each row; the model must be in eval mode (no dropout)."""
    if reader.model.training:
        raise RuntimeError("reference log-probabilities need model.eval()")
    sequences = arrange(rows, packing=reader.packing, pad_id=pad_id).to(reader.model.device)
    return [tuple(line) for line in reader.logprobs(sequences).sums.view(len(rows), -1).tolist()]
