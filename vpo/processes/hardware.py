"""Whether the machine has what `trainer` requests: checked before any work; torch is imported only if a GPU is requested."""

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from vpo.errors import UserError

SHARDED = ("fsdp", "deepspeed")  # strategies that cut weights into pieces; Lightning runs them on CUDA only


def check_hardware(trainer: Mapping[str, Any]) -> None:
    """Raise UserError where the trainer cannot run here."""
    wants_gpu = trainer["accelerator"] == "gpu"
    problem = hardware_problem(
        trainer, gpus=_visible_gpus() if wants_gpu else 0, deepspeed=find_spec("deepspeed") is not None
    )
    if problem:
        raise UserError(problem)


def hardware_problem(trainer: Mapping[str, Any], *, gpus: int, deepspeed: bool) -> str | None:
    """Why a trainer cannot run on a machine with so many GPUs, and the cure in one line; None if it can."""
    strategy, accelerator, devices = trainer["strategy"], trainer["accelerator"], trainer["devices"]
    if accelerator not in ("cpu", "gpu"):
        return f"trainer.accelerator={accelerator} is unknown; choose cpu or gpu"
    if strategy in SHARDED and accelerator != "gpu":
        return f"trainer.strategy={strategy} needs CUDA GPUs; set trainer.accelerator=gpu, or use trainer=ddp on CPU"
    if accelerator == "gpu" and gpus < devices:
        seen = f"torch sees {gpus}" if gpus else "torch sees none"
        cure = f"set trainer.devices={gpus}" if gpus else "use trainer=cpu or trainer=ddp, or a machine with CUDA"
        return f"trainer.strategy={strategy} asks for {devices} GPU{'s' * (devices > 1)} and {seen}; {cure}"
    if strategy == "deepspeed" and not deepspeed:
        return "trainer.strategy=deepspeed needs DeepSpeed, which is not installed; pip install deepspeed, or use trainer=fsdp"
    return None


def _visible_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def visible_devices() -> list[str]:
    """The GPUs that this process sees, in its order, as CUDA_VISIBLE_DEVICES names them (a number, or GPU-<uuid>).

    A scheduler may have set that variable; else they are counted, for which torch is imported. Nothing is put on a GPU.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        names = [one.strip() for one in named.split(",")]
        return names[: next((at for at, one in enumerate(names) if one in ("", "-1")), len(names))]  # as CUDA reads it
    return [str(number) for number in range(_visible_gpus())]


def release_gpu_memory() -> None:
    """Release cached GPU memory of this process before a child trains: the models are deleted, their blocks are still reserved."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def restart_peak_memory() -> None:
    """Let `peak_memory` begin anew, where there is a GPU; of a process the system keeps one maximum."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> dict[str, Any]:
    """{"bytes", "of"}: the most memory that was taken, of the "gpu" since `restart_peak_memory`, or else of the whole "process"
    so far. Empty where the system does not say (Windows)."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return {"bytes": torch.cuda.max_memory_allocated(), "of": "gpu"}
    try:
        import resource
    except ImportError:
        return {}
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"bytes": most if sys.platform == "darwin" else most * 1024, "of": "process"}
