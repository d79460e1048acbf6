"""Trainings that are killed, asked to stop, or started again."""

import json
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.training_jobs import (
    LORA,
    end_ranks_by_the_second,
    job,
    losses,
    steps,
    weights,
    with_an_empty_row,
    without_wall_clock,
    work,
    work_until,
)
from vpo.processes import launch
from vpo.training.telemetry.record import JsonlLogger


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [None, LORA | {"dropout": 0.2}], ids=["full", "lora with dropout"])
def test_five_steps_a_kill_and_five_more_are_bit_identical_to_ten(tmp_path, start, adapter):
    """Kills right after the first rename and right after the second save; steps 3, 6 and 9 are validated too."""
    recipe = {"checkpoint_every": 3, "validation": 0.2, "validate_every": 3, "adapter": adapter, "prompts": 2}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert work(with_an_empty_row(job(whole, start, recipe=recipe))).wait() == 0
    assert steps(whole) == list(range(10))
    assert steps(whole, "val/loss") == [2, 5, 8]
    spec = with_an_empty_row(job(killed, start, recipe=recipe))
    for moment in ("renaming", "saving"):
        assert work_until(moment, spec) == -signal.SIGKILL
        assert not (killed / "policy").exists()
        saved = torch.load(killed / "last.ckpt", weights_only=True)
        assert saved["global_step"] == 3
        assert adapter is None or all(".lora_" in name for name in saved["state_dict"])
    assert work(spec).wait() == 0
    assert weights(killed) == weights(whole)
    best = f"best/{'adapter_model' if adapter else 'model'}.safetensors"
    for name in ("best.json", best, "prompts.jsonl", "warnings.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert without_wall_clock(killed) == without_wall_clock(whole)
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in whole.iterdir())


@pytest.mark.slow
def test_a_kill_after_the_end_does_not_repeat_the_training(tmp_path, start):
    spec = job(tmp_path, start)
    assert work_until("the end", spec) == -signal.SIGKILL
    trained = (tmp_path / "policy/model.safetensors").stat()
    assert (tmp_path / "steps.txt").read_text() == "10\n"
    (tmp_path / "rows.jsonl").unlink()  # who trained again would need it
    assert work(spec).wait() == 0
    assert (tmp_path / "policy/model.safetensors").stat().st_mtime_ns == trained.st_mtime_ns
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.slow
def test_sigterm_saves_and_the_next_start_goes_on(tmp_path, start):
    recipe = {"max_steps": 400, "checkpoint_every": 10_000}
    spec = job(tmp_path / "a", start, recipe=recipe)
    process = work(spec)
    while not (tmp_path / "a/training.jsonl").exists() or len(losses(tmp_path / "a")) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    done = torch.load(tmp_path / "a/last.ckpt", weights_only=True)["global_step"]
    assert 3 <= done < 400
    assert steps(tmp_path / "a") == list(range(done))
    assert work(spec).wait() == 0
    assert steps(tmp_path / "a") == list(range(400))


@pytest.mark.slow
def test_two_ranks_save_together_when_one_is_asked(tmp_path, start):
    """On two ranks: one validation row for both, and a SIGTERM that reaches the second alone."""
    recipe = {"max_steps": 400, "checkpoint_every": 10_000, "validation": 0.05, "prompts": 2}
    trainer = {"devices": 2, "strategy": "ddp", "per_device_batch_size": 2}
    spec = job(tmp_path, start, recipe=recipe, trainer=trainer)
    port = launch._free_port()
    ranks = [launch._start(spec, rank, 2, port) for rank in (0, 1)]
    end_ranks_by_the_second(ranks, lambda: (tmp_path / "training.jsonl").exists() and len(losses(tmp_path)) >= 12)
    done = torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"]
    assert steps(tmp_path) == list(range(done))
    assert steps(tmp_path, "val/loss") == list(range(4, done, 5))
    tables = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    assert [line["step"] for line in tables] == list(range(0, done + 1, 5))  # by the first rank alone


def test_a_rank_that_does_not_leave_is_killed(monkeypatch):
    monkeypatch.setattr(launch, "GRACE", 0.2)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    deaf = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
    deaf.stdout.read(1)
    failed = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    assert launch._wait([failed, deaf]) == [3, -15]
    assert deaf.returncode == -signal.SIGKILL
    done = [subprocess.Popen([sys.executable, "-c", ""]) for _ in range(2)]
    assert launch._wait(done) == [0, 0]


def test_a_resumed_run_forgets_what_it_will_do_again(tmp_path, monkeypatch):
    path = tmp_path / "training.jsonl"
    kept = '{"step": 0, "note": "a\u2028b"}\n{"step": 1}\n'
    path.write_text(kept + '{"step": 2}\n{"step": 3, "tr', encoding="utf-8")
    written = path.read_bytes()
    monkeypatch.setenv("RANK", "1")
    JsonlLogger(path).drop_steps_from(2)
    assert path.read_bytes() == written
    monkeypatch.setenv("RANK", "0")
    JsonlLogger(path).drop_steps_from(2)
    assert path.read_text(encoding="utf-8") == kept
    assert list(tmp_path.iterdir()) == [path]
