"""Signals to the process that a user or Slurm knows: trainings save, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import ROOT
from tests.executor.test_executors import wait_for
from tests.training import test_grpo
from tests.training_jobs import job, steps
from vpo.processes import signals
from vpo.training.online import callbacks as grpo_record

# `vpo run` with nothing but a training in it. A shell that started the tests in the background would have them ignore SIGINT.
PARENT = """
import logging, signal, sys
from pathlib import Path
import yaml
from vpo.cli import entry as cli
from vpo.processes import launch

def train(rest):
    launch.GRACE = 0.1
    spec = Path(rest[0])
    launch.train_in_child(yaml.safe_load(spec.read_text()), spec.parent, rest[1])
    return 0

signal.signal(signal.SIGINT, signal.default_int_handler)
logging.basicConfig(level=logging.INFO, format="%(message)s")
cli.VERBS["run"] = train
sys.exit(cli.main(["run", *sys.argv[1:]]))
"""

# A training without torch: one step after the other, as in vpo.training.checkpoints.
PATIENT = """
import os, sys, time
from pathlib import Path
from vpo.processes.signals import EXIT_SAVED, REQUESTS
from vpo.training import worker

def train(job):
    out, rank = Path(job["out"]), os.environ["RANK"]
    REQUESTS.listen(training=True)
    (out / f"ready-{rank}").touch()
    while True:
        save, leave = REQUESTS.take()
        if save:
            time.sleep(job["seconds"])  # a large checkpoint
            (out / f"saved-{rank}").touch()
        if leave:
            os._exit(EXIT_SAVED)
        time.sleep(0.01)

sys.exit(worker.main(Path(sys.argv[1]), train))
"""
SAVED = "the training saved its checkpoint; the same command goes on from here"


def start_parent(spec: Path, worker: str = "vpo.training.worker") -> subprocess.Popen:
    """A parent in a process group of its own, that writes to `err.txt` beside the job; `worker` may be a file there."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{spec.parent}"}
    with (spec.parent / "err.txt").open("w") as errors:
        return subprocess.Popen(
            [sys.executable, "-c", PARENT, str(spec), worker], env=environment, stderr=errors, start_new_session=True
        )


@pytest.fixture
def patient(tmp_path):
    """A parent whose two ranks are at work, without torch; they take a second to save."""
    (tmp_path / "patient.py").write_text(PATIENT)
    spec = tmp_path / "stage.yaml"
    spec.write_text(yaml.safe_dump({"label": "sft", "out": str(tmp_path), "trainer": {"devices": 2}, "seconds": 1.0}))
    parent = start_parent(spec, "patient")
    wait_for(lambda: len(list(tmp_path.glob("ready-*"))) == 2)
    yield parent
    parent.kill()


def last_line(folder: Path) -> str:
    return (folder / "err.txt").read_text().splitlines()[-1]


@pytest.mark.parametrize("group", [False, True], ids=["the parent", "all processes"])
@pytest.mark.parametrize(
    ("number", "code", "line"),
    [(signal.SIGTERM, 143, f"vpo: ended by SIGTERM; {SAVED}"), (signal.SIGINT, 130, f"vpo: stopped; {SAVED}")],
    ids=["SIGTERM", "SIGINT"],
)
def test_ranks_have_the_time_they_need_to_save_and_the_run_ends_with_one_line(
    patient, tmp_path, number, code, line, group
):
    (os.killpg if group else os.kill)(patient.pid, number)
    assert patient.wait(timeout=300) == code
    assert last_line(tmp_path) == line
    assert "Traceback" not in (tmp_path / "err.txt").read_text()
    assert len(list(tmp_path.glob("saved-*"))) == 2


def test_sigusr1_saves_and_goes_on(patient, tmp_path):
    patient.send_signal(signal.SIGUSR1)
    wait_for(lambda: len(list(tmp_path.glob("saved-*"))) == 2)
    patient.send_signal(signal.SIGTERM)
    assert patient.wait(timeout=300) == 143
    assert last_line(tmp_path) == f"vpo: ended by SIGTERM; {SAVED}"


def test_a_second_signal_does_not_wait(tmp_path):
    (tmp_path / "deaf.py").write_text("""
import signal, sys, yaml
from pathlib import Path
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
Path(yaml.safe_load(Path(sys.argv[1]).read_text())["out"], "ready").touch()
signal.pause()
""")
    spec = tmp_path / "stage.yaml"
    spec.write_text(yaml.safe_dump({"label": "sft", "out": str(tmp_path), "trainer": {"devices": 1}}))
    parent = start_parent(spec, "deaf")
    wait_for((tmp_path / "ready").exists)
    parent.send_signal(signal.SIGTERM)
    wait_for(lambda: "SIGTERM: the training saves" in (tmp_path / "err.txt").read_text())
    time.sleep(signals.ONE_REQUEST)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(timeout=300) == 143
    assert "the training saved nothing more" in last_line(tmp_path)


# A rank that takes a moment to save when it is asked to leave.
SAVING = """
import os, signal, sys, time
def save(*unused):
    time.sleep(0.3)
    os._exit(143)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
while True:
    time.sleep(1)
"""


@pytest.mark.parametrize(
    ("numbers", "after", "code"),
    [
        ((signal.SIGTERM, signal.SIGTERM), 0.0, 143),
        ((signal.SIGINT, signal.SIGTERM), 0.0, 143),
        ((signal.SIGTERM, signal.SIGTERM), signals.ONE_REQUEST, -signal.SIGKILL),
    ],
    ids=["of timeout", "of two senders", "of an impatient user"],
)
def test_what_repeats_within_a_second_is_one_request(monkeypatch, numbers, after, code):
    """`timeout` signals the run and its process group, so two SIGTERM come at once."""
    clock = iter((7.0, 7.0 + after))
    monkeypatch.setattr(signals.time, "monotonic", lambda: next(clock))
    rank = subprocess.Popen([sys.executable, "-c", SAVING], stdout=subprocess.PIPE)
    assert rank.stdout.readline() == b"ready\n"
    with signals.SignalRelay() as relay:
        for number in numbers:
            signal.raise_signal(number)
        relay.pass_on([rank])
    monkeypatch.undo()
    assert rank.wait(timeout=60) == code
    assert relay.ended_by == numbers[0]


# As on Windows, where these names do not exist.
ELSEWHERE = """
import os, signal, sys
for name in ("SIGUSR1", "SIGKILL", "pthread_sigmask", "SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK", "SIGHUP", "pause"):
    delattr(signal, name)
from vpo.cli import entry as cli
from vpo.processes import signals
from vpo.executor.processes import ProcessExecutor, _leave_with_parent
from vpo.processes import launch

assert signals.ALL == (signal.SIGTERM, signal.SIGINT)
signals.handle_signals_outside_training()
requests = signals.Requests()
requests.listen(training=True)
signal.raise_signal(signal.SIGTERM)
assert requests.take() == (True, True)
with signals.signals_blocked():
    pass
with signals.SignalRelay() as relay:
    signal.raise_signal(signal.SIGINT)
    relay.pass_on([])
assert relay.ended_by == signal.SIGINT
_leave_with_parent(os.getppid())
"""


def test_a_platform_without_sigusr1_and_masks(tmp_path):
    code = f"{ELSEWHERE}\nsys.exit(cli.main(['run', '--help']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: vpo run")


def under_way(folder: Path, parent: subprocess.Popen, step: int):
    """Whether the training has done step `step`."""

    def found() -> bool:
        assert parent.poll() is None, (folder / "err.txt").read_text()
        return (folder / "training.jsonl").exists() and max(steps(folder), default=-1) >= step

    return found


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_a_training_that_is_ended_goes_on_where_it_was(tmp_path, start, devices):
    """SIGTERM to the parent, then Ctrl-C, each at some step of a training that would not end in a test's time."""
    trainer = {"devices": devices, "strategy": "ddp" if devices > 1 else "auto", "per_device_batch_size": 4 // devices}
    spec = job(tmp_path, start, recipe={"max_steps": 20_000, "checkpoint_every": 20_000}, trainer=trainer)
    done = 0
    for send, number, code in ((os.kill, signal.SIGTERM, 143), (os.killpg, signal.SIGINT, 130)):
        parent = start_parent(spec)
        wait_for(under_way(tmp_path, parent, done + 2))
        send(parent.pid, number)
        assert parent.wait(timeout=300) == code
        assert last_line(tmp_path).endswith(SAVED)
        saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"]
        assert saved >= done + 3
        assert steps(tmp_path) == list(range(saved))
        done = saved


@pytest.mark.slow
def test_sigusr1_at_any_time_leaves_a_training_alive(tmp_path, start):
    """While the worker still starts there is nothing to save; later it saves and goes on."""
    spec = job(tmp_path, start, recipe={"max_steps": 20_000, "checkpoint_every": 20_000})
    parent = start_parent(spec)
    wait_for(lambda: len(others_of(parent.pid)) > 1)  # the worker's process is there
    os.killpg(parent.pid, signal.SIGUSR1)
    wait_for(under_way(tmp_path, parent, 2))
    parent.send_signal(signal.SIGUSR1)
    wait_for((tmp_path / "last.ckpt").exists)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"]
    wait_for(under_way(tmp_path, parent, saved + 3))
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(timeout=300) == 143


@pytest.mark.slow
def test_online_training_does_as_the_others(tmp_path, start):
    spec = test_grpo.job(tmp_path, start, {"max_steps": 2000, "checkpoint_every": 2000})
    parent = start_parent(spec, "vpo.training.online.grpo")
    wait_for(under_way(tmp_path, parent, 0))
    parent.send_signal(signal.SIGUSR1)
    wait_for(lambda: list((tmp_path / "checkpoints").glob(f"checkpoint-*/{grpo_record.WHOLE}")))
    first = int(grpo_record.last_checkpoint(tmp_path / "checkpoints").name.rpartition("-")[2])
    wait_for(under_way(tmp_path, parent, first))
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.wait(timeout=300) == 130
    assert last_line(tmp_path) == f"vpo: stopped; {SAVED}"
    done = int(grpo_record.last_checkpoint(tmp_path / "checkpoints").name.rpartition("-")[2])
    assert done > first
    assert [line["step"] for line in test_grpo.metrics(tmp_path)] == list(range(done))


def start_run(folder: Path, *overrides: str) -> subprocess.Popen:
    with (folder / "err.txt").open("w") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "vpo", "run", "experiment=smoke", *overrides],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=errors, start_new_session=True,
        )  # fmt: skip


def lines_of(folder: Path, pattern: str) -> int:
    """The lines of the one file of the store that matches, 0 while there is none."""
    return sum(path.read_bytes().count(b"\n") for path in (folder / "store").glob(pattern))


@pytest.mark.slow
def test_a_run_ended_in_its_training_goes_on_with_it(tmp_path):
    done = 0
    for _ in range(2):
        run = start_run(tmp_path, "sft.epochs=5000", "sft.validation=0", "sft.checkpoint_every=100000")
        wait_for(lambda: lines_of(tmp_path, "sft/*.partial/training.jsonl") >= done + 3)  # noqa: B023
        run.send_signal(signal.SIGTERM)
        assert run.wait(timeout=300) == 143
        messages = [line for line in (tmp_path / "err.txt").read_text().splitlines() if line.startswith("vpo: ")]
        assert messages == [f"vpo: ended by SIGTERM; {SAVED}"]
        (checkpoint,) = (tmp_path / "store").glob("sft/*.partial/last.ckpt")
        saved = torch.load(checkpoint, weights_only=True)["global_step"]
        assert saved == lines_of(tmp_path, "sft/*.partial/training.jsonl") >= done + 3
        done = saved
    (log,) = (tmp_path / "runs").rglob("log.txt")
    assert "ended early: the training saved its checkpoint" in log.read_text()
    assert f"sft: metrics while it trains: {checkpoint.with_name('training.jsonl').relative_to(tmp_path)}" in (
        log.read_text()
    )


@pytest.mark.slow
def test_outside_of_training_sigusr1_passes_and_sigterm_ends_at_once(tmp_path):
    """While two processes draft, which they would do for longer than this test."""
    run = start_run(tmp_path, "dataset.sft=20000", "executor=processes", "executor.workers=2")
    drafts = "draft/*.partial/prompts.journal.jsonl"
    wait_for(lambda: lines_of(tmp_path, drafts))
    os.killpg(run.pid, signal.SIGUSR1)
    before = lines_of(tmp_path, drafts)
    wait_for(lambda: lines_of(tmp_path, drafts) > before + 100)
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=300) == 143
    assert last_line(tmp_path) == "vpo: ended by SIGTERM; the same command goes on from here"
    (log,) = (tmp_path / "runs").rglob("log.txt")
    assert "SIGUSR1: no training runs" in log.read_text()
    wait_for(lambda: not others_of(run.pid))


def others_of(group: int) -> list[int]:
    """The living processes of a group."""
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if os.access(path, os.R_OK)]
    fields = [(int(text.split()[0]), text.rpartition(")")[2].split()) for text in stats]
    return [pid for pid, rest in fields if int(rest[2]) == group and rest[0] != "Z"]
