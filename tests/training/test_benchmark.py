"""The benchmark of a training step: its rows, and one run of the whole script with a tiny shape. Never a timing."""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml

from tests.conftest import ROOT

BENCHMARKS = ROOT / "experiments" / "benchmarks"
SPEC = yaml.safe_load((BENCHMARKS / "train_step.yaml").read_text())


@pytest.fixture
def rows(monkeypatch):
    """The benchmark's module of that name; its scripts import one another as files of one folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import rows as module

    yield module
    del sys.modules["rows"]


def test_rows_have_vpo_lengths(rows):
    made = rows.make_rows(400, 2, SPEC["lengths"], 8192, seed=0)
    padded = np.mean([2 * (len(row.prompt) + max(map(len, row.completions))) for row in made])
    tree = np.mean([len(row.prompt) - 170 + row.completion_tokens for row in made]) + 170 / 16
    assert 620 < padded < 680  # a DPO pair: about 640 tokens padded, about 270 as part of a tree
    assert 260 < tree < 290
    assert len({row.prompt[:170] for row in made}) == 1
    assert len({len(row.prompt) for row in made}) > 20
    assert made == rows.make_rows(400, 2, SPEC["lengths"], 8192, seed=0)


def test_the_work_of_rows_by_hand(rows):
    """Two pairs: a template of 2, queries of 1, completions of 2 and 1. One by one 5, 4, 5 and 4 tokens; as a tree 2 + 2 x 4.

    A token sees as many keys as its depth + 1: one by one 15 + 10 + 15 + 10; in the tree 1 + 2, and 3 + (4 + 5) + 4 below.
    """
    import trainers

    from vpo.training.data import TrainingRow

    pairs = [TrainingRow(str(query), (1, 2, query), ((5, 6), (7,))) for query in (3, 4)]
    found = {name: trainers.work_of({"trainer": name, "size": 2}, pairs) for name in ("trl", "packed")}
    assert found["trl"] == {"tokens": 18, "completions": 6, "keys": 50}
    assert found["packed"] == {"tokens": 10, "completions": 6, "keys": 35}
    for name in ("trainers", "meter"):
        del sys.modules[name]


def test_trl_reads_the_same_tokens(rows, tmp_path):
    """Text and tokenizer give TRL's collator the very ids that our rows hold."""
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import DPOConfig, DPOTrainer

    made = rows.make_rows(2, 2, SPEC["lengths"], 64, seed=0)
    config = DPOConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", precompute_ref_log_probs=True
    )
    model = LlamaForCausalLM(LlamaConfig(**SPEC["shapes"]["tiny"], eos_token_id=63, bos_token_id=None))
    data, tokenizer = Dataset.from_list(rows.as_text(made)), rows.make_tokenizer(64)
    trainer = DPOTrainer(model, args=config, train_dataset=data, processing_class=tokenizer)
    for row, read in zip(made, trainer.train_dataset, strict=True):
        assert tuple(read["prompt_ids"]) == row.prompt
        assert (tuple(read["chosen_ids"]), tuple(read["rejected_ids"])) == row.completions


@pytest.mark.slow
@pytest.mark.parametrize(("task", "tuning", "rounds"), [("dpo", "full", 1), ("sft", "lora", 0)])
def test_script_measures_every_trainer(task, tuning, rounds, tmp_path):
    """`rounds` 0: the runs that choose a size are the metrics."""
    size = ["--shape", "tiny", "--rounds", str(rounds), "--steps", "1", "--sizes", "2", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "train_step.py", "--json", "--tasks", task, "--tuning", tuning, *size],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {task, "rows"}
    assert set(found[task]) == {"vs_trl", "vs_padded", "memory_vs_trl"}
    assert all(value > 0 for value in found[task].values()), done.stderr
    assert [row["trainer"] for row in found["rows"]] == list(SPEC["tasks"][task]["sizes"])
    assert all(row["best"] for row in found["rows"])
