"""Training through Lightning: what is equal to what, and what is refused."""

import json
import math
import shutil

import pytest
import pytorch_lightning as pl
import torch
import yaml

from tests.training_jobs import LORA, RECIPE, WORDS, job, losses, metric, train_here, weights, work, write_reference
from vpo.errors import UserError
from vpo.language.checkpoints.loading import load_pretrained
from vpo.processes import launch
from vpo.records import Pair
from vpo.training import modules
from vpo.training.data import Collator, pair_rows
from vpo.training.forward import Reader
from vpo.training.plan import plan_steps
from vpo.training.worker import build_module


@pytest.mark.parametrize(("task", "sft_weight"), [("sft", 0.0), ("dpo", 0.0), ("dpo", 0.7)])
def test_accumulation_and_packing_do_not_change_the_steps(tmp_path, start, renderer, task, sft_weight):
    """4 rows at once, 1 row x 4, and padded instead of packed: the same losses and gradients, normalised over the global batch.

    Completions differ in length, so an SFT loss or term that took a mean of means would differ. AdamW takes the same steps
    whatever a gradient is multiplied by, so the gradient's norm is compared as well.
    """
    found = {}
    for name, trainer in {"once": {}, "by one": {"per_device_batch_size": 1}, "padded": {"packing": False}}.items():
        spec = job(tmp_path / name, start, task, recipe={"sft_weight": sft_weight, "max_steps": 6}, trainer=trainer)
        if task == "dpo":
            write_reference(tmp_path / name, start, renderer)
        assert train_here(spec) == 0
        found[name] = losses(tmp_path / name), metric(tmp_path / name, "train/grad_norm")
    for name in ("by one", "padded"):
        for one, other in zip(found[name], found["once"], strict=True):
            assert one == pytest.approx(other, rel=2e-4)


STEPPED = {
    "epochs": 3, "max_steps": None, "global_batch_size": 10,
    "optimizer": RECIPE["optimizer"] | {"schedule": "step", "gamma": 0.5, "warmup": 0.0, "clip": None},
}  # fmt: skip


def test_the_rate_falls_after_every_epoch(start):
    """24 rows in batches of 10: updates begin at rows 0, 10, 20 | 30, 40 | 50, 60, 70, epochs at 0, 24 and 48."""
    reader = Reader.of(load_pretrained(start, torch.float32)[0], packing=False, longest=128)
    made = build_module("sft", reader, RECIPE | STEPPED, 8, 0, rows=24).configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == [1e-3, 1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4, 2.5e-4]


def test_a_worker_knows_its_epochs_and_clips_nothing_where_clip_is_null(tmp_path, start):
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
    """Equal up to the order of sums, whatever the lengths of the completions that each rank gets.

    The gradient's norm tells of a factor that AdamW would hide.
    """
    recipe = {"global_batch_size": 8, "max_steps": 4, "sft_weight": 0.7, "adapter": adapter}
    ranks = {1: {"per_device_batch_size": 8}, 2: {"per_device_batch_size": 4, "devices": 2, "strategy": "ddp"}}
    for world, trainer in ranks.items():
        folder = tmp_path / str(world)
        spec = job(folder, start, task, recipe=recipe, trainer=trainer)
        if task == "dpo":
            write_reference(folder, start, renderer)
        launch.train_in_child(yaml.safe_load(spec.read_text()), folder)
    assert losses(tmp_path / "2") == pytest.approx(losses(tmp_path / "1"), rel=1e-5)
    norms = metric(tmp_path / "1", "train/grad_norm")
    assert metric(tmp_path / "2", "train/grad_norm") == pytest.approx(norms, rel=1e-4)
    one, two = (load_pretrained(tmp_path / world / "policy", torch.float32)[0].state_dict() for world in "12")
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-5)


WRONG = {
    "one side of all": ("sigmoid", lambda pair: (1.0, 0.0)),
    "both sides of all": ("sigmoid", lambda pair: (20.0, 20.0)),  # every margin is 0 and every loss ln 2
    "up and down": ("hinge", lambda pair: (8.0 * (-1) ** pair, 0.0)),  # losses of 1 + 0.8 and 1 - 0.8: the mean is 1
    "one of the last micro-batch": ("sigmoid", lambda pair: (8.0 * (pair == LAST), 0.0)),
    "not a number": ("sigmoid", lambda pair: (0.0, math.nan)),
}
LAST = plan_steps(24, epochs=1, global_batch_size=24, seed=0)[0][-1]


@pytest.mark.parametrize(("loss", "shift"), WRONG.values(), ids=WRONG)
def test_a_reference_that_is_not_the_start_is_refused(tmp_path, start, renderer, loss, shift):
    """All 24 pairs are in the first step, as 3 micro-batches."""
    recipe = {"loss": loss, "global_batch_size": 24}
    spec = job(tmp_path, start, "dpo", recipe=recipe, trainer={"per_device_batch_size": 8})
    write_reference(tmp_path, start, renderer, shift)
    assert train_here(spec) == 2
    error_file = (tmp_path / "error.txt").read_text()
    assert error_file.startswith(
        "the reference log-probabilities are not those of the starting policy: a completion of "
    )
    assert "\n" not in error_file
    assert not (tmp_path / "training.jsonl").exists()  # not one step was taken


def preference_module(start, precision):
    module = build_module("dpo", Reader(load_pretrained(start, torch.float32)[0], False, False), RECIPE, 1, 0)
    module.trainer = pl.Trainer(accelerator="cpu", precision=precision, logger=False, enable_checkpointing=False)
    return module


@pytest.mark.parametrize(("precision", "limit"), [("32-true", 0.09), ("bf16-mixed", 1.5)])
def test_how_far_rounding_may_take_a_completion(start, precision, limit):
    """9 tokens, so 3 x 0.03 nats in 32 bits and 3 x 0.5 in 16, to either side."""
    module = preference_module(start, precision)
    reference, tokens = torch.tensor([-20.0, -30.0]), torch.tensor([9, 9])
    module._check_reference(reference + torch.tensor([0.99, -0.99]) * limit, reference, tokens)
    for sign in (1, -1):
        said = rf"of 9 tokens has {-30 + sign * 1.01 * limit:.3f} nats .* and -30.000 in .* {limit:.3f} \(1 of 2 compl"
        with pytest.raises(UserError, match=said):
            module._check_reference(reference + torch.tensor([0.99, 1.01 * sign]) * limit, reference, tokens)


def test_a_start_that_gives_no_number_is_one_line(start):
    logps, tokens = torch.tensor([-20.0, math.nan]), torch.tensor([9, 7])
    with pytest.raises(UserError, match="the starting policy gives a completion of 7 tokens a log-probability of nan;"):
        preference_module(start, "32-true")._check_reference(logps, torch.tensor([-20.0, -30.0]), tokens)


def test_a_reference_of_other_pairs_is_refused(tmp_path, start, renderer):
    spec = job(tmp_path, start, "dpo")
    write_reference(tmp_path, start, renderer)
    path = tmp_path / "reference.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert train_here(spec) == 2
    error_file = (tmp_path / "error.txt").read_text()
    assert f"{path}: no log-probabilities of 1 of 24 pairs, such as a red dog runs 0;" in error_file


def test_divergence_is_one_line(tmp_path, start):
    spec = job(tmp_path, start, recipe={"optimizer": RECIPE["optimizer"] | {"lr": 1e30}})
    assert train_here(spec) == 2
    assert "training diverged at step" in (tmp_path / "error.txt").read_text()


def test_divergence_is_reported_where_the_gradient_is_unknown(tmp_path, start, monkeypatch):
    """DeepSpeed keeps gradients to itself (`gradient_norm` is None), and the first step makes all weights huge."""
    monkeypatch.setattr(modules, "gradient_norm", lambda trainer, parameters: None)
    trainer = {"per_device_batch_size": 2}
    spec = job(tmp_path, start, recipe={"optimizer": RECIPE["optimizer"] | {"lr": 1e30}}, trainer=trainer)
    assert train_here(spec) == 2
    done = len(losses(tmp_path))
    assert 1 <= done < 10
    assert f"training diverged at step {done} (loss nan); lower lr" in (tmp_path / "error.txt").read_text()


def test_the_learning_rate_is_that_of_the_update(tmp_path, start):
    """5e-7 with 2 of 10 steps of warm-up: halves, then from the whole down by an eighth a step; all its digits are kept."""
    optimizer = RECIPE["optimizer"] | {"lr": 5e-7, "schedule": "linear", "warmup": 0.2}
    assert train_here(job(tmp_path, start, recipe={"optimizer": optimizer}, trainer={"per_device_batch_size": 2})) == 0
    eighths = [4, 8, 8, 7, 6, 5, 4, 3, 2, 1]
    assert metric(tmp_path, "train/lr") == pytest.approx([5e-7 * part / 8 for part in eighths], rel=1e-6)


def test_a_tokenizer_without_pad_token_trains_the_same(tmp_path, start):
    """Padding is masked, so the EOS that stands in for it changes nothing."""
    shutil.copytree(start, tmp_path / "start")
    config = tmp_path / "start/tokenizer_config.json"
    fields = json.loads(config.read_text())
    config.write_text(json.dumps({key: value for key, value in fields.items() if key != "pad_token"}))
    for name, folder in {"with": start, "without": tmp_path / "start"}.items():
        assert train_here(job(tmp_path / name, folder, recipe={"max_steps": 3}, trainer={"packing": False})) == 0
    assert load_pretrained(tmp_path / "without/policy", torch.float32)[1].pad_token is None
    assert losses(tmp_path / "without") == losses(tmp_path / "with")


def test_packed_and_padded_batches_read_the_same(start, renderer):
    model = load_pretrained(start, torch.float32)[0].eval()
    rows, _ = pair_rows([Pair(q, q, f"A fine {q}", f"A bad {q} it is", "text") for q in WORDS], renderer, 128)
    packed = Reader.of(model, packing=True, longest=128)
    sums = [packed.logprobs(Collator(packing=one, pad_id=renderer.pad_id)(rows)).sums for one in (True, False)]
    assert torch.allclose(*sums, rtol=1e-5)


@pytest.mark.slow
def test_an_mpi_that_cannot_start_does_not_end_a_training(tmp_path, start):
    """Machines have mpi4py without a working MPI, whose start ends the process; Lightning starts it to look for ranks."""
    package = tmp_path / "site" / "mpi4py"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "MPI.py").write_text("import os\nos._exit(77)\n")
    about = tmp_path / "site" / "mpi4py-4.0.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mpi4py\nVersion: 4.0.0\n")
    spec = job(tmp_path / "job", start, recipe={"max_steps": 1})
    assert work(spec, PYTHONPATH=str(tmp_path / "site")).wait() == 0
