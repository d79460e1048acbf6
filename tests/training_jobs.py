"""Trainings of tiny models of the true class, in a worker process as the pipeline starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from tests.conftest import ROOT
from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.loading import load_pretrained
from vpo.processes import launch, signals
from vpo.records import Example, Pair
from vpo.storage.rows import write_rows
from vpo.training import worker
from vpo.training.data import pair_rows
from vpo.training.forward import Reader
from vpo.training.reference import reference_logprobs
from vpo.training.telemetry.throughput import WALL_CLOCK

WORDS = ["a red dog runs", "two blue cats in the snow", "a kite over the sea at night", "three boats, slow pan"]


RECIPE = {
    "epochs": 1, "max_steps": 10, "global_batch_size": 4, "max_length": 128, "validation": 0, "validate_every": 5,
    "checkpoint_every": 5, "log_every": 1, "keep": "last", "adapter": None,
    "loss": "sigmoid", "beta": 0.1, "label_smoothing": 0.0, "sft_weight": 0.0,
    "optimizer": {"lr": 1e-3, "betas": [0.9, 0.999], "weight_decay": 0.01, "schedule": "cosine", "warmup": 0.1, "clip": 1.0},
}  # fmt: skip


LORA = {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear", "bits": None}
TRAINER = {
    "accelerator": "cpu", "devices": 1, "strategy": "auto", "precision": "32-true", "per_device_batch_size": 4, "packing": True,
}  # fmt: skip


def job(folder: Path, start: Path, task: str = "sft", recipe: dict | None = None, trainer: dict | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    # Completions differ in length, so that a mean of means is not the mean.
    queries = [(f"{words} {number}", " at sea" * number) for number in range(6) for words in WORDS]
    if task == "sft":
        rows = [Example(q, q, f"In the film {q} and {q}{more}.") for q, more in queries]
    else:
        rows = [Pair(q, q, f"A fine {q}{more}.", f"Some {q}, it is bad.", "text") for q, more in queries]
    write_rows(folder / "rows.jsonl", rows)
    spec = {
        "task": task, "label": task, "seed": 0, "recipe": RECIPE | (recipe or {}), "trainer": TRAINER | (trainer or {}),
        "template": "tiny", "start": str(start), "rows": str(folder / "rows.jsonl"), "out": str(folder),
        "reference": str(folder / "reference.jsonl"),
    }  # fmt: skip
    (folder / "stage.yaml").write_text(yaml.safe_dump(spec))
    return folder / "stage.yaml"


def train_here(spec: Path) -> int:
    """A worker's exit code, without the seconds that a process of its own takes to start."""
    handlers = {number: signal.getsignal(number) for number in signals.ALL}
    try:
        return worker.main(spec)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def work(spec: Path, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "vpo.training.worker", str(spec)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL)


KILLED_AT = """
import os, signal, sys
from pathlib import Path
from vpo.training import worker
from vpo.processes import launch

moment = sys.argv[1]

def then_die(function, right=lambda *arguments: True):
    def wrapped(*arguments):
        function(*arguments)
        if right(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)
    return wrapped

if moment == "the end":
    worker.mark_finished = then_die(worker.mark_finished)
elif moment == "saving":
    import pytorch_lightning as pl
    pl.Trainer.save_checkpoint = then_die(pl.Trainer.save_checkpoint, lambda trainer, path: trainer.global_step == 6)
else:
    Path.replace = then_die(Path.replace, lambda path, target: target.name == "last.ckpt")
sys.exit(worker.main(Path(sys.argv[2])))
"""


def work_until(moment: str, spec: Path) -> int:
    """A worker that kills itself at the worst moments: a checkpoint saved ("saving"), renamed ("renaming"), or "the end"."""
    return subprocess.run([sys.executable, "-c", KILLED_AT, moment, str(spec)], cwd=ROOT, check=False).returncode


def steps(folder: Path, metric: str = "train/loss") -> list[int]:
    lines = [json.loads(line) for line in (folder / "training.jsonl").read_text().split("\n")[:-1]]
    return [line["step"] for line in lines if metric in line]


def end_ranks_by_the_second(ranks: list[subprocess.Popen], ready: Callable[[], bool]) -> None:
    """Send SIGTERM to the second of two ranks alone once `ready`; both must save and leave with its exit code."""
    try:
        while not ready():
            assert [rank.poll() for rank in ranks] == [None, None]
            time.sleep(0.01)
        ranks[1].send_signal(signal.SIGTERM)
        assert [rank.wait(timeout=60) for rank in ranks] == [128 + signal.SIGTERM] * 2
    finally:
        launch._end(ranks)


def with_an_empty_row(spec: Path) -> Path:
    """One row in 25 cannot be used, which is a warning."""
    with (spec.parent / "rows.jsonl").open("a") as file:
        file.write(json.dumps({"query_id": "empty", "query": "a dog", "completion": " "}) + "\n")
    return spec


def without_wall_clock(folder: Path) -> list[dict[str, float]]:
    """The metrics of a training that an equal training must have too, to the last digit."""
    lines = [json.loads(line) for line in (folder / "training.jsonl").read_text().split("\n")[:-1]]
    return [{name: value for name, value in line.items() if name not in WALL_CLOCK} for line in lines]


def weights(folder: Path) -> bytes:
    (path,) = (folder / "policy").glob("*.safetensors")
    return path.read_bytes()


def metric(folder: Path, name: str) -> list[float]:
    """A metric at every step that has it."""
    lines = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def losses(folder: Path) -> list[float]:
    return metric(folder, "train/loss")


def write_reference(
    folder: Path,
    start: Path,
    renderer: Renderer,
    shift: Callable[[int], tuple[float, float]] = lambda pair: (0.0, 0.0),
    bits: int | None = None,
    dtype: str = "float32",
    device: str = "cpu",
) -> None:
    """The log-probabilities of a job's pairs under `start`, read as the stage `reference` reads them but padded.

    `shift` tells for each pair by how many nats (chosen, rejected) are written wrong.
    """
    model = load_pretrained(start, getattr(torch, dtype), bits, device=device)[0].eval()
    model = model if bits else model.to(device)
    pairs = [Pair(**json.loads(line)) for line in (folder / "rows.jsonl").read_text().splitlines()]
    rows, left_out = pair_rows(pairs, renderer, RECIPE["max_length"])
    assert not left_out
    sums = reference_logprobs(
        Reader.of(model, packing=False, longest=RECIPE["max_length"], device=device), rows, renderer.pad_id
    )
    known = []
    for number, (row, (chosen, rejected)) in enumerate(zip(rows, sums, strict=True)):
        up, down = shift(number)
        known.append({"query_id": row.query_id, "chosen": chosen + up, "rejected": rejected + down})
    write_rows(folder / "reference.jsonl", known)
