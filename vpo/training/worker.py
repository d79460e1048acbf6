"""`python -m vpo.training.worker stage.yaml`: one training, in a process (or ranks) of its own.

The file holds the stage's resolved node and where things lie; the worker knows no Hydra, no lock and no other stage. Ranks
come from the environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), as torchrun sets it. Memory, the
GPU's too, is given back when the process ends. Exit code 2 means that `error.txt` holds one line for the user.
"""

import dataclasses
import logging
import os
import shutil
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import yaml

from vpo.errors import UserError

log = logging.getLogger(__name__)

DISK_FULL = 28  # exit code: there may be no room even for a line that says so
NO_ROOM = 2**20  # bytes


def main(path: Path) -> int:
    """Train as the stage file says. Returns the exit code."""
    _end_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    job = yaml.safe_load(path.read_text())
    try:
        train(job)
    except UserError as error:
        (path.parent / "error.txt").write_text(str(error))
        return 2
    except Exception:  # torch and safetensors report a full disk each in a way of its own, so the disk is asked
        if shutil.disk_usage(job["out"]).free < NO_ROOM:
            return DISK_FULL
        raise
    return 0


def train(job: dict[str, Any]) -> None:
    """Fit the module that the job names and save the policy beside its figures.

    `steps.txt` is written last; where it exists already nothing is left to do.

    Job fields: task ("sft" | "dpo"), recipe, trainer, template, start (policy folder), rows (file), out (folder), seed, label.
    """
    if (Path(job["out"]) / "steps.txt").exists():
        _drop_checkpoints(Path(job["out"]) / "last.ckpt")
        return
    import pytorch_lightning as pl
    import torch

    from vpo.backbone.hf import load_pretrained
    from vpo.backbone.rendering import Renderer
    from vpo.templates import read_template
    from vpo.training.forward import Reader
    from vpo.training.record import Checkpoints, JsonlLogger, Progress
    from vpo.training.strategy import WholePolicy, checkpoint_activations, placement

    _quiet()
    out, recipe, hardware = Path(job["out"]), job["recipe"], job["trainer"]
    pl.seed_everything(job["seed"], verbose=False)
    model, tokenizer = load_pretrained(Path(job["start"]), torch.float32)
    renderer = Renderer(tokenizer, read_template(job["template"]))
    reader = Reader.of(model, packing=hardware["packing"], longest=recipe["max_length"])
    checkpoint_activations(model, hardware)
    data = load_data(
        job, renderer, reader.packing, rank=int(os.environ.get("RANK", 0)), world=int(os.environ.get("WORLD_SIZE", 1))
    )
    module = build_module(job["task"], reader, recipe, total_steps=len(data.steps))
    last = out / "last.ckpt"
    figures = JsonlLogger(out / "training.jsonl")
    figures.forget_after(_steps_done(last))
    whole = WholePolicy()
    trainer = pl.Trainer(
        **placement(hardware, model),
        max_steps=len(data.steps),
        max_epochs=-1,
        accumulate_grad_batches=data.accumulate,
        gradient_clip_val=recipe["optimizer"]["clip"],
        val_check_interval=recipe["validate_every"] * data.accumulate if data.validation else None,
        check_val_every_n_epoch=None if data.validation else 1,
        limit_val_batches=None if data.validation else 0,
        num_sanity_val_steps=0,
        log_every_n_steps=recipe["log_every"],
        logger=figures,
        callbacks=[Checkpoints(last, recipe["checkpoint_every"]), Progress(job["label"]), whole],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, data, ckpt_path=last if last.exists() else None, weights_only=True)
    if trainer.is_global_zero:
        model.save_pretrained(out / "policy", state_dict=whole.state)
        tokenizer.save_pretrained(out / "policy")
        (out / "policy" / "template.txt").write_text(renderer.template)
        _finish(out / "steps.txt", trainer.global_step)
        _drop_checkpoints(last)


def _finish(path: Path, steps: int) -> None:
    """Write the mark of a whole training, all or nothing: who finds it does not train again."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(f"{steps}\n")
    os.replace(partial, path)


def _drop_checkpoints(last: Path) -> None:
    """Remove what only an unfinished training needs; after the mark, so that no kill leaves neither of them."""
    for path in (last, last.with_suffix(".partial")):
        if path.is_dir():  # DeepSpeed's
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


def build_module(task: str, reader: Any, recipe: dict[str, Any], total_steps: int) -> Any:
    """The LightningModule of a task."""
    from vpo.training.modules import DPOModule, SFTModule

    if task == "sft":
        return SFTModule(reader, recipe["optimizer"], total_steps)
    named = {name: recipe[name] for name in ("beta", "loss", "label_smoothing", "sft_weight")}
    return DPOModule(reader, recipe["optimizer"], total_steps, **named)


def load_data(job: dict[str, Any], renderer: Any, packing: bool, rank: int, world: int) -> Any:
    """The rows of the job, split into training and validation, as a DataModule that knows the plan."""
    from vpo.records import Example, Pair
    from vpo.rows import read_rows
    from vpo.training.attention import BLOCK
    from vpo.training.data import PlannedDataModule, pair_rows, sft_rows

    recipe, path = job["recipe"], Path(job["rows"])
    if job["task"] == "sft":
        rows, left_out = sft_rows(read_rows(path, Example), renderer, recipe["max_length"])
    else:
        rows, left_out = pair_rows(read_rows(path, Pair), renderer, recipe["max_length"])
        known = {one["query_id"]: (one["chosen"], one["rejected"]) for one in read_rows(Path(job["reference"]), dict)}
        rows = [dataclasses.replace(row, reference=known[row.query_id]) for row in rows]
    if left_out:
        log.info(
            "  %s: %d rows left out (empty, equal, or over max_length=%d tokens)",
            job["label"],
            left_out,
            recipe["max_length"],
        )
    held_out = round(len(rows) * recipe["validation"])
    if len(rows) - held_out < 1:
        raise UserError(
            f"{job['label']}: no rows to train on out of {len(rows) + left_out} ({left_out} were empty, equal or over-long, "
            f"{held_out} are held out for validation); see {path}"
        )
    return PlannedDataModule(
        rows[held_out:],
        rows[:held_out],
        pad_id=renderer.pad_id,
        packing=packing,
        pad_to=BLOCK if job["trainer"]["accelerator"] == "gpu" else 1,
        by="tokens" if job["task"] == "sft" else "rows",
        epochs=recipe["epochs"],
        max_steps=recipe["max_steps"],
        global_batch_size=recipe["global_batch_size"],
        per_device=job["trainer"]["per_device_batch_size"],
        rank=rank,
        world=world,
        seed=job["seed"],
    )


def _steps_done(checkpoint: Path) -> int:
    import torch

    if checkpoint.is_dir():  # DeepSpeed's
        return int((checkpoint / "steps.txt").read_text())
    return torch.load(checkpoint, weights_only=True)["global_step"] if checkpoint.exists() else 0


def _end_with_parent() -> None:
    """Leave when the parent is gone: it holds our standard input open, and a SIGKILL closes it."""

    def watch() -> None:
        while os.read(0, 1):  # nobody writes; unbuffered, so that no lock is held when the interpreter ends
            pass
        os._exit(1)

    if os.environ.get("VPO_PARENT"):
        threading.Thread(target=watch, daemon=True).start()


def _quiet() -> None:
    """Lightning's tips and table of devices are noise here; its warnings about our own loaders are answered by design."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning_utilities").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
