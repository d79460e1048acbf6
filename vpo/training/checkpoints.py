"""Checkpoints from which an interrupted training continues; a kill at any moment leaves a whole one."""

import os
import pickle
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from vpo.errors import UserError
from vpo.processes.signals import EXIT_SAVED, REQUESTS, exit_by_signal
from vpo.training.strategy import SHARDED


class Checkpoints(pl.Callback):
    """Keeps `last.ckpt`: every `every` steps, and at the end of a step when a signal requests it.

    The file is replaced by a rename, so a kill at any moment leaves a whole checkpoint. The state is saved at the end of a
    step, where Lightning can go on bit by bit, but Lightning logs and validates only after that, and a resumed run does
    neither again. So the rename waits until the next step begins: its metrics are written before the checkpoint counts.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self._partial = path.with_suffix(".partial")
        self._saved = self._leaving = False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take the signals from Lightning, which by now has handlers of its own.

        Its SIGTERM would end the loop before we can rename, with exit code 0, and broadcast from within the handler.
        """
        REQUESTS.listen(training=True)
        if trainer.received_sigterm:  # by Lightning's handler; nothing is done yet that could be saved
            exit_by_signal(signal.SIGTERM)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if (batch_index + 1) % trainer.accumulate_grad_batches:
            return
        save, leave = REQUESTS.take()
        wanted = _any_rank(trainer, save)
        # Gathering a sharded policy needs a training that ends, not one that is found finished: its last step is done again.
        last = trainer.global_step >= trainer.max_steps and isinstance(trainer.strategy, SHARDED)
        # After such a last step nothing is saved but the policy, so nobody leaves before it.
        self._leaving = wanted and _any_rank(trainer, leave) and not last
        if (wanted or trainer.global_step % self.every == 0) and not last:
            trainer.save_checkpoint(self._partial)
            if (
                self._partial.is_dir() and trainer.is_global_zero
            ):  # DeepSpeed's, whose count of steps is not ours to read
                (self._partial / "steps.txt").write_text(f"{trainer.global_step}\n", encoding="utf-8")
            self._saved = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_index: int
    ) -> None:
        self._publish(trainer)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._publish(trainer)

    def _publish(self, trainer: pl.Trainer) -> None:
        """Make what was saved the checkpoint, and exit if that was requested."""
        if self._saved and trainer.is_global_zero:
            if self.path.is_dir():  # no rename replaces a folder that holds something
                shutil.rmtree(self.path)
            self._partial.replace(self.path)
        self._saved = False
        if self._leaving:
            os._exit(EXIT_SAVED)  # what comes after a SIGTERM may be a SIGKILL at any moment


def _any_rank(trainer: pl.Trainer, requested: bool) -> bool:
    """Whether any rank got the request: a signal may be sent to one alone, while a checkpoint is saved by all together."""
    return trainer.strategy.reduce_boolean_decision(requested, all=False) if trainer.world_size > 1 else requested


def steps_done(path: Path, expected: Mapping[str, Tensor]) -> int:
    """The optimizer steps that a checkpoint contains, 0 where there is none.

    Args:
        path: of the checkpoint, which is only read.
        expected: what it must hold, by name; only the shapes of the values are compared.

    Raises:
        UserError: If it cannot be read or is of another model.
    """
    if path.is_dir():  # DeepSpeed's, which checks its weights itself
        return int((path / "steps.txt").read_text(encoding="utf-8"))
    if not path.exists():
        return 0
    try:
        # Mapped, not read: only names, shapes and a count are needed.
        checkpoint = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
        found, steps = checkpoint["state_dict"], checkpoint["global_step"]
    except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: cannot be read ({reason}); delete it to train from the start") from error
    odd = sorted(
        name
        for name in expected.keys() | found.keys()
        if name not in expected or name not in found or expected[name].shape != found[name].shape
    )
    if odd:
        raise UserError(
            f"{path}: a checkpoint of another model ({len(odd)} weights differ in name or shape, such as {odd[0]}); delete it "
            "to train from the start"
        )
    return steps
