"""Rows for training: which are usable, which make up a step, and how ranks share them."""

import pytest

from vpo.errors import UserError
from vpo.records import Example, Pair
from vpo.training.data import Batch, Collator, PlannedDataModule, TrainingRow, pair_rows, sft_rows
from vpo.training.plan import BatchPlan, plan_steps, share_of_rank


def test_plan_is_epochs_of_permutations_counted_in_rows():
    steps = plan_steps(10, epochs=2.5, global_batch_size=4, seed=3)
    assert [len(step) for step in steps] == [4, 4, 4, 4, 4, 4, 1]  # 25 rows
    stream = [row for step in steps for row in step]
    assert sorted(stream[:10]) == sorted(stream[10:20]) == list(range(10))
    assert stream[:10] != stream[10:20]
    assert steps == plan_steps(10, epochs=2.5, global_batch_size=4, seed=3)
    assert steps != plan_steps(10, epochs=2.5, global_batch_size=4, seed=4)


def test_ranks_share_a_step_without_losing_or_repeating_a_row():
    shares = [share_of_rank([7, 8, 9, 5, 6], rank=rank, world=2, per_device=2, accumulate=2) for rank in (0, 1)]
    assert [[len(micro) for micro in share] for share in shares] == [[2, 2], [2, 2]]
    real = sorted(row for share in shares for micro in share for row, is_real in micro if is_real)
    assert real == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("count", [0, 1, 5, 8])
def test_ranks_validate_equally_many_batches_and_every_row_once(count):
    rows = [TrainingRow(str(number), (1,), ((number + 2, 9),)) for number in range(count)]
    shares = {world: [validation_of(rows, rank, world) for rank in range(world)] for world in (1, 3)}
    for share in shares.values():
        assert len({len(batches) for batches in share}) == 1
        assert bool(share[0]) == bool(count)
        real = [
            ids[1] for batches in share for batch in batches
            for ids, weight in zip(batch.sequences.input_ids.tolist(), batch.weight, strict=True) if weight
        ]  # fmt: skip
        assert sorted(real) == list(range(2, count + 2))
    assert sum(len(batch.weight) for batch in shares[1][0]) == count  # alone, nothing is filled up


def validation_of(rows: list[TrainingRow], rank: int, world: int) -> list[Batch]:
    data = PlannedDataModule(
        [TrainingRow("a", (1,), ((2,),))], rows, collator=Collator(pad_id=0), unit="rows",
        plan=BatchPlan(global_batch_size=6, per_device=2, epochs=1, rank=rank, world=world),
    )  # fmt: skip
    return list(data.val_dataloader())


def test_a_batch_that_devices_cannot_share_is_refused():
    with pytest.raises(
        UserError, match=r"global_batch_size=6 is not per_device_batch_size=4 x accumulation x devices=1"
    ):
        BatchPlan(global_batch_size=6, per_device=4, epochs=1)


def test_unusable_rows_are_left_out_and_counted(renderer):
    examples = [Example("a", "a dog", "A dog."), Example("b", "a dog", " "), Example("c", "a dog", "dog " * 200)]
    rows, left_out = sft_rows(examples, renderer, max_length=64)
    assert ([row.query_id for row in rows], left_out) == (["a"], {"empty": 1, "over-long": 1})
    rows, left_out = pair_rows(
        [Pair("a", "q", "same", "same ", "text"), Pair("b", "q", "x", "y", "text")], renderer, 64
    )
    assert ([row.query_id for row in rows], left_out) == (["b"], {"equal": 1})


def test_a_plan_divides_a_global_batch_over_ranks_and_forward_passes():
    plan = BatchPlan(global_batch_size=12, per_device=2, epochs=1, world=3)
    assert (plan.micro_batch_size, plan.accumulate) == (2, 2)  # 12 = 2 rows x 2 passes x 3 ranks
    small = BatchPlan(global_batch_size=3, per_device=8, epochs=1, world=3)
    assert (small.micro_batch_size, small.accumulate) == (1, 1)  # a rank has no more than one row
    assert [len(step) for step in plan.steps(20)] == [12, 8]
    limited = BatchPlan(global_batch_size=12, per_device=12, epochs=1, max_steps=3)
    assert [len(step) for step in limited.steps(20)] == [12, 12, 12]  # 36 rows: two epochs are enough


def test_two_pairs_of_a_query_are_two_rows_with_ids_of_their_own(renderer):
    pairs = [Pair("a", "a dog", "one", "two", "text"), Pair("a", "a dog", "three", "two", "sampled")]
    rows, _ = pair_rows(pairs, renderer, 100)
    assert [row.id for row in rows] == ["a", "a-sampled"]
    assert [row.query_id for row in rows] == ["a", "a"]
