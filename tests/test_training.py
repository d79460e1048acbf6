"""Training through Lightning: what is equal to what, and what is refused."""

import json
import shutil

import pytest
import torch
import yaml

from tests.training_jobs import LORA, RECIPE, WORDS, job, losses, train_here, weights, write_reference
from vpo.backbone.hf import load_pretrained
from vpo.records import Pair
from vpo.training import launch, worker
from vpo.training.data import arrange, pair_rows
from vpo.training.forward import Reader


@pytest.mark.parametrize(("task", "sft_weight"), [("sft", 0.0), ("dpo", 0.0), ("dpo", 0.7)])
def test_accumulation_and_packing_do_not_change_the_steps(tmp_path, start, renderer, task, sft_weight):
    """4 rows at once, 1 row x 4, and padded instead of packed: the same losses, normalised over the global batch.

    Completions differ in length, so an SFT loss or term that took a mean of means would differ.
    """
    found = {}
    for name, trainer in {"once": {}, "by one": {"per_device_batch_size": 1}, "padded": {"packing": False}}.items():
        spec = job(tmp_path / name, start, task, recipe={"sft_weight": sft_weight, "max_steps": 6}, trainer=trainer)
        if task == "dpo":
            write_reference(tmp_path / name, start, renderer)
        assert train_here(spec) == 0
        found[name] = losses(tmp_path / name)
    assert found["by one"] == pytest.approx(found["once"], rel=2e-4)
    assert found["padded"] == pytest.approx(found["once"], rel=2e-4)


STEPPED = {
    "epochs": 3, "max_steps": None, "global_batch_size": 10,
    "optimizer": RECIPE["optimizer"] | {"schedule": "step", "gamma": 0.5, "warmup": 0.0, "clip": None},
}  # fmt: skip


def test_the_rate_falls_after_every_epoch(start):
    """24 rows in batches of 10: updates begin at rows 0, 10, 20 | 30, 40 | 50, 60, 70, epochs at 0, 24 and 48."""
    reader = Reader.of(load_pretrained(start, torch.float32)[0], packing=False, longest=128)
    made = worker.build_module("sft", reader, RECIPE | STEPPED, 8, 0, rows=24).configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == [1e-3, 1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4, 2.5e-4]


def test_a_worker_knows_its_epochs_and_clips_nothing_where_told_so(tmp_path, start):
    for name, clip in (("never", None), ("late", 1e9)):
        recipe = STEPPED | {"optimizer": STEPPED["optimizer"] | {"clip": clip}}
        assert train_here(job(tmp_path / name, start, recipe=recipe, trainer={"per_device_batch_size": 10})) == 0
    assert weights(tmp_path / "never") == weights(tmp_path / "late")
    lines = [json.loads(line) for line in (tmp_path / "never/training.jsonl").read_text().splitlines()]
    assert len(losses(tmp_path / "never")) == 8  # 72 rows, 10 an update
    assert {1e-3, 5e-4, 2.5e-4} <= {line["train/lr"] for line in lines}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "adapter"),
    [("sft", LORA), ("sft", LORA | {"bits": 4}), ("dpo", None)],
    ids=["sft of an adapter", "sft of an adapter on 4 bits", "dpo"],
)
def test_8_rows_on_one_process_are_4_and_4_on_two(tmp_path, start, renderer, task, adapter):
    """Equal up to the order of sums, whatever the lengths of the completions that each rank gets."""
    recipe = {"global_batch_size": 8, "max_steps": 4, "sft_weight": 0.7, "adapter": adapter}
    ranks = {1: {"per_device_batch_size": 8}, 2: {"per_device_batch_size": 4, "devices": 2, "strategy": "ddp"}}
    for world, trainer in ranks.items():
        folder = tmp_path / str(world)
        spec = job(folder, start, task, recipe=recipe, trainer=trainer)
        if task == "dpo":
            write_reference(folder, start, renderer)
        launch.train_in_child(yaml.safe_load(spec.read_text()), folder)
    assert losses(tmp_path / "2") == pytest.approx(losses(tmp_path / "1"), rel=1e-5)
    one, two = (load_pretrained(tmp_path / world / "policy", torch.float32)[0].state_dict() for world in "12")
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-5)


def test_a_reference_that_is_not_the_start_is_refused(tmp_path, start, renderer):
    spec = job(tmp_path, start, "dpo")
    write_reference(tmp_path, start, renderer, shift=1.0)
    assert train_here(spec) == 2
    assert (
        "the reference log-probabilities are not those of the starting policy" in (tmp_path / "error.txt").read_text()
    )


def test_a_reference_of_other_pairs_is_refused(tmp_path, start, renderer):
    spec = job(tmp_path, start, "dpo")
    write_reference(tmp_path, start, renderer)
    path = tmp_path / "reference.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert train_here(spec) == 2
    complaint = (tmp_path / "error.txt").read_text()
    assert f"{path}: no log-probabilities of 1 of 24 pairs, such as a red dog runs 0;" in complaint


def test_divergence_is_one_line(tmp_path, start):
    spec = job(tmp_path, start, recipe={"optimizer": RECIPE["optimizer"] | {"lr": 1e30}})
    assert train_here(spec) == 2
    assert "training diverged at step" in (tmp_path / "error.txt").read_text()


def test_a_tokenizer_without_pad_token_trains_the_same(tmp_path, start):
    """Padding is masked, so the EOS that stands in for it changes nothing."""
    shutil.copytree(start, tmp_path / "start")
    config = tmp_path / "start/tokenizer_config.json"
    told = json.loads(config.read_text())
    config.write_text(json.dumps({key: value for key, value in told.items() if key != "pad_token"}))
    for name, folder in {"with": start, "without": tmp_path / "start"}.items():
        assert train_here(job(tmp_path / name, folder, recipe={"max_steps": 3}, trainer={"packing": False})) == 0
    assert load_pretrained(tmp_path / "without/policy", torch.float32)[1].pad_token is None
    assert losses(tmp_path / "without") == losses(tmp_path / "with")


def test_packed_and_padded_batches_read_the_same(start, renderer):
    model = load_pretrained(start, torch.float32)[0].eval()
    rows, _ = pair_rows([Pair(q, q, f"A fine {q}", f"A bad {q} it is", "text") for q in WORDS], renderer, 128)
    packed = Reader.of(model, packing=True, longest=128)
    sums = [packed.logprobs(arrange(rows, packing=one, pad_id=renderer.pad_id)).sums for one in (True, False)]
    assert torch.allclose(*sums, rtol=1e-5)
