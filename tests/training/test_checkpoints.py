"""The last policy and the best one, and checkpoints that cannot be gone on from."""

import json
import random

import pytest
import torch

from tests.training_jobs import LORA, RECIPE, job, train_here, work_until
from vpo.language.checkpoints.loading import load_pretrained
from vpo.records import Example
from vpo.storage.rows import read_rows, write_rows
from vpo.training.data import Collator, sft_rows
from vpo.training.forward import Reader

# Completions of noise: the validation loss falls while their letters' frequencies are learnt and rises when the rows are.
OVERFITS = {
    "validation": 0.25, "validate_every": 10, "max_steps": 60, "log_every": 10,
    "optimizer": RECIPE["optimizer"] | {"lr": 1e-2, "schedule": "constant"},
}  # fmt: skip


def noise(folder, start, **recipe):
    """A job whose completions have nothing to do with their queries."""
    spec = job(folder, start, recipe=OVERFITS | recipe)
    draw = random.Random(0)
    texts = ["".join(draw.choices("abcdefgh", k=16)) for _ in range(24)]
    write_rows(folder / "rows.jsonl", [Example(text, text[:4], text) for text in texts])
    return spec


def validations(folder):
    lines = [json.loads(line) for line in (folder / "training.jsonl").read_text().split("\n")[:-1]]
    return {line["step"] + 1: line["val/loss"] for line in lines if "val/loss" in line}


def held_out_loss(policy, folder, renderer):
    """The validation loss of a policy folder: the first quarter of the rows, padded, over their completion tokens."""
    rows, _ = sft_rows(read_rows(folder / "rows.jsonl", Example), renderer, RECIPE["max_length"])
    rows = rows[: round(len(rows) * 0.25)]
    model = load_pretrained(policy, torch.float32)[0].eval()
    with torch.no_grad():
        read = Reader.of(model, packing=False, longest=128).logprobs(
            Collator(packing=False, pad_id=renderer.pad_id)(rows)
        )
    return (-read.sums.sum() / read.counts.sum()).item()


def test_the_best_policy_is_that_of_the_least_validation_loss(tmp_path, start, renderer):
    for keep in ("last", "best"):
        assert train_here(noise(tmp_path / keep, start, keep=keep)) == 0
    found = validations(tmp_path / "last")
    best, last = min(found, key=found.get), max(found)
    assert best != last == 60
    record = json.loads((tmp_path / "last/best.json").read_text())
    assert (record["step"], record["val/loss"]) == (best, pytest.approx(found[best], abs=1e-6))
    folders = {"last/policy": last, "last/best": best, "best/policy": best, "best/last": last}
    for folder, step in folders.items():
        assert held_out_loss(tmp_path / folder, tmp_path / "last", renderer) == pytest.approx(found[step], rel=1e-4), (
            folder
        )
    assert not (tmp_path / "best/best").exists()


def test_a_short_training_is_validated_at_its_end(tmp_path, start):
    assert train_here(noise(tmp_path, start, max_steps=2, keep="best")) == 0
    assert list(validations(tmp_path)) == [2]
    assert (tmp_path / "policy/model.safetensors").exists()


def test_without_validation_there_is_no_best(tmp_path, start):
    assert train_here(job(tmp_path / "a", start, recipe={"max_steps": 2})) == 0
    assert not (tmp_path / "a/best").exists()
    assert train_here(job(tmp_path / "b", start, recipe={"max_steps": 2, "keep": "best"})) == 2
    assert "keep=best chooses by the validation loss" in (tmp_path / "b/error.txt").read_text()


@pytest.mark.slow
def test_a_checkpoint_of_another_model_or_a_torn_one_is_one_line_and_stays(tmp_path, start):
    spec = job(tmp_path, start, recipe={"adapter": LORA})
    work_until("renaming", spec)
    last = tmp_path / "last.ckpt"
    written = last.read_bytes()
    assert train_here(job(tmp_path, start)) == 2
    error_file = (tmp_path / "error.txt").read_text()
    assert error_file.startswith(f"{last}: a checkpoint of another model")
    assert "\n" not in error_file
    assert last.read_bytes() == written
    last.write_bytes(written[:200])
    assert train_here(tmp_path / "stage.yaml") == 2
    assert "last.ckpt: cannot be read" in (tmp_path / "error.txt").read_text()
    last.write_bytes(written)
    assert train_here(job(tmp_path, start, recipe={"adapter": LORA})) == 0
    assert (tmp_path / "steps.txt").read_text() == "10\n"
