"""Log-probabilities of pairs under the reference policy, computed once and kept."""

from collections.abc import Sequence

import torch

from vpo.training.attention import BLOCK
from vpo.training.data import Row, arrange
from vpo.training.forward import Reader


@torch.inference_mode()
def reference_logprobs(reader: Reader, rows: Sequence[Row], pad_id: int) -> list[tuple[float, ...]]:
    """Summed log-probability of each completion of each row; the model must be in eval mode (no dropout)."""
    if reader.model.training:
        raise RuntimeError("reference log-probabilities need model.eval()")
    device = reader.model.device
    pad_to = BLOCK if device.type == "cuda" else 1  # FlexAttention, which packed rows meet on a GPU, takes whole blocks
    sequences = arrange(rows, packing=reader.packing, pad_id=pad_id, pad_to=pad_to).to(device)
    return [tuple(line) for line in reader.logprobs(sequences).sums.view(len(rows), -1).tolist()]
