"""What training reports while it runs: metrics, one JSON line a step, and a progress bar."""

import json
import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from vpo.storage.jsonio import dumps
from vpo.storage.progress import Bar


class JsonlLogger(Logger):
    """Appends `{"step": s, "train/loss": ...}` lines to a file, from which W&B gets its copy.

    A metric that is not finite is null there: a gap in its curve. A loss that is not finite also ends the training, with an
    error message.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        rounded = {name: _rounded(value) for name, value in metrics.items() if name != "epoch"}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(dumps({"step": step, **rounded}) + "\n")

    def log_hyperparams(self, *arguments: Any, **named: Any) -> None:
        """The manifest of the stage holds the recipe."""

    def drop_steps_from(self, step: int) -> None:
        """Drop lines of steps that a resumed run will do again."""
        drop_steps_from(self.path, step)


def _rounded(value: float) -> float:
    """To the 7 digits that 32 bits hold, in which Lightning keeps metrics: places after the point would make lr 5e-7 a 0."""
    return float(f"{value:.7g}")


def drop_steps_from(path: Path, step: int) -> None:
    """Drop the lines of a JSONL file whose "step" is `step` or more, and torn ones: on one rank, by a rename.

    The rank is read from the environment, because no trainer exists yet.
    """
    if int(os.environ.get("RANK", 0)) or not path.exists():
        return
    # Not splitlines(): it also splits at U+2028 and its like, which JSON may contain unescaped.
    lines = path.read_text(encoding="utf-8").split("\n")
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(f"{line}\n" for line in lines if _step_of(line) < step), encoding="utf-8")
    partial.replace(path)


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return float("inf")


class Progress(pl.Callback):
    """One bar over optimizer steps, with the loss."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._bar: Bar | None = None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._bar = Bar(self.label, total=trainer.max_steps, done=trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if self._bar is not None and (batch_index + 1) % trainer.accumulate_grad_batches == 0:
            self._bar.advance(1, loss=float(trainer.callback_metrics.get("train/loss", float("nan"))))
