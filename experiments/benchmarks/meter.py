"""Time and memory of optimizer steps, measured alike for every trainer: through PyTorch's own global hooks.

No trainer is instrumented. A step ends when an optimizer has stepped, so the time between two ends holds all that a
user pays for: loading, collating, forward, backward, clipping, AdamW, schedules, logging.
"""

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook


class Meter:
    """Watches from its construction on.

    Args:
        warmup: optimizer steps that are not timed.
    """

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup
        self._ends: list[tuple[float, float]] = []
        self._before: int | None = None
        self._first = register_module_forward_pre_hook(self._first_forward)
        self._last = register_optimizer_step_post_hook(self._step_ends)

    def metrics(self) -> dict[str, Any]:
        """Timed steps, seconds and CPU seconds of all of them together, and peak memory in bytes above the level before.

        CPU seconds are those of all threads of this process, which a busy machine changes less than it does seconds.
        """
        (start, cpu_start), (end, cpu_end) = self._ends[self.warmup - 1], self._ends[-1]
        peak = _peak()
        return {
            "steps": len(self._ends) - self.warmup,
            "seconds": end - start,
            "cpu_seconds": cpu_end - cpu_start,
            "peak_bytes": None if peak is None or self._before is None else peak - self._before,
        }

    def _first_forward(self, module: torch.nn.Module, inputs: Any) -> None:
        """Note the level of memory when the first forward pass that trains begins; earlier ones need no gradient."""
        if torch.is_grad_enabled() and module.training:
            self._first.remove()
            self._before = _reset_peak()

    def _step_ends(self, *_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._ends.append((time.perf_counter(), time.process_time()))


@dataclass
class Peak:
    """How far memory went above its level at the start, in bytes; None where neither CUDA nor Linux reports it."""

    bytes: int | None = None


@contextmanager
def peak_of() -> Iterator[Peak]:
    """The peak of the work in the block, once it has ended."""
    found, before = Peak(), _reset_peak()
    yield found
    peak = _peak()
    found.bytes = None if peak is None or before is None else peak - before


def _reset_peak() -> int | None:
    """Forget the peak and return the present level in bytes; None where neither CUDA nor Linux reports it."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not be taken for room of this step's
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
    except (OSError, AttributeError):
        return None
    return _status("VmRSS")


def _peak() -> int | None:
    """The highest level since `_reset_peak`."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM") if Path("/proc/self/status").exists() else None


def _status(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(field + ":")]
    return int(line.split()[1]) * 1024
