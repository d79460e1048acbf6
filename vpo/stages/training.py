"""What the stages that train share: the job that a worker reads, and the settings that name its result."""

import logging
from pathlib import Path
from typing import Any

from vpo.stages.stage import Node
from vpo.store import Entry
from vpo.templates import template_hash
from vpo.training.launch import WORKER, train_in_child

log = logging.getLogger(__name__)

# Dotted paths in the node of a training that cannot change its policy, beside those of its recipe.
IDLE = ("trainer.peak_tflops", "trainer.memory_gb")


def train(folder: Path, job: dict[str, Any], worker: str = WORKER) -> int:
    """Train in a child process that writes into `folder`, as `job` says (see the worker's `train`).

    Returns:
        The optimizer steps that were taken.
    """
    log.info("  %s: figures while it trains: %s", job["label"], folder / "training.jsonl")
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


def idle_of(name: str) -> tuple[str, ...]:
    """The dotted paths in `node_of` that cannot change the policy."""
    return (*IDLE, f"{name}.checkpoint_every", f"{name}.label", f"{name}.policy")
