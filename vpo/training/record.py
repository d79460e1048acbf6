"""What training leaves behind while it runs: figures, one JSON line a step, and checkpoints that a kill cannot break."""

import json
import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from vpo.progress import Bar


class JsonlLogger(Logger):
    """Appends `{"step": s, "train/loss": ...}` lines to a file: the local truth that W&B mirrors."""

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
        figures = {name: round(value, 6) for name, value in metrics.items() if name != "epoch"}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")

    def log_hyperparams(self, *arguments: Any, **named: Any) -> None:
        """The manifest of the stage holds the recipe."""

    def forget_after(self, step: int) -> None:
        """Drop lines of steps that a resumed run will do again."""
        if self.path.exists():
            lines = [line for line in self.path.read_text().splitlines(keepends=True) if _step_of(line) < step]
            self.path.write_text("".join(lines))


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return float("inf")


class Checkpoints(pl.Callback):
    """Keeps `last.ckpt`: every `every` steps, and at once when SIGTERM or SIGUSR1 asks for it.

    The file is replaced by a rename, so a kill at any moment leaves a whole checkpoint.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self._asked: int | None = None

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._ask)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if (batch_index + 1) % trainer.accumulate_grad_batches:
            return
        if self._asked is not None or trainer.global_step % self.every == 0:
            partial = self.path.with_suffix(".partial")
            trainer.save_checkpoint(partial)
            if trainer.is_global_zero:
                partial.replace(self.path)
        if self._asked == signal.SIGTERM:
            os._exit(128 + signal.SIGTERM)  # saved: what comes after a SIGTERM may be a SIGKILL at any moment
        self._asked = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = number


class Progress(pl.Callback):
    """One bar over optimizer steps, with the loss and rows per second."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._bar: Bar | None = None
        self._since = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._bar = Bar(self.label, total=trainer.max_steps, done=trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if self._bar is not None and (batch_index + 1) % trainer.accumulate_grad_batches == 0:
            self._bar.advance(1, loss=float(trainer.callback_metrics.get("train/loss", float("nan"))))
