"""`python -m vpo.training.worker stage.yaml`: one training, in a process (or ranks) of its own.

The file holds the stage's resolved node and the paths it needs; the worker uses no Hydra, no lock and no other stage. Ranks
come from the environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), as torchrun sets it. Memory, the
GPU's too, is released when the process ends. Exit code 2 means that `error.txt` holds one line for the user,
143 that all ranks saved a checkpoint and ended because of a signal (`vpo.processes.signals`).
"""

import dataclasses
import logging
import math
import os
import shutil
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from vpo.errors import UserError
from vpo.processes.launch import DISK_FULL, TRACEBACK
from vpo.processes.signals import REQUESTS
from vpo.storage.disk import disk_problem, is_full
from vpo.storage.redact import RedactedFormatter, redact_text, redact_uncaught, redacted_traceback

log = logging.getLogger(__name__)


def main(path: Path, task: Callable[[dict[str, Any]], None] | None = None) -> int:
    """Run the training that the stage file describes, by `train` or by another module's function. Returns the exit code."""
    REQUESTS.listen(training=False)
    _end_with_parent()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactedFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    redact_uncaught()
    job = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        (task or train)(job)
    except UserError as error:
        return _write_error(path.parent, redact_text(str(error)))
    except Exception as error:
        problem = disk_problem(error, Path(job["out"]))
        if problem is None or not problem.full:
            raise
        with suppress(OSError):
            (path.parent / TRACEBACK).write_text(redacted_traceback(), encoding="utf-8")
        if problem.elsewhere is None:
            return DISK_FULL
        return _write_error(path.parent, f"{problem.elsewhere}: {problem.reason}; {problem.cure}")
    return 0


def _write_error(folder: Path, line: str) -> int:
    """Write one line for the user. Returns the exit code."""
    try:
        (folder / "error.txt").write_text(line, encoding="utf-8")
    except OSError as error:
        log.error("%s", line)
        if not is_full(error):
            raise
        return DISK_FULL
    return 2


def train(job: dict[str, Any]) -> None:
    """Fit the module that the job names and save the policy in the same folder as its metrics.

    `steps.txt` is written last; where it exists already nothing is left to do.

    Job fields: task ("sft" | "dpo"), recipe, trainer, template, start (policy folder), rows (file), reference
    (file, for dpo), out (folder), seed, label.
    """
    if (Path(job["out"]) / "steps.txt").exists():
        _drop_checkpoints(Path(job["out"]) / "last.ckpt")
        return
    import pytorch_lightning as pl
    import torch

    from vpo.language.chat.rendering import Renderer
    from vpo.language.checkpoints.limits import readable_length
    from vpo.language.checkpoints.loading import load_pretrained
    from vpo.templates import read_template
    from vpo.training.checkpoints import Checkpoints, steps_done
    from vpo.training.forward import Reader
    from vpo.training.lora import add_adapter, enable_adapter_dropout
    from vpo.training.policy_folder import BestPolicy, PolicyWriter, publish_policy
    from vpo.training.recipe import base_dtype, bits_of, check_recipe
    from vpo.training.strategy import PolicyGatherer, checkpoint_activations
    from vpo.training.telemetry.callbacks import telemetry
    from vpo.training.telemetry.record import JsonlLogger, Progress

    _quiet()
    out, recipe, hardware = Path(job["out"]), job["recipe"], job["trainer"]
    check_recipe(job["task"], recipe)
    pl.seed_everything(job["seed"], verbose=False)
    start, bits = Path(job["start"]), bits_of(recipe)
    dtype = base_dtype(recipe["adapter"], hardware)
    model, tokenizer = load_pretrained(start, getattr(torch, dtype), bits, device=device_of(hardware))
    recipe = {**recipe, "max_length": readable_length(recipe["max_length"], model.config)}
    job = {**job, "recipe": recipe}
    if recipe["adapter"]:
        model = add_adapter(model, recipe["adapter"])
    elif getattr(model, "is_quantized", False):
        raise UserError(
            f"{start}: its weights are quantised and cannot be trained themselves; train an adapter: sft=lora"
        )
    renderer = Renderer(tokenizer, read_template(job["template"]))
    reader = Reader.of(
        model,
        packing=hardware["packing"],
        longest=recipe["max_length"],
        device=device_of(hardware),
        precision=str(hardware["precision"]),
    )
    checkpoint_activations(model, hardware)
    data = load_data(
        job, renderer, reader.packing, rank=int(os.environ.get("RANK", 0)), world=int(os.environ.get("WORLD_SIZE", 1))
    )
    module = build_module(
        job["task"], reader, recipe, total_steps=len(data.steps), seed=job["seed"], rows=len(data.rows)
    )
    enable_adapter_dropout(model)
    policy = PolicyWriter(model, tokenizer, renderer.template, start, bits, dtype)
    last = out / "last.ckpt"
    metrics = JsonlLogger(out / "training.jsonl")
    done = steps_done(last, module.trained_state())
    metrics.drop_steps_from(done)
    gatherer = PolicyGatherer()
    callbacks = [
        Checkpoints(last, recipe["checkpoint_every"]),
        BestPolicy(out / "best", policy.write),
        *telemetry(job, model, renderer, data, done=done),
        Progress(job["label"]),
        gatherer,
    ]
    trainer = make_trainer(hardware, recipe, model, data, metrics, callbacks)
    trainer.fit(module, data, ckpt_path=last if last.exists() else None, weights_only=True)
    if trainer.is_global_zero:
        publish_policy(out, recipe["keep"], partial(policy.write, state=gatherer.state))
        mark_finished(out / "steps.txt", trainer.global_step)
        _drop_checkpoints(last)


def make_trainer(
    hardware: dict[str, Any], recipe: dict[str, Any], model: Any, data: Any, metrics: Any, callbacks: list[Any]
) -> Any:
    """Lightning's trainer for the planned steps of `data`: no checkpoint, bar or sampler but ours."""
    import pytorch_lightning as pl

    from vpo.training.strategy import placement

    validate_every = min(recipe["validate_every"], len(data.steps)) * data.accumulate
    return pl.Trainer(
        **placement(hardware, model),
        max_steps=len(data.steps),
        max_epochs=-1,
        accumulate_grad_batches=data.accumulate,
        gradient_clip_val=recipe["optimizer"]["clip"],
        val_check_interval=validate_every if data.validation else None,
        check_val_every_n_epoch=None if data.validation else 1,
        limit_val_batches=None if data.validation else 0,
        num_sanity_val_steps=0,
        log_every_n_steps=recipe["log_every"],
        logger=metrics,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def mark_finished(path: Path, steps: int) -> None:
    """Write the file that marks a training as complete, by a rename: where it exists, nothing is trained again."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(f"{steps}\n", encoding="utf-8")
    os.replace(partial, path)


def _drop_checkpoints(last: Path) -> None:
    """Remove what only an unfinished training needs; after the mark, so that no kill leaves neither of them."""
    for path in (last, last.with_suffix(".partial")):
        if path.is_dir():  # DeepSpeed's
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


def build_module(task: str, reader: Any, recipe: dict[str, Any], total_steps: int, seed: int, rows: int = 0) -> Any:
    """The LightningModule of a task; `rows` of an epoch matter where the learning rate falls by epochs."""
    from fractions import Fraction

    from vpo.training.losses import PairObjective
    from vpo.training.modules import DPOModule, SFTModule

    epoch_steps = Fraction(rows, recipe["global_batch_size"])
    if task == "sft":
        return SFTModule(reader, recipe["optimizer"], total_steps, seed, epoch_steps=epoch_steps)
    objective = PairObjective(recipe["beta"], recipe["loss"], recipe["label_smoothing"], recipe["sft_weight"])
    return DPOModule(reader, recipe["optimizer"], total_steps, seed, objective=objective, epoch_steps=epoch_steps)


def load_data(job: dict[str, Any], renderer: Any, packing: bool, rank: int, world: int) -> Any:
    """The rows of the job, split into training and validation, as a DataModule with its plan."""
    from vpo.records import Example, Pair
    from vpo.storage.rows import read_rows
    from vpo.training.data import Collator, PlannedDataModule, pair_rows, sft_rows
    from vpo.training.packing.attention import BLOCK
    from vpo.training.plan import BatchPlan
    from vpo.training.telemetry.watch import reasons

    recipe, path = job["recipe"], Path(job["rows"])
    if job["task"] == "sft":
        rows, left_out = sft_rows(read_rows(path, Example), renderer, recipe["max_length"])
    else:
        rows, left_out = pair_rows(read_rows(path, Pair), renderer, recipe["max_length"])
        rows = with_reference(rows, Path(job["reference"]))
    if left_out:
        log.info("  %s: rows left out: %s (max_length=%d)", job["label"], reasons(left_out), recipe["max_length"])
    held_out = round(len(rows) * recipe["validation"])
    if len(rows) - held_out < 1:
        raise UserError(
            f"{job['label']}: no rows to train on out of {len(rows) + left_out.total()} (left out: {reasons(left_out) or 'none'}; "
            f"held out for validation: {held_out}); see {path}"
        )
    return PlannedDataModule(
        rows[held_out:],
        rows[:held_out],
        plan=BatchPlan(
            global_batch_size=recipe["global_batch_size"],
            per_device=job["trainer"]["per_device_batch_size"],
            epochs=recipe["epochs"],
            max_steps=recipe["max_steps"],
            seed=job["seed"],
            rank=rank,
            world=world,
        ),
        collator=Collator(renderer.pad_id, packing, pad_to=BLOCK if job["trainer"]["accelerator"] == "gpu" else 1),
        unit="tokens" if job["task"] == "sft" else "rows",
        left_out=left_out,
    )


def with_reference(rows: list[Any], path: Path) -> list[Any]:
    """The rows with their reference log-probabilities. Raises UserError when the file lacks one of them."""
    from vpo.storage.rows import read_rows

    known = {
        one["query_id"]: tuple(math.nan if one[side] is None else one[side] for side in ("chosen", "rejected"))
        for one in read_rows(path, dict)
    }  # null was not a number; the first step refuses it
    missing = [row.id for row in rows if row.id not in known]
    if missing:
        raise UserError(
            f"{path}: no log-probabilities of {len(missing)} of {len(rows)} pairs, such as {missing[0]}; they belong to other "
            "pairs or another max_length; redo them with recompute=reference"
        )
    return [dataclasses.replace(row, reference=known[row.id]) for row in rows]


def device_of(hardware: dict[str, Any]) -> str:
    """Where this rank trains, and its weights are quantised."""
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if hardware["accelerator"] == "gpu" else "cpu"


def _end_with_parent() -> None:
    """End this process when the parent has ended: it holds our standard input open, and its end closes it.

    Nothing is saved first: the lock on our folder ended with the parent, so the next start may already write there.
    """

    def watch() -> None:
        while os.read(0, 1):  # nobody writes; unbuffered, so that no lock is held when the interpreter ends
            pass
        os._exit(1)

    if os.environ.get("VPO_PARENT"):
        threading.Thread(target=watch, daemon=True).start()


def _quiet() -> None:
    """Hide Lightning's tips, its table of devices and its warnings about our own loaders, which do not apply."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning_utilities").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
