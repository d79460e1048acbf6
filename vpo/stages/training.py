"""What the stages that train share: the job that a worker reads, and the settings that name its result."""

from pathlib import Path
from typing import Any

from vpo.stages.bench import Node
from vpo.store import Entry
from vpo.templates import template_hash
from vpo.training.launch import WORKER, train_in_child


def train(
    folder: Path,
    recipe: Node,
    trainer: Node,
    backbone: Node,
    *,
    label: str,
    start: Entry,
    rows: Path,
    seed: int,
    worker: str = WORKER,
    **more: Any,
) -> int:
    """Train from the policy of `start` on the file `rows`, in a child process that writes into `folder`.

    Args:
        more: fields of the job that one worker alone knows, such as "task".

    Returns:
        The optimizer steps that were taken.
    """
    job = {
        "label": label,
        "seed": seed,
        "recipe": recipe,
        "trainer": trainer,
        "template": backbone["template"],
        "start": str(start.folder / "policy"),
        "rows": str(rows),
        "out": str(folder),
        **more,
    }
    train_in_child(job, folder, worker)
    return int((folder / "steps.txt").read_text())


def node_of(name: str, recipe: Node, trainer: Node, backbone: Node, seed: int) -> dict[str, Any]:
    """What a training's result depends on besides its inputs; `name` is where its recipe stands in the config."""
    return {name: recipe, "trainer": trainer, "template": template_hash(backbone["template"]), "seed": seed}


def exempt_of(name: str) -> tuple[str, ...]:
    """Fields of `node_of` that no training depends on: how often it is saved, what is assumed of the machine, and how the
    policy's row is called."""
    recipe = tuple(f"{name}.{field}" for field in ("checkpoint_every", "policy", "label"))
    return (*recipe, "trainer.memory_gb", "trainer.peak_tflops")
