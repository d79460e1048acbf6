"""What training leaves behind while it runs: figures, one JSON line a step, and checkpoints that a kill cannot break."""

import json
import os
import shutil
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from vpo.progress import Bar
from vpo.training.strategy import SHARDED


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
        forget_steps(self.path, step)


def forget_steps(path: Path, step: int) -> None:
    """Drop the lines of a JSONL file whose "step" is `step` or more, and torn ones: on one rank, by a rename.

    The rank is read from the environment, because no trainer exists yet.
    """
    if int(os.environ.get("RANK", 0)) or not path.exists():
        return
    # Not splitlines(): it also splits at U+2028 and its like, which may stand in JSON as they are.
    lines = path.read_text(encoding="utf-8").split("\n")
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(f"{line}\n" for line in lines if _step_of(line) < step), encoding="utf-8")
    partial.replace(path)


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return float("inf")


class Checkpoints(pl.Callback):
    """Keeps `last.ckpt`: every `every` steps, and at once when SIGTERM or SIGUSR1 asks for it.

    The file is replaced by a rename, so a kill at any moment leaves a whole checkpoint. The state is saved at the end of a
    step, where Lightning can go on bit by bit, but Lightning logs and validates only after that, and a resumed run does
    neither again. So the rename waits until the next step begins: what `last.ckpt` counts as done stands in the figures.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self._partial = path.with_suffix(".partial")
        self._asked: int | None = None
        self._saved = self._leaving = False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take the signals from Lightning, which by now has handlers of its own.

        Its SIGTERM would end the loop before we can rename, with exit code 0, and broadcast from within the handler.
        """
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._ask)
        if trainer.received_sigterm:  # by Lightning's handler; nothing is done yet that could be saved
            os._exit(128 + signal.SIGTERM)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if (batch_index + 1) % trainer.accumulate_grad_batches:
            return
        asked, self._asked = self._asked, None
        wanted = _any_rank(trainer, asked is not None)
        self._leaving = wanted and _any_rank(trainer, asked == signal.SIGTERM)
        # Gathering a sharded policy needs a training that ends, not one that is found finished: its last step is done again.
        last = trainer.global_step >= trainer.max_steps and isinstance(trainer.strategy, SHARDED)
        if (wanted or trainer.global_step % self.every == 0) and not last:
            trainer.save_checkpoint(self._partial)
            if (
                self._partial.is_dir() and trainer.is_global_zero
            ):  # DeepSpeed's, whose count of steps is not ours to read
                (self._partial / "steps.txt").write_text(f"{trainer.global_step}\n")
            self._saved = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_index: int
    ) -> None:
        self._publish(trainer)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._publish(trainer)

    def _publish(self, trainer: pl.Trainer) -> None:
        """Make what was saved the checkpoint, and leave if that was asked for."""
        if self._saved and trainer.is_global_zero:
            if self.path.is_dir():  # no rename replaces a folder that holds something
                shutil.rmtree(self.path)
            self._partial.replace(self.path)
        self._saved = False
        if self._leaving:
            os._exit(128 + signal.SIGTERM)  # what comes after a SIGTERM may be a SIGKILL at any moment

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = number


def _any_rank(trainer: pl.Trainer, asked: bool) -> bool:
    """Whether any rank is asked: a signal may reach one alone, while a checkpoint is saved by all together."""
    return trainer.strategy.reduce_boolean_decision(asked, all=False) if trainer.world_size > 1 else asked


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
