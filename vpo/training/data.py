"""Rows for training, and which row is met when: a pure function of the data, the seed and the recipe.

Resuming needs no sampler state, because step s of a recipe always holds the same rows; data-parallel ranks need no
communication to agree on a loss's normaliser, because every rank knows the whole plan.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vpo.errors import UserError
from vpo.language.chat.rendering import Renderer
from vpo.records import Example, Pair
from vpo.seeding import seed_of
from vpo.training.packing.rows import PackedRow, pack, pad_right, plant


@dataclass(frozen=True)
class Row:
    """A rendered query and its completions: one for SFT, (chosen, rejected) for preferences.

    `reference` holds the summed log-probability of each completion under the reference policy, where it is known.
    """

    query_id: str
    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    reference: tuple[float, ...] = ()

    @property
    def completion_tokens(self) -> int:
        return sum(map(len, self.completions))


@dataclass(frozen=True)
class Padded:
    """Sequences as they are usually fed: one row a completion, filled up on the right, (B * C, T) each.

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
        weight: (B,), 0 for a filler row that evens out ranks.
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


def sft_rows(examples: Sequence[Example], renderer: Renderer, max_length: int) -> tuple[list[Row], Counter[str]]:
    """Rows of supervised examples, and how many were left out: "empty" or "over-long" (more than `max_length` tokens)."""
    texts = [(one.query_id, one.query, (one.completion,)) for one in examples]
    return _render_rows(texts, renderer, max_length)


def pair_rows(pairs: Sequence[Pair], renderer: Renderer, max_length: int) -> tuple[list[Row], Counter[str]]:
    """Rows of preference pairs, and how many were left out: "empty", "over-long" or "equal" (both sides the same tokens)."""
    texts = [(one.query_id, one.query, (one.chosen, one.rejected)) for one in pairs]
    return _render_rows(texts, renderer, max_length)


def _render_rows(
    texts: Sequence[tuple[str, str, tuple[str, ...]]], renderer: Renderer, max_length: int
) -> tuple[list[Row], Counter[str]]:
    rows, left_out = [], Counter[str]()
    for query_id, query, completions in texts:
        prompt = tuple(renderer.prompt_ids(query))
        ids = tuple(tuple(renderer.completion_ids(text)) for text in completions)
        if not all(text.strip() for text in completions):
            left_out["empty"] += 1
        elif len(set(ids)) < len(ids):
            left_out["equal"] += 1
        elif len(prompt) + max(map(len, ids)) > max_length:
            left_out["over-long"] += 1
        else:
            rows.append(Row(query_id, prompt, ids))
    return rows, left_out


def plan_steps(count: int, *, epochs: float, global_batch_size: int, seed: int) -> list[list[int]]:
    """Which rows make up each optimizer step: every epoch a fresh permutation, cut into global batches.

    Epochs follow one another without a gap, so only the very last step can be short. Sizes are counted in rows (pairs, for
    preferences) per optimizer step, whatever the packing or the number of devices.
    """
    stream: list[int] = []
    for epoch in range(int(np.ceil(epochs))):
        stream += np.random.default_rng(seed_of("epoch", seed, epoch)).permutation(count).tolist()
    stream = stream[: max(1, round(count * epochs))]
    return [stream[start : start + global_batch_size] for start in range(0, len(stream), global_batch_size)]


def share_of_rank(
    step: Sequence[int], *, rank: int, world: int, per_device: int, accumulate: int
) -> list[list[tuple[int, bool]]]:
    """This rank's micro-batches of one step, as (row, real): a short step is filled with unreal rows of weight 0."""
    size = world * per_device * accumulate
    filled = [(row, True) for row in step] + [(step[0], False)] * (size - len(step))
    mine = filled[rank::world]
    return [mine[start : start + per_device] for start in range(0, len(mine), per_device)]


def arrange(rows: Sequence[Row], *, packing: bool, pad_id: int, pad_to: int = 1) -> Padded | PackedRow:
    """The sequences of one forward pass: one packed tree, or padded on the right."""
    prompts, completions = [row.prompt for row in rows], [row.completions for row in rows]
    if not packing:
        return Padded(*pad_right(prompts, completions, pad_id))
    (tree,) = plant(prompts, completions, items_per_row=len(rows))
    return pack(tree, pad_to=pad_to, pad_id=pad_id)


class PlannedLoader:
    """This rank's micro-batches from optimizer step `start` on; its length is that of the whole plan."""

    def __init__(self, module: "PlannedDataModule", start: int) -> None:
        self.module, self.start = module, start

    def __len__(self) -> int:
        return len(self.module.steps) * self.module.accumulate

    def __iter__(self) -> Iterator[Batch]:
        data = self.module
        for step in data.steps[self.start :]:
            for micro in share_of_rank(
                step, rank=data.rank, world=data.world, per_device=data.per_device, accumulate=data.accumulate
            ):
                yield data.batch(
                    [data.rows[row] for row, _ in micro],
                    [real for _, real in micro],
                    data.normaliser(step),
                    chosen_tokens=sum(len(data.rows[row].completions[0]) for row in step),
                )


class PlannedDataModule(pl.LightningDataModule):
    """Feeds a plan to Lightning.

    Args:
        rows: training rows.
        validation: held-out rows; may be empty.
        pad_id: fills short sequences.
        packing: whether a micro-batch is one packed tree; `pad_to` is what its length is a multiple of.
        by: what a global batch is counted in for the loss: "tokens" (SFT) or "rows" (preferences).
        global_batch_size: rows per optimizer step; must equal per_device x accumulation x world.
        left_out: how many rows could not be used, by reason; for the record.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        validation: Sequence[Row],
        *,
        pad_id: int,
        packing: bool,
        pad_to: int,
        by: str,
        epochs: float,
        global_batch_size: int,
        per_device: int,
        rank: int,
        world: int,
        seed: int,
        max_steps: int | None = None,
        left_out: Counter[str] | None = None,
    ) -> None:
        super().__init__()
        per_device = min(per_device, max(1, global_batch_size // world))
        if global_batch_size % (per_device * world):
            raise UserError(
                f"global_batch_size={global_batch_size} is not per_device_batch_size={per_device} x accumulation x "
                f"devices={world}; make it a multiple of {per_device * world}"
            )
        self.rows, self.validation, self.left_out, self.by = rows, validation, left_out or Counter(), by
        self.arrangement = {"packing": packing, "pad_id": pad_id, "pad_to": pad_to}
        self.per_device, self.rank, self.world = per_device, rank, world
        self.accumulate = global_batch_size // (per_device * world)
        enough = epochs if max_steps is None else np.ceil(max_steps * global_batch_size / len(rows))
        self.steps = plan_steps(len(rows), epochs=enough, global_batch_size=global_batch_size, seed=seed)[:max_steps]

    def normaliser(self, step: Sequence[int]) -> float:
        """What the summed loss of a global batch is divided by."""
        return sum(self.rows[row].completion_tokens for row in step) if self.by == "tokens" else len(step)

    def batch(self, rows: Sequence[Row], real: Sequence[bool], normaliser: float, chosen_tokens: float = 1.0) -> Batch:
        return Batch(
            arrange(rows, **self.arrangement),
            weight=torch.tensor(real, dtype=torch.float32),
            reference=torch.tensor([row.reference for row in rows], dtype=torch.float32).reshape(len(rows), -1),
            normaliser=normaliser,
            chosen_tokens=chosen_tokens,
        )

    def train_dataloader(self) -> PlannedLoader:
        """Lightning asks for it after a checkpoint is restored, so the trainer knows where to go on."""
        return PlannedLoader(self, start=self.trainer.global_step)

    def val_dataloader(self) -> DataLoader[Batch]:
        """This rank's share of the validation rows, filled up with rows of weight 0.

        Every rank has the same number of rows, hence of batches: Lightning's collectives wait for all ranks.
        """
        filled = [(row, True) for row in self.validation]
        filled += [(row, False) for row in self.validation[:1]] * (-len(self.validation) % self.world)
        mine = filled[self.rank :: self.world]
        parts = [mine[start : start + self.per_device] for start in range(0, len(mine), self.per_device)]
        batches = [self.batch([row for row, _ in part], [real for _, real in part], 1.0) for part in parts]
        return DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device)
