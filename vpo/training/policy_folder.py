"""What training writes: policy folders that all other stages can read, the last one and the best."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from vpo.errors import UserError
from vpo.language.checkpoints.files import share
from vpo.language.checkpoints.merging import write_base
from vpo.storage.jsonio import write_json
from vpo.training.strategy import gather_state


@dataclass(frozen=True)
class PolicyWriter:
    """Writes the policy that is in training.

    Attributes:
        model: a causal language model, or a PEFT model, of which the adapter alone is written.
        tokenizer: saved in the same folder, with its chat template.
        template: the text that renders a query; saved in the same folder as `template.txt`.
        start: the policy folder that training started from, which is an adapter's base.
        bits: how the base was quantised, None for not at all.
        dtype: torch dtype, by name, in which the base was read.
    """

    model: Any
    tokenizer: Any
    template: str
    start: Path
    bits: int | None
    dtype: str = "float32"

    def write(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """Write a policy folder whole or not at all, in place of an older one.

        Args:
            folder: of the policy.
            state: the weights, where a strategy has sharded them and `vpo.training.strategy` has put them together.
        """
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        if hasattr(self.model, "peft_config"):
            # Embeddings are never trained; "auto" would read the base's config from the hub to find that out.
            self.model.save_pretrained(partial, save_embedding_layers=False, state_dict=state)
            (partial / "README.md").unlink(missing_ok=True)  # PEFT's form of a model card, not filled in
            write_base(partial, self.start, self.bits, self.dtype)
        else:
            self.model.save_pretrained(partial, state_dict=state)
        self.tokenizer.save_pretrained(partial)
        (partial / "template.txt").write_text(self.template, encoding="utf-8")
        share(partial)
        replace_folder(partial, folder)


def replace_folder(source: Path, target: Path) -> None:
    """Rename a folder; one of the new name is deleted first."""
    shutil.rmtree(target, ignore_errors=True)
    source.rename(target)


class BestPolicy(pl.Callback):
    """Keeps the policy of the least validation loss in a folder, and writes its step and loss to `<folder>.json`.

    A resumed run validates some steps again. They give the same losses, so the file is the whole state: only a lesser loss
    replaces what is there.
    """

    def __init__(self, folder: Path, write: Callable[..., None]) -> None:
        self.folder, self.write = folder, write
        self.record = folder.with_name(folder.name + ".json")

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics["val/loss"])
        state = gather_state(trainer, module)  # all ranks take part, whatever the loss
        if trainer.is_global_zero and loss < self.least():
            self.write(self.folder, state=state)
            write_json(self.record, {"step": trainer.global_step, "val/loss": loss})

    def least(self) -> float:
        """The least validation loss so far."""
        return json.loads(self.record.read_text(encoding="utf-8"))["val/loss"] if self.record.exists() else float("inf")


def publish_policy(out: Path, keep: str, write: Callable[[Path], None]) -> None:
    """Make `policy/` the last policy or the best one; the other of the two keeps its own folder where there is one.

    May be killed and called again: the best policy is moved after everything else is written.
    """
    best, policy = out / "best", out / "policy"
    if keep == "last":
        write(policy)
        return
    write(out / "last")
    if best.is_dir():
        replace_folder(best, policy)
    if not policy.is_dir():
        raise UserError(f"{out}: no validation loss was finite, so there is no best policy; set keep=last or lower lr")
