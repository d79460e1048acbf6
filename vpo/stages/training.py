"""What the stages that train share: the job that a worker reads, and the settings that name its result."""

import logging
from pathlib import Path
from typing import Any

from vpo.processes.launch import WORKER, train_in_child
from vpo.stages.stage import Node
from vpo.storage.store import Entry
from vpo.templates import template_hash

log = logging.getLogger(__name__)


def train(folder: Path, job: dict[str, Any], worker: str = WORKER) -> int:
    """Train in a child process that writes into `folder`, as `job` says (see the worker's `train`).

    Returns:
        The optimizer steps that were taken.
    """
    log.info("  %s: metrics while it trains: %s", job["label"], folder / "training.jsonl")
    train_in_child(job, folder, worker)
    return int((folder / "steps.txt").read_text(encoding="utf-8"))


def job_of(folder: Path, recipe: Node, trainer: Node, backbone: Node, *, start: Entry, seed: int) -> dict[str, Any]:
    """The fields that every training's job has; the policy of `start` is where it begins."""
    return {
        "seed": seed,
        "recipe": recipe,
        "trainer": trainer,
        "template": backbone["template"],
        "start": str(start.folder / "policy"),
        "out": str(folder),
    }


def node_of(name: str, recipe: Node, trainer: Node, backbone: Node, seed: int) -> dict[str, Any]:
    """What a training's result depends on besides its inputs; `name` is where its recipe stands in the config."""
    return {name: recipe, "trainer": trainer, "template": template_hash(backbone["template"]), "seed": seed}


def exempt_of(name: str) -> tuple[str, ...]:
    """Fields of `node_of` that no training depends on: how often it is saved, what is assumed of the machine, and how the
    policy's row is called."""
    recipe = tuple(f"{name}.{field}" for field in ("checkpoint_every", "policy", "label"))
    return (*recipe, "trainer.memory_gb", "trainer.peak_tflops")
