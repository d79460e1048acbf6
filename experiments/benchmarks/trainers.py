"""One trainer of `train_step.py` in a process of its own: `python trainers.py job.json` writes the job's `out` file.

Job fields: task ("dpo" | "sft"), trainer (a key of TRAINERS), size (see train_step.yaml), batch, steps, warmup, seed,
tuning ("full" | "lora"), shape, lengths, lora (values of train_step.yaml), folder, out.

What is the same for all: the random weights, the rows and their order, fp32 on a CPU and bf16 autocast on a GPU, there with
weights as the worker holds them (in fp32 where they are trained, in bf16 beside an adapter), PyTorch's SDPA (ours, packed:
through `vpo.training.packing.attention`), no gradient checkpointing, no loader processes, clipping at the same norm. Reference
log-probabilities are computed beforehand and not timed.
"""

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from meter import Meter
from rows import as_text, make_rows, make_tokenizer

CONF = Path(__file__).resolve().parents[2] / "conf"
RECIPES = {"dpo": CONF / "objective" / "dpo.yaml", "sft": CONF / "sft" / "full.yaml"}
Job = dict[str, Any]


def ours(job: Job, model: Any, rows: list[Any], *, packing: bool) -> int:
    """`DPOModule` or `SFTModule` with its data module under a Lightning trainer set as the worker sets it.

    Returns the rows of the timed steps, as every trainer does.
    """

    from vpo.training.data import Collator, PlannedDataModule
    from vpo.training.forward import Reader
    from vpo.training.packing.attention import BLOCK
    from vpo.training.plan import BatchPlan
    from vpo.training.reference import reference_logprobs
    from vpo.training.telemetry.record import JsonlLogger
    from vpo.training.worker import build_module, make_trainer

    recipe, hardware = recipe_of(job), hardware_of()
    on_gpu = hardware["accelerator"] == "gpu"
    reader = Reader.of(
        model,
        packing=packing,
        longest=recipe["max_length"],
        device=model.device,
        precision=hardware["precision"],
    )
    if packing and not reader.packing:
        raise RuntimeError("the model does not take packed rows, so there is nothing to measure")
    pad_id = job["shape"]["vocab_size"] - 2
    if job["task"] == "dpo":
        model.eval()
        parts = [reference_logprobs(reader, rows[start : start + 4], pad_id) for start in range(0, len(rows), 4)]
        known = [sums for part in parts for sums in part]
        rows = [dataclasses.replace(row, reference=sums) for row, sums in zip(rows, known, strict=True)]
        model.train()
    data = PlannedDataModule(
        rows,
        [],
        plan=BatchPlan(global_batch_size=job["batch"], per_device=job["size"], epochs=1, seed=job["seed"]),
        collator=Collator(pad_id, packing, pad_to=BLOCK if on_gpu else 1),
        unit="tokens" if job["task"] == "sft" else "rows",
    )
    metrics = JsonlLogger(Path(job["folder"]) / "training.jsonl")
    trainer = make_trainer(hardware, recipe, model, data, metrics, callbacks=[])
    trainer.fit(build_module(job["task"], reader, recipe, total_steps=len(data.steps), seed=job["seed"]), data)
    return job["steps"] * job["batch"]


def trl_dpo(job: Job, model: Any, rows: list[Any]) -> int:
    """TRL's `DPOTrainer` with `precompute_ref_log_probs`, which it does while it is built."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    config = DPOConfig(
        **trl_settings(job, model, per_device=job["size"], accumulate=job["batch"] // job["size"]),
        max_length=recipe_of(job)["max_length"],
        beta=recipe_of(job)["beta"],
        precompute_ref_log_probs=True,
        precompute_ref_batch_size=4,
    )
    tokenizer = make_tokenizer(job["shape"]["vocab_size"])
    pairs = Dataset.from_list(as_text(rows))
    DPOTrainer(model, args=config, train_dataset=pairs, processing_class=tokenizer).train()
    return job["steps"] * job["batch"]


def trl_sft(job: Job, model: Any, rows: list[Any], *, packing: bool) -> int:
    """TRL's `SFTTrainer`; with packing (best-fit decreasing) a forward pass is one pack of `size` tokens.

    Packs hold a changing number of rows, so a step holds about `batch` of them and those of the timed steps are counted.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    tokens = sum(map(tokens_of, rows))
    per_device = 1 if packing else job["size"]
    accumulate = (
        max(1, round(job["batch"] * tokens / len(rows) / job["size"])) if packing else job["batch"] // per_device
    )
    config = SFTConfig(
        **trl_settings(job, model, per_device=per_device, accumulate=accumulate),
        max_length=job["size"] if packing else recipe_of(job)["max_length"],
        packing=packing,
        completion_only_loss=True,
    )
    tokenizer = make_tokenizer(job["shape"]["vocab_size"])
    trainer = SFTTrainer(model, args=config, train_dataset=Dataset.from_list(as_text(rows)), processing_class=tokenizer)
    trainer.train()
    if not packing:
        return job["steps"] * job["batch"]
    packs = trainer.train_dataset["seq_lengths"]
    timed = range(job["warmup"] * accumulate, (job["warmup"] + job["steps"]) * accumulate)
    return sum(len(packs[index % len(packs)]) for index in timed)


def trl_settings(job: Job, model: Any, *, per_device: int, accumulate: int) -> dict[str, Any]:
    """What TRL's two trainers are given alike; where a setting costs time (checkpointing, fused AdamW), the faster one."""
    on_gpu, optimizer = model.device.type == "cuda", recipe_of(job)["optimizer"]
    return {
        "output_dir": job["folder"],
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": accumulate,
        "max_steps": job["warmup"] + job["steps"],
        "train_sampling_strategy": "sequential",  # the rows come in the order of our plan
        "optim": "adamw_torch_fused",
        "learning_rate": optimizer["lr"],
        "adam_beta1": optimizer["betas"][0],
        "adam_beta2": optimizer["betas"][1],
        "weight_decay": optimizer["weight_decay"],
        "max_grad_norm": optimizer["clip"],
        "use_cpu": not on_gpu,
        "bf16": on_gpu,
        "gradient_checkpointing": False,
        "dataloader_num_workers": 0,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": job["seed"],
    }


TRAINERS = {
    ("dpo", "trl"): trl_dpo,
    ("dpo", "padded"): partial(ours, packing=False),
    ("dpo", "packed"): partial(ours, packing=True),
    ("sft", "trl"): partial(trl_sft, packing=False),
    ("sft", "trl_packing"): partial(trl_sft, packing=True),
    ("sft", "padded"): partial(ours, packing=False),
    ("sft", "packed"): partial(ours, packing=True),
}


def hardware_of() -> dict[str, Any]:
    """The trainer node of this machine: its GPU under bf16 autocast if there is one, else its CPU in fp32."""
    on_gpu = torch.cuda.is_available()
    return {
        "accelerator": "gpu" if on_gpu else "cpu",
        "devices": 1,
        "strategy": "auto",
        "precision": "bf16-mixed" if on_gpu else "32-true",
    }


def recipe_of(job: Job) -> dict[str, Any]:
    """Our own recipe of the task, whose values TRL is given too."""
    return yaml.safe_load(RECIPES[job["task"]].read_text())


def tokens_of(row: Any) -> int:
    """Tokens of a row's sequences one by one, unpadded."""
    return sum(len(row.prompt) + len(ids) for ids in row.completions)


def build_model(job: Job) -> Any:
    """A Llama of the job's shape with random weights, on the GPU if there is one; with LoRA if the job says so.

    Its dtype is the one in which the worker would load it.
    """
    from transformers import AutoModelForCausalLM, LlamaConfig

    from vpo.training.recipe import base_dtype

    hardware, adapter = hardware_of(), job["lora"] if job["tuning"] == "lora" else None
    vocabulary = job["shape"]["vocab_size"]
    config = LlamaConfig(
        **job["shape"],
        max_position_embeddings=8192,
        pad_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        bos_token_id=None,
    )
    torch.manual_seed(job["seed"])
    dtype = getattr(torch, base_dtype(adapter, hardware))
    with torch.device("cuda" if hardware["accelerator"] == "gpu" else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    if adapter is not None:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **adapter))
    return model.train()


def utilisation(job: Job, model: Any, rows: list[Any], seconds: float) -> float | None:
    """Model FLOPs utilisation of rows read in some seconds on a GPU of known peak, else None; counted as `train/mfu` is."""
    from vpo.training.telemetry.throughput import ModelShape, peak_of, training_flops

    peak = peak_of(torch.device("cuda"), torch.bfloat16) if torch.cuda.is_available() else None
    shape = ModelShape.of(model)
    if peak is None or shape is None:
        return None
    return training_flops(shape, **work_of(job, rows)) / (seconds * peak * 1e12)


def work_of(job: Job, rows: list[Any]) -> dict[str, int]:
    """What the trainer puts through the model for some rows, padding left out: the counts that `training_flops` takes.

    Packed by us, a template is there once a forward pass and a query once; anywhere else, once a sequence.
    """
    from vpo.training.packing.rows import build_trees, pack

    completions = sum(row.completion_tokens for row in rows)
    if job["trainer"] == "packed":
        trees = build_trees([row.prompt for row in rows], [row.completions for row in rows], items_per_row=job["size"])
        depths = [int(depth) for tree in trees for depth in pack(tree).position_ids[0]]
        return {"tokens": len(depths), "completions": completions, "keys": sum(depths) + len(depths)}
    lengths = [len(row.prompt) + len(ids) for row in rows for ids in row.completions]
    keys = sum(length * (length + 1) // 2 for length in lengths)
    return {"tokens": sum(lengths), "completions": completions, "keys": keys}


def main(path: Path) -> None:
    """Run one trainer and write its metrics."""
    from vpo.training.plan import plan_steps

    job = json.loads(path.read_text())
    batch, count = job["batch"], (job["warmup"] + job["steps"]) * job["batch"]
    rows = make_rows(count, 2 if job["task"] == "dpo" else 1, job["lengths"], job["shape"]["vocab_size"], job["seed"])
    plan = plan_steps(count, epochs=1, global_batch_size=batch, seed=job["seed"])
    ordered = [rows[index] for step in plan for index in step]
    model = build_model(job)
    meter = Meter(job["warmup"])
    trainer = TRAINERS[job["task"], job["trainer"]]
    timed = trainer(job, model, ordered if job["trainer"].startswith("trl") else rows)
    metrics = meter.metrics()
    if metrics["steps"] != job["steps"]:
        raise RuntimeError(f"{job['steps']} steps were asked for, {metrics['steps']} were timed")
    seconds = metrics["seconds"]
    measured = {
        "rows_per_second": timed / seconds,
        "rows_per_cpu_second": timed / metrics["cpu_seconds"],
        "step_seconds": seconds / job["steps"],
        "peak_mib": None if metrics["peak_bytes"] is None else metrics["peak_bytes"] / 2**20,
        "mfu": utilisation(job, model, ordered[job["warmup"] * batch :], seconds * job["steps"] * batch / timed),
        "device": torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{torch.get_num_threads()} CPU threads",
    }
    Path(job["out"]).write_text(json.dumps(measured))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
