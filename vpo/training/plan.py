"""Which rows each optimizer step holds: a pure function of the number of rows, the seed and the recipe.

Resuming needs no sampler state, because step s of a recipe always holds the same rows. Data-parallel ranks need no
communication to agree on a loss's normaliser, because every rank computes the whole plan.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vpo.errors import UserError
from vpo.seeding import seed_of


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


@dataclass(frozen=True)
class BatchPlan:
    """How training rows are divided over optimizer steps, ranks and forward passes.

    Attributes:
        global_batch_size: rows per optimizer step, over all ranks.
        per_device: most rows of one forward pass.
        epochs: passes over the rows; may be a fraction.
        max_steps: optimizer steps, instead of `epochs`; None for no limit.
        seed: of the order of the rows.
        rank: this process.
        world: number of ranks.

    Raises:
        UserError: If a global batch cannot be divided equally.
    """

    global_batch_size: int
    per_device: int
    epochs: float
    max_steps: int | None = None
    seed: int = 0
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        rows = self.micro_batch_size * self.world
        if self.global_batch_size % rows:
            raise UserError(
                f"global_batch_size={self.global_batch_size} is not per_device_batch_size={self.micro_batch_size} x "
                f"accumulation x devices={self.world}; make it a multiple of {rows}"
            )

    @property
    def micro_batch_size(self) -> int:
        """Rows of one forward pass: `per_device`, or less where a global batch has fewer rows for each rank."""
        return min(self.per_device, max(1, self.global_batch_size // self.world))

    @property
    def accumulate(self) -> int:
        """Forward passes of each rank in an optimizer step."""
        return self.global_batch_size // (self.micro_batch_size * self.world)

    def steps(self, count: int) -> list[list[int]]:
        """Which of `count` rows make up each optimizer step."""
        epochs = self.epochs
        if self.max_steps is not None:
            epochs = np.ceil(self.max_steps * self.global_batch_size / count)
        steps = plan_steps(count, epochs=epochs, global_batch_size=self.global_batch_size, seed=self.seed)
        return steps[: self.max_steps]

    def share(self, step: Sequence[int]) -> list[list[tuple[int, bool]]]:
        """This rank's micro-batches of one step, as `share_of_rank`."""
        return share_of_rank(
            step, rank=self.rank, world=self.world, per_device=self.micro_batch_size, accumulate=self.accumulate
        )
