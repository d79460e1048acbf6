"""`python -m vpo.training.online.grpo stage.yaml`: online reinforcement learning by TRL's GRPOTrainer, in a process of its own.

Group relative policy optimization (Shao et al. 2024, arXiv 2402.03300, eq. 3): completions of one query are compared with one
another, so that no value model is needed. Our own are the rendering of queries, the rewards, the metrics and the checkpoints.

Sampling is TRL's: from one generator a process, by batches. So this stage is exempt from the rule that randomness comes from the
item: another batch size or number of devices draws other completions. On one machine with one configuration it is repeatable, and
a training that was killed and goes on ends with the same weights.
"""

import logging
import math
import os
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback

# The worker otherwise knows no Hydra; the judge and the reward are needed in the process that samples, and a node with a
# `_target_` becomes an object in `vpo.build` alone. No config is composed here.
from vpo import build, targets
from vpo.errors import UserError
from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.limits import readable_length
from vpo.language.checkpoints.loading import load_pretrained
from vpo.records import Query
from vpo.storage.rows import read_rows
from vpo.templates import read_template
from vpo.training.lora import ALL_LINEAR, adapter_errors_as_user_errors, lora_config, warn_of_weights_without_adapter
from vpo.training.online.callbacks import (
    Checkpoints,
    DivergenceGuard,
    GreedyPrompts,
    MetricsCallback,
    Progress,
    completions_grown,
    last_checkpoint,
)
from vpo.training.online.rewards import Decode, TextReward, VideoReward
from vpo.training.plan import plan_steps
from vpo.training.policy_folder import PolicyWriter
from vpo.training.telemetry.callbacks import drop_updates_after
from vpo.training.telemetry.prompts import PromptTables
from vpo.training.telemetry.record import JsonlLogger
from vpo.training.telemetry.throughput import Stopwatch
from vpo.training.telemetry.watch import reasons, rows_cut
from vpo.training.worker import main, mark_finished

log = logging.getLogger(__name__)

SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}  # ours -> transformers'


def train(job: dict[str, Any]) -> None:
    """Train the policy by the rewards of its completions, and save it in the same folder as its metrics.

    `steps.txt` is written last; where it exists already nothing is left to do.

    Job fields: recipe, trainer, template, start (policy folder), rows (file of queries), out (folder), seed, label, allow (prefixes
    for `build`), and the nodes of judge, or of generator and reward, or of all three.
    """
    out, rank = Path(job["out"]), int(os.environ.get("RANK", 0))
    checkpoints, scratch = out / "checkpoints", out / f"clips-{rank}"
    if (out / "steps.txt").exists():
        shutil.rmtree(checkpoints, ignore_errors=True)
        return
    _quiet()
    _one_device(job["trainer"])
    targets.allow(job["allow"])
    model, tokenizer = load_pretrained(Path(job["start"]), torch.float32)
    recipe = job["recipe"]
    job = {**job, "recipe": {**recipe, "max_length": readable_length(recipe["max_length"], model.config)}}
    renderer = Renderer(tokenizer, read_template(job["template"]))
    queries, left_out = training_queries(job, renderer)
    rows = training_rows(job, renderer, queries, left_out)
    shutil.rmtree(scratch, ignore_errors=True)  # of a start that was killed
    scratch.mkdir()
    model.generation_config.eos_token_id = renderer.stop_ids  # TRL samples until one of these or EOS
    rewards = reward_functions(job, renderer.decode, scratch)
    trainer = make_trainer(job, model, tokenizer, rows, rewards, checkpoints)
    last = last_checkpoint(checkpoints)
    for callback in (
        *telemetry(job, renderer, queries, left_out, done=int(last.name.rpartition("-")[2]) if last else 0),
        Checkpoints(),
        DivergenceGuard(),
        Progress(job["label"]),
    ):
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    scratch.rmdir()
    if trainer.accelerator.is_main_process:
        PolicyWriter(trainer.model, tokenizer, renderer.template, Path(job["start"]), bits=None).write(out / "policy")
        mark_finished(out / "steps.txt", trainer.state.global_step)
        shutil.rmtree(checkpoints, ignore_errors=True)
    trainer.accelerator.end_training()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def telemetry(
    job: dict[str, Any], renderer: Renderer, queries: Sequence[Query], left_out: Counter[str], *, done: int
) -> list[TrainerCallback]:
    """The callbacks that report on a training of which `done` updates are in a checkpoint; lines of later updates are dropped."""
    out, recipe, clock = Path(job["out"]), job["recipe"], Stopwatch()
    metrics = JsonlLogger(out / "training.jsonl")
    metrics.drop_steps_from(done)
    drop_updates_after(out, done)
    detectors = {
        "rows cut": partial(rows_cut, left_out, len(queries) + left_out.total()),
        "completions_grow": partial(completions_grown, metrics.path, recipe["max_new_tokens"]),
    }
    shown = list(dict.fromkeys(one.text for one in queries))[: recipe["prompts"]]
    return [
        MetricsCallback(metrics, job["label"], detectors, clock),
        GreedyPrompts(
            PromptTables(
                out / "prompts.jsonl", renderer, shown, recipe["prompts_every"], recipe["max_new_tokens"], clock
            )
        ),
    ]


def reward_functions(job: dict[str, Any], decode: Decode, scratch: Path) -> dict[str, TextReward | VideoReward]:
    """The rewards that the job has nodes for: "text" with a judge, "video" with a generator and a reward."""
    found: dict[str, TextReward | VideoReward] = {}
    if "judge" in job:
        found["text"] = TextReward(build.build(job["judge"]), decode)
    if "generator" in job:
        made = build.build(job["generator"]), build.build(job["reward"])
        found["video"] = VideoReward(*made, decode, seed=job["seed"], scratch=scratch)
    return found


def make_trainer(
    job: dict[str, Any],
    model: Any,
    tokenizer: Any,
    rows: list[dict[str, Any]],
    rewards: dict[str, TextReward | VideoReward],
    checkpoints: Path,
) -> Any:
    """TRL's trainer for the job; `rows` are in the order of training, and the reference is the model as it is now.

    A row's `prompt` are the ids of `Renderer.prompt_ids`.

    An adapter is TRL's to add, so that its reference is the model with the adapter off, not a copy. What is trained, and
    written at the end, is `trainer.model`.

    Raises:
        UserError: If the batch cannot be divided so, the schedule is unknown or the model has no place for the adapter.
    """
    from datasets import Dataset
    from trl import GRPOConfig

    from vpo.training.online.trainer import TrainerOfIds

    recipe, hardware, optimizer = job["recipe"], job["trainer"], job["recipe"]["optimizer"]
    world, adapter = hardware["devices"], recipe["adapter"]
    per_device = min(hardware["per_device_batch_size"], max(1, recipe["global_batch_size"] // world))
    if recipe["global_batch_size"] % (per_device * world):
        raise UserError(
            f"global_batch_size={recipe['global_batch_size']} is not per_device_batch_size={per_device} x accumulation x "
            f"devices={world}; make it a multiple of {per_device * world}"
        )
    if optimizer["schedule"] not in SCHEDULES:
        raise UserError(f"schedule={optimizer['schedule']} is unknown; choose one of {', '.join(SCHEDULES)}")
    arguments = GRPOConfig(
        output_dir=str(checkpoints),
        seed=job["seed"],
        use_cpu=hardware["accelerator"] == "cpu",
        ddp_backend="gloo" if hardware["accelerator"] == "cpu" and world > 1 else None,
        bf16=str(hardware["precision"]).startswith("bf16"),
        fp16=str(hardware["precision"]).startswith("16"),
        gradient_checkpointing=recipe["gradient_checkpointing"],
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=recipe["global_batch_size"] // (per_device * world),
        max_steps=len(rows) * recipe["generations"] // recipe["global_batch_size"],
        shuffle_dataset=False,
        dataloader_pin_memory=hardware["accelerator"] != "cpu",
        # the algorithm
        loss_type=recipe["loss"],
        beta=recipe["beta"],
        epsilon=recipe["epsilon"],
        num_generations=recipe["generations"],
        temperature=recipe["temperature"],
        top_p=recipe["top_p"],
        max_completion_length=recipe["max_new_tokens"],
        reward_weights=[recipe["rewards"][name] for name in rewards],
        # TRL counts a missing reward as 0 in a sum. Scaled in its group first, 0 is the group's mean and so has no effect.
        multi_objective_aggregation="normalize_then_sum",
        # the optimizer
        learning_rate=optimizer["lr"],
        adam_beta1=optimizer["betas"][0],
        adam_beta2=optimizer["betas"][1],
        weight_decay=optimizer["weight_decay"],
        lr_scheduler_type=SCHEDULES[optimizer["schedule"]],
        warmup_steps=optimizer["warmup"],  # below 1 a share of the steps
        max_grad_norm=optimizer["clip"] or 0.0,  # 0 clips nothing
        # the record
        report_to="none",
        disable_tqdm=True,
        logging_steps=recipe["log_every"],
        logging_nan_inf_filter=False,
        save_steps=recipe["checkpoint_every"],
        save_total_limit=2,  # the older one is the whole one while the newer is being written
    )
    reference_folder = checkpoints.with_name("start")
    if recipe["beta"] and not adapter and not Path(model.config._name_or_path).is_dir():
        # TRL makes its reference from what the config names: of a merged adapter a hub id, of which it would take another version.
        model.save_pretrained(reference_folder)
        model.config._name_or_path = str(reference_folder)
    with adapter_errors_as_user_errors(adapter) if adapter else nullcontext():
        trainer = TrainerOfIds(
            model=model,
            args=arguments,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(rows),
            reward_funcs=list(rewards.values()),
            peft_config=lora_config(adapter, model) if adapter else None,
        )
    trainer.remove_callback(PrinterCallback)
    if adapter:
        warn_of_weights_without_adapter(trainer.model, all_linear=adapter["target_modules"] == ALL_LINEAR)
        # Of a checkpoint, too: embeddings are never trained, and "auto" would read the base's config from the hub each time.
        trainer.model.save_pretrained = partial(trainer.model.save_pretrained, save_embedding_layers=False)
    if trainer.ref_model is not None:
        # TRL reads the reference from the folder that the model's config names; whatever lies there, it is the start.
        trainer.ref_model.load_state_dict(model.state_dict())
    shutil.rmtree(reference_folder, ignore_errors=True)
    return trainer


def training_queries(job: dict[str, Any], renderer: Renderer) -> tuple[list[Query], Counter[str]]:
    """The queries that leave room for a completion, and how many were left out ("over-long")."""
    recipe, queries = job["recipe"], read_rows(Path(job["rows"]), Query)
    room = recipe["max_length"] - recipe["max_new_tokens"]
    fitting = [one for one in queries if len(renderer.prompt_ids(one.text)) <= room]
    left_out = +Counter({"over-long": len(queries) - len(fitting)})
    if left_out:
        log.info("  %s: queries left out: %s (max_length=%d)", job["label"], reasons(left_out), recipe["max_length"])
    return fitting, left_out


def training_rows(
    job: dict[str, Any], renderer: Renderer, queries: Sequence[Query], left_out: Counter[str]
) -> list[dict[str, Any]]:
    """The queries of every update, in order: epochs of permutations, whole updates only.

    Raises:
        UserError: If there are too few for one update; the message counts those `left_out`, too.
    """
    recipe, total = job["recipe"], len(queries) + left_out.total()
    size = recipe["global_batch_size"] // recipe["generations"]
    epochs = (
        recipe["epochs"]
        if recipe["max_steps"] is None
        else math.ceil(recipe["max_steps"] * size / max(1, len(queries)))
    )
    steps = plan_steps(len(queries), epochs=epochs, global_batch_size=size, seed=job["seed"]) if queries else []
    steps = [step for step in steps if len(step) == size][: recipe["max_steps"]]
    if not steps:
        raise UserError(
            f"{job['label']}: {len(queries)} of {total} queries fit into max_length={recipe['max_length']}, and an update "
            f"needs {size} (objective.global_batch_size / objective.generations); give more queries or a smaller batch"
        )
    return [
        {"prompt": renderer.prompt_ids(one.text), "query_id": one.id, "query": one.text}
        for step in steps
        for one in (queries[number] for number in step)
    ]


def _one_device(hardware: dict[str, Any]) -> None:
    """Hide all GPUs but the first where one is requested: transformers would copy the model to all that are visible."""
    if hardware["accelerator"] != "cpu" and hardware["devices"] == 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def _quiet() -> None:
    """Hide tips of transformers and TRL; errors are raised, and the rest is in the metrics."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("transformers", "trl", "accelerate", "datasets", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|trl")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), train))
