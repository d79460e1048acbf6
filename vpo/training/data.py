"""Rows for training: rendered, put together to batches, and given to Lightning in the order of a plan (`vpo.training.plan`)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vpo.language.chat.rendering import Renderer
from vpo.records import Example, Pair
from vpo.training.packing.rows import PackedRow, build_trees, pack, pad_right
from vpo.training.plan import BatchPlan


@dataclass(frozen=True)
class TrainingRow:
    """A rendered query and its completions: one for SFT, (chosen, rejected) for preferences.

    `reference` holds the summed log-probability of each completion under the reference policy, where it is known.
    """

    query_id: str
    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    reference: tuple[float, ...] = ()
    pair_id: str | None = None

    @property
    def id(self) -> str:
        """The pair's id; the query's where no query has two rows."""
        return self.pair_id or self.query_id

    @property
    def completion_tokens(self) -> int:
        return sum(map(len, self.completions))


@dataclass(frozen=True)
class Padded:
    """Sequences as an ordinary batch: one row a completion, padded on the right, (B * C, T) each.

    Attributes:
        input_ids: tokens.
        attention_mask: 1 on tokens.
        completion_mask: 1 on completion tokens (the EOS included).
    """

    input_ids: Tensor
    attention_mask: Tensor
    completion_mask: Tensor

    def to(self, device: torch.device) -> "Padded":
        return Padded(self.input_ids.to(device), self.attention_mask.to(device), self.completion_mask.to(device))


@dataclass(frozen=True)
class Batch:
    """Rows of one forward pass; completion c of row i is sequence i * C + c.

    Attributes:
        sequences: the tokens, packed into one tree or padded.
        weight: (B,), 0 for a filler row, which gives every rank the same number of rows.
        reference: (B, C), or (B, 0) where unknown.
        normaliser: completion tokens (SFT) or rows (preferences) of the whole global batch, over ranks and accumulation.
        chosen_tokens: tokens of the first completions of the whole global batch, for the SFT term of preferences.
    """

    sequences: Padded | PackedRow
    weight: Tensor
    reference: Tensor
    normaliser: float
    chosen_tokens: float = 1.0

    def to(self, device: torch.device) -> "Batch":
        moved = {name: getattr(self, name).to(device) for name in ("sequences", "weight", "reference")}
        return replace(self, **moved)


def sft_rows(
    examples: Sequence[Example], renderer: Renderer, max_length: int
) -> tuple[list[TrainingRow], Counter[str]]:
    """Rows of supervised examples, and how many were left out: "empty" or "over-long" (more than `max_length` tokens)."""
    texts = [(one.query_id, one.query, (one.completion,)) for one in examples]
    return _render_rows(texts, renderer, max_length)


def pair_rows(pairs: Sequence[Pair], renderer: Renderer, max_length: int) -> tuple[list[TrainingRow], Counter[str]]:
    """Rows of preference pairs, and how many were left out: "empty", "over-long" or "equal" (both sides the same tokens)."""
    texts = [(one.query_id, one.query, (one.chosen, one.rejected)) for one in pairs]
    return _render_rows(texts, renderer, max_length, [one.id for one in pairs])


def _render_rows(
    texts: Sequence[tuple[str, str, tuple[str, ...]]],
    renderer: Renderer,
    max_length: int,
    pair_ids: Sequence[str | None] | None = None,
) -> tuple[list[TrainingRow], Counter[str]]:
    rows, left_out = [], Counter[str]()
    for (query_id, query, completions), pair_id in zip(texts, pair_ids or [None] * len(texts), strict=True):
        prompt = tuple(renderer.prompt_ids(query))
        ids = tuple(tuple(renderer.completion_ids(text)) for text in completions)
        if not all(text.strip() for text in completions):
            left_out["empty"] += 1
        elif len(set(ids)) < len(ids):
            left_out["equal"] += 1
        elif len(prompt) + max(map(len, ids)) > max_length:
            left_out["over-long"] += 1
        else:
            rows.append(TrainingRow(query_id, prompt, ids, pair_id=pair_id))
    return rows, left_out


@dataclass(frozen=True)
class Collator:
    """Puts rows together for one forward pass.

    Attributes:
        pad_id: the token that fills short sequences.
        packing: one packed tree instead of sequences padded on the right.
        pad_to: what the length of a packed tree is a multiple of.
    """

    pad_id: int
    packing: bool = False
    pad_to: int = 1

    def __call__(self, rows: Sequence[TrainingRow]) -> Padded | PackedRow:
        prompts, completions = [row.prompt for row in rows], [row.completions for row in rows]
        if not self.packing:
            return Padded(*pad_right(prompts, completions, self.pad_id))
        (tree,) = build_trees(prompts, completions, items_per_row=len(rows))
        return pack(tree, pad_to=self.pad_to, pad_id=self.pad_id)


class PlannedLoader:
    """This rank's micro-batches from optimizer step `start` on; its length is that of the whole plan."""

    def __init__(self, module: "PlannedDataModule", start: int) -> None:
        self.module, self.start = module, start

    def __len__(self) -> int:
        return len(self.module.steps) * self.module.accumulate

    def __iter__(self) -> Iterator[Batch]:
        data = self.module
        for step in data.steps[self.start :]:
            for micro in data.plan.share(step):
                yield data.batch(
                    [data.rows[row] for row, _ in micro],
                    [real for _, real in micro],
                    data.normaliser(step),
                    chosen_tokens=sum(len(data.rows[row].completions[0]) for row in step),
                )


class PlannedDataModule(pl.LightningDataModule):
    """Gives Lightning the batches of a plan.

    Args:
        rows: training rows.
        validation: held-out rows; may be empty.
        plan: which rows make up a batch.
        collator: how rows become sequences.
        unit: what the loss of a global batch is a mean over: "tokens" (SFT) or "rows" (preferences).
        left_out: how many rows could not be used, by reason; for the record.
    """

    def __init__(
        self,
        rows: Sequence[TrainingRow],
        validation: Sequence[TrainingRow],
        *,
        plan: BatchPlan,
        collator: Collator,
        unit: Literal["tokens", "rows"],
        left_out: Counter[str] | None = None,
    ) -> None:
        super().__init__()
        self.rows, self.validation, self.left_out = rows, validation, left_out or Counter()
        self.plan, self.collator, self.unit = plan, collator, unit
        self.accumulate = plan.accumulate
        self.steps = plan.steps(len(rows))

    def normaliser(self, step: Sequence[int]) -> float:
        """What the summed loss of a global batch is divided by."""
        return sum(self.rows[row].completion_tokens for row in step) if self.unit == "tokens" else len(step)

    def batch(
        self, rows: Sequence[TrainingRow], real: Sequence[bool], normaliser: float, chosen_tokens: float = 1.0
    ) -> Batch:
        """The batch of some rows; those that are not `real` have weight 0."""
        return Batch(
            self.collator(rows),
            weight=torch.tensor(real, dtype=torch.float32),
            reference=torch.tensor([row.reference for row in rows], dtype=torch.float32).reshape(len(rows), -1),
            normaliser=normaliser,
            chosen_tokens=chosen_tokens,
        )

    def train_dataloader(self) -> PlannedLoader:
        """Lightning calls it after a checkpoint is restored, so the trainer knows at which step to continue."""
        return PlannedLoader(self, start=0 if self.trainer is None else self.trainer.global_step)

    def val_dataloader(self) -> DataLoader[Batch]:
        """This rank's share of the validation rows, filled up with rows of weight 0.

        Every rank has the same number of rows, hence of batches: Lightning's collectives wait for all ranks.
        """
        size, world = self.plan.micro_batch_size, self.plan.world
        filled = [(row, True) for row in self.validation]
        filled += [(row, False) for row in self.validation[:1]] * (-len(self.validation) % world)
        mine = filled[self.plan.rank :: world]
        parts = [mine[start : start + size] for start in range(0, len(mine), size)]
        batches = [self.batch([row for row, _ in part], [real for _, real in part], 1.0) for part in parts]
        return DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type] # a list will do

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device)
