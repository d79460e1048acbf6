"""`python -m vpo.training.reference stage.yaml`: log-probabilities of pairs under the policy that DPO starts from."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch

from vpo.executor.local import LocalExecutor
from vpo.interfaces import Task
from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.limits import readable_length
from vpo.language.checkpoints.loading import load_pretrained
from vpo.records import Pair
from vpo.storage.items import Work, complete
from vpo.storage.rows import read_rows
from vpo.templates import read_template
from vpo.training.data import Collator, TrainingRow, pair_rows
from vpo.training.forward import Reader
from vpo.training.packing.attention import BLOCK
from vpo.training.worker import device_of, main


@dataclass(frozen=True)
class Reference:
    """The reference policy with what it needs to compute log-probabilities."""

    reader: Reader
    pad_id: int


def read_pairs(job: dict[str, Any]) -> None:
    """Write `reference.jsonl`: query_id (the pair's id), chosen, rejected (summed log-probabilities), one line a pair.

    Job fields: trainer, template, start (policy folder), rows (file of pairs), out (folder), label, max_length, batch_size, packing,
    bits and dtype (how the training quantises and reads the weights that it starts from: the reference must see the same ones).
    """
    device = device_of(job["trainer"])
    model, tokenizer = load_pretrained(Path(job["start"]), getattr(torch, job["dtype"]), job["bits"], device=device)
    renderer = Renderer(tokenizer, read_template(job["template"]))
    longest = readable_length(job["max_length"], model.config)
    rows, _ = pair_rows(read_rows(Path(job["rows"]), Pair), renderer, longest)
    model = (model if job["bits"] else model.to(device)).eval()
    reader = Reader.of(model, packing=job["packing"], longest=longest, device=device)
    make: Callable[[], Reference] = partial(Reference, reader, renderer.pad_id)
    path = Path(job["out"]) / "reference.jsonl"
    work = Work(path, dict, Task(make, read_rows_of), attrgetter("id"), job["batch_size"], job["label"])
    complete(rows, work, LocalExecutor())


def read_rows_of(reference: Reference, rows: Sequence[TrainingRow]) -> list[dict[str, Any]]:
    """The stored row of each pair."""
    sums = reference_logprobs(reference.reader, rows, reference.pad_id)
    return [{"query_id": row.id, "chosen": c, "rejected": r} for row, (c, r) in zip(rows, sums, strict=True)]


@torch.inference_mode()
def reference_logprobs(reader: Reader, rows: Sequence[TrainingRow], pad_id: int) -> list[tuple[float, ...]]:
    """Summed log-probability of each completion of each row; the model must be in eval mode (no dropout)."""
    if reader.model.training:
        raise RuntimeError("reference log-probabilities need model.eval()")
    device = reader.model.device
    pad_to = BLOCK if device.type == "cuda" else 1  # FlexAttention, which packed rows use on a GPU, takes whole blocks
    sequences = Collator(packing=reader.packing, pad_id=pad_id, pad_to=pad_to)(rows).to(device)
    return [tuple(line) for line in reader.logprobs(sequences).sums.view(len(rows), -1).tolist()]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), read_pairs))
