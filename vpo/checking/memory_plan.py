"""`vpo plan`'s lines on memory: will each training fit, and which one change would make it fit."""

import sys
from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import Any

from vpo.assets.folder import PREFIX, assets_folder, is_asset
from vpo.language.checkpoints.files import read_json
from vpo.processes.hardware import SHARDED
from vpo.templates import read_template
from vpo.training.memory import GB, BatchShape, DecoderShape, estimate, fixed_memory

CHARACTERS_PER_TOKEN = 4.8  # of English instructions: VPO's 819 characters are about 170 tokens
LORA = {"r": 64, "target_modules": "all-linear", "bits": None}  # as in sft=lora, for the cures that are offered
# What an adapter learns with, some ten times all weights' rate: conf/sft/lora.yaml, and DPO's of Zephyr 7B with QLoRA
# (huggingface/alignment-handbook, recipes/zephyr-7b-beta/dpo/config_qlora.yaml; all weights: 5e-7).
ADAPTER_LR = {"sft": 2.0e-4, "dpo": 5.0e-6}
CHECKPOINTING = "trainer.activation_checkpointing=true"
RECIPES = {"sft": "sft", "dpo": "objective"}  # a training's stage, and its recipe in the config
COMPLETIONS = {"sft": 1, "dpo": 2}  # of a row
Change = tuple[str, Mapping[str, Any], Mapping[str, Any] | None]


def memory_lines(config: Mapping[str, Any], stages: set[str]) -> list[str]:
    """One line a training of the run, and one on the host's memory; `stages` are those that the run has."""
    trainings = [name for name in (*RECIPES, "grpo") if name in stages]
    if not trainings:
        return []
    shape = shape_of(config["backbone"])
    if shape is None:
        return [f"memory: not estimated, {_why_unknown(config['backbone'])}"]
    room = available(config["trainer"])
    estimates = {
        name: _online(config, shape, room) if name == "grpo" else _line(config, name, shape, room) for name in trainings
    }
    return [*_host(config["trainer"], shape), *estimates.values()]


def shape_of(backbone: Mapping[str, Any]) -> DecoderShape | None:
    """The sizes of a backbone, None where they are not known, or its kind of model is not. Raises UserError as `config_of`."""
    config = config_of(backbone)
    try:
        return None if config is None else DecoderShape.of(config)
    except (LookupError, TypeError, ArithmeticError):
        return None


def config_of(backbone: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a config.json says of a backbone, None where there is none: that of its folder or of the hub's cache, or its own fields.

    Nothing is fetched.

    Raises:
        UserError: The config.json cannot be read.
    """
    if "model" not in backbone:
        own = {"num_hidden_layers": "layers", "num_attention_heads": "heads"}
        names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        if any(own.get(name, name) not in backbone for name in names):
            return None
        sizes = {name: backbone[own.get(name, name)] for name in names}
        return sizes | {"model_type": "llama", "tie_word_embeddings": True}
    asset = is_asset(backbone["model"])
    path = (
        assets_folder() / backbone["model"].removeprefix(PREFIX) if asset else Path(backbone["model"])
    ) / "config.json"
    if not path.exists() and asset:
        return None
    if not path.exists():
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            found = try_to_load_from_cache(backbone["model"], "config.json", revision=backbone.get("revision"))
        except HFValidationError:
            return None
        if not isinstance(found, str):
            return None
        path = Path(found)
    return read_json(path, f"backbone.model={backbone['model']}")


def _why_unknown(backbone: Mapping[str, Any]) -> str:
    model = backbone.get("model", backbone["_target_"])
    config = config_of(backbone)
    if config is not None:
        return f"the arithmetic of {model} (model_type {config.get('model_type')}) is not known here"
    if Path(model).is_dir():
        return f"{model} has no config.json with its sizes"
    if is_asset(model):
        return f"for want of {model}; `vpo assets get {model.removeprefix(PREFIX)}` fetches it"
    return f"for want of the sizes of {model}; `hf download {model} config.json` fetches them"


def available(trainer: Mapping[str, Any]) -> float | None:
    """Bytes that a process of the trainer has: `memory_gb`, or measured on this machine; None where it has no such device."""
    if trainer["memory_gb"] is not None:
        return trainer["memory_gb"] * GB
    if trainer["accelerator"] == "gpu":
        import torch

        return float(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else None
    return free_memory() / trainer["devices"] if sys.platform == "linux" else None


def free_memory() -> float:
    """Bytes of memory that processes may still take on this Linux machine, or in this container."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    free = int(fields["MemAvailable"].split()[0]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text(encoding="utf-8").strip() if limit.exists() else "max"
    return float(free if allowed == "max" else min(free, int(allowed)))


def peak(config: Mapping[str, Any], name: str, shape: DecoderShape, trainer: Mapping[str, Any], adapter: Any) -> float:
    """Estimated bytes of a process in the training of this name, under this trainer and adapter."""
    recipe, guess = config[RECIPES[name]], config["plan"]
    template = ceil(len(read_template(config["backbone"]["template"])) / CHARACTERS_PER_TOKEN)
    items = min(trainer["per_device_batch_size"], max(1, recipe["global_batch_size"] // trainer["devices"]))
    completion = max(1, min(guess["completion_tokens"], recipe["max_length"] - template - guess["query_tokens"]))
    row = BatchShape(items, COMPLETIONS[name], template, guess["query_tokens"], completion, trainer["packing"])
    return estimate(shape, row, trainer, adapter).peak


def _line(config: Mapping[str, Any], name: str, shape: DecoderShape, room: float | None) -> str:
    trainer, adapter = config["trainer"], config[RECIPES[name]].get("adapter")
    size = peak(config, name, shape, trainer, adapter)
    line = f"{name}: about {_gb(size)} a process"
    if room is None:
        return f"{line}; no such device here, so say how much it has: trainer.memory_gb=80"
    if size <= room:
        return f"{line} of {_gb(room)}: fits"
    sized = [(text, peak(config, name, shape, *change), change[1]) for text, *change in changes(trainer, adapter)]
    offered = [one for one in sized if one[1] <= room][:4]
    cures = [f"{text} would take {_gb(needed)}" for text, needed, _ in offered]
    if not offered and sized:
        offered = [min(sized, key=lambda one: one[1])]
        cures = [
            f"the least found is {_gb(needed)} with {text}; a smaller backbone is needed" for text, needed, _ in offered
        ]
    if adapter is None and any(proposed for *_, proposed in offered):
        key, present = f"{RECIPES[name]}.optimizer.lr", config[RECIPES[name]]["optimizer"]["lr"]
        cures[-1] += f"; with an adapter also set {key}={ADAPTER_LR[name]:.1e}, for all weights it is {present:.1e}"
    return f"{line} of {_gb(room)}: does not fit; {', '.join(cures)}"


def _online(config: Mapping[str, Any], shape: DecoderShape, room: float | None) -> str:
    """A lower bound of what GRPO holds: what it samples, its activations and its rewards are not known here."""
    trainer, reference = config["trainer"], bool(config["objective"]["beta"])
    size = fixed_memory(shape, trainer, reference=reference)
    parts = "weights, gradients" + (
        ", optimizer states and the reference's weights" if reference else " and optimizer states"
    )
    line = f"grpo: at least {_gb(size)} a process in {parts}; activations, sampling and rewards are not estimated"
    if room is None or size <= room:
        return line
    without = fixed_memory(shape, trainer, reference=False)
    cure = f"objective.beta=0 would take at least {_gb(without)}" if without <= room else "a smaller backbone is needed"
    return f"{line}; of {_gb(room)}: does not fit; {cure}"


def _host(trainer: Mapping[str, Any], shape: DecoderShape) -> list[str]:
    """What a sharded training's ranks need of the host: each loads the whole model before it is sharded."""
    ranks = trainer["devices"]
    if trainer["strategy"] not in SHARDED or ranks == 1:
        return []
    size = 4 * shape.parameters
    return [
        f"host: {ranks} ranks load the whole model on the CPU first, {_gb(size)} each, {_gb(ranks * size)} together"
    ]


def changes(trainer: Mapping[str, Any], adapter: Mapping[str, Any] | None) -> Iterator[Change]:
    """What may be changed, as overrides, with the trainer and the adapter it gives: the one that changes least first."""
    batch = trainer["per_device_batch_size"]
    smaller = [size for size in (8, 4, 2, 1) if size < batch]
    for size in smaller:
        yield f"trainer.per_device_batch_size={size}", {**trainer, "per_device_batch_size": size}, adapter
    smallest = {**trainer, "per_device_batch_size": 1, "activation_checkpointing": True}
    text = f"trainer.per_device_batch_size=1 {CHECKPOINTING}" if batch > 1 else CHECKPOINTING
    if not trainer["activation_checkpointing"]:
        yield CHECKPOINTING, {**trainer, "activation_checkpointing": True}, adapter
        if batch > 1:
            yield text, smallest, adapter
    if adapter is None:
        yield "sft=lora", trainer, LORA
        yield f"sft=lora {text}", smallest, LORA
    if trainer["strategy"] in ("auto", "ddp") and (adapter is None or not adapter.get("bits")):
        lora = LORA if adapter is None else adapter
        yield "sft=qlora", trainer, {**lora, "bits": 4}
        yield f"sft=qlora {text}", smallest, {**lora, "bits": 4}
    if trainer["accelerator"] == "gpu" and trainer["strategy"] in ("auto", "ddp") and not (adapter or {}).get("bits"):
        sharded = {**trainer, "strategy": "fsdp", "devices": 8, "per_device_batch_size": min(batch, 2)}
        yield "trainer=fsdp trainer.devices=8", sharded, adapter


def _gb(size: float) -> str:
    return f"{size / GB:.1f} GB"
