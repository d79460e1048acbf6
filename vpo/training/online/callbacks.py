"""What online training writes while it runs, as callbacks of TRL's trainer: metrics, warnings, tables of greedy prompts,
checkpoints that a kill cannot break.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from vpo.errors import UserError
from vpo.processes.signals import EXIT_SAVED, REQUESTS
from vpo.storage.progress import Bar
from vpo.storage.rows import whole_lines
from vpo.training.strategy import local_norm
from vpo.training.telemetry.prompts import PromptTables
from vpo.training.telemetry.record import JsonlLogger
from vpo.training.telemetry.throughput import Stopwatch
from vpo.training.telemetry.watch import completions_grow, warn_once

WHOLE = "whole"  # an empty file in a checkpoint that every rank has finished
# TRL's metrics under our names. Not named are totals and times (`MetricsCallback` makes rates of them), and what is constant with one
# update a sample (clipping).
METRIC_NAMES = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "lr",
    "kl": "kl",
    "entropy": "entropy",
    "reward": "reward/weighted_sum",
    "rewards/TextReward/mean": "reward/text",
    "rewards/VideoReward/mean": "reward/video",
    "frac_reward_zero_std": "groups_alike",
    "completions/mean_length": "completions/mean_length",
    "completions/max_length": "completions/max_length",
    "completions/clipped_ratio": "completions/cut",
}
FORWARDED = ("judge/", "failed/")  # the rewards' own


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; the first rank removes those that a kill left incomplete."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = [path for path in found if (path / WHOLE).exists()]
    if not int(os.environ.get("RANK", 0)):
        for path in set(found) - set(whole):
            shutil.rmtree(path)
    return whole[-1] if whole else None


class MetricsCallback(TrainerCallback):
    """Appends TRL's metrics to `training.jsonl`, in the form of every other training: steps count from 0.

    Tokens per second, names as in `vpo.training.telemetry.throughput`, are those of an update's prompts and completions, each
    counted once on all ranks, over the whole time of the update: sampling, rewards and learning. The first metrics of a process, which
    warms up, have none. Before training and with every line the detectors are run; each warns once, in `warnings.jsonl`.

    Args:
        detectors: by name, as of `vpo.training.telemetry.watch.WarningMonitor`.
        clock: shared with the callbacks that pause it.
    """

    def __init__(
        self, metrics: JsonlLogger, label: str, detectors: Mapping[str, Callable[[], str | None]], clock: Stopwatch
    ) -> None:
        self.metrics, self.label, self.detectors, self.clock = metrics, label, detectors, clock
        self.warnings = metrics.path.with_name("warnings.jsonl")
        self._before: tuple[int, float] | None = None  # updates and tokens at the last restart of the clock

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: Any, **unused: Any) -> None:
        self._run_detectors(state)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **unused: Any
    ) -> None:
        named = {METRIC_NAMES[name]: value for name, value in logs.items() if name in METRIC_NAMES}
        named |= {name: value for name, value in logs.items() if name.startswith(FORWARDED)}
        if "num_tokens" in logs:
            named |= self._rates(logs, state.global_step, completions=_completions(args))
        logged = {f"train/{name}": float(value) for name, value in named.items() if value is not None}
        if logged and state.is_world_process_zero:
            self.metrics.log_metrics(logged, state.global_step - 1)
        self._run_detectors(state)

    def _rates(self, logs: Mapping[str, float], step: int, *, completions: int) -> dict[str, float]:
        """Tokens per second since the metrics before; TRL counts tokens from the start and gives lengths as means."""
        seconds, before = self.clock.restart(), self._before
        self._before = step, logs["num_tokens"]
        if before is None:
            return {}
        sampled = (step - before[0]) * completions * logs["completions/mean_length"]
        amounts = {"tokens": logs["num_tokens"] - before[1], "completion_tokens": sampled}
        return {f"{name}_per_second": amount / seconds for name, amount in amounts.items()}

    def _run_detectors(self, state: TrainerState) -> None:
        if state.is_world_process_zero:
            for name, detect in self.detectors.items():
                warn_once(self.warnings, self.label, state.global_step, name, detect)


def completions_grown(metrics: Path, limit: int) -> str | None:
    """`completions_grow` on the metrics of a training; `limit` tokens is where a completion is cut."""
    key = "train/completions/mean_length"
    return completions_grow([line[key] for line in whole_lines(metrics) if line.get(key) is not None], limit=limit)


def _completions(args: TrainingArguments) -> int:
    """Completions of an update, all ranks together."""
    return args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size


class GreedyPrompts(TrainerCallback):
    """Writes `tables` while TRL trains, as `GreedyPrompts` of Lightning's callbacks does; other ranks wait in their next update."""

    def __init__(self, tables: PromptTables) -> None:
        self.tables = tables

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, model: Any, **unused: Any) -> None:
        if state.global_step == 0:
            self._write(model, state)

    def on_step_end(self, args: Any, state: TrainerState, control: Any, model: Any, **unused: Any) -> None:
        if self.tables.due(state.global_step, state.max_steps):
            self._write(model, state)

    def _write(self, model: Any, state: TrainerState) -> None:
        if state.is_world_process_zero:
            self.tables.write(model, state.global_step)


class Checkpoints(TrainerCallback):
    """Marks checkpoints as whole, and saves one at the end of a step when a signal requests it."""

    def __init__(self) -> None:
        self._leaving = False

    def on_train_begin(self, args: Any, state: Any, control: TrainerControl, **unused: Any) -> None:
        REQUESTS.listen(training=True)

    def on_step_end(self, args: TrainingArguments, state: Any, control: TrainerControl, **unused: Any) -> None:
        save, leave = REQUESTS.take()
        if _any_rank(args, save):
            control.should_save = True
            self._leaving = _any_rank(args, leave)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: Any, **unused: Any) -> None:
        if args.world_size > 1:
            torch.distributed.barrier()
        if state.is_world_process_zero:
            Path(args.output_dir, f"checkpoint-{state.global_step}", WHOLE).touch()
        if self._leaving:
            os._exit(EXIT_SAVED)


class DivergenceGuard(TrainerCallback):
    """Ends a training that diverges before its weights change; the last checkpoint is kept."""

    def on_pre_optimizer_step(
        self, args: Any, state: TrainerState, control: Any, model: torch.nn.Module, **unused: Any
    ) -> None:
        norm = local_norm(model.parameters())
        if not torch.isfinite(norm):
            raise UserError(
                f"training diverged at step {state.global_step} (gradient norm {norm.item()}); lower objective.optimizer.lr or use "
                "a wider precision; the last checkpoint is kept"
            )


class Progress(TrainerCallback):
    """One bar over updates."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._bar: Bar | None = None
        self._shown: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **unused: Any) -> None:
        if state.is_world_process_zero:
            self._bar = Bar(self.label, total=state.max_steps, done=state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        if self._bar is not None:
            self._bar.advance(1, **self._shown)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **unused: Any) -> None:
        self._shown = {"reward": logs["reward"]} if logs.get("reward") is not None else {}


def _any_rank(args: TrainingArguments, requested: bool) -> bool:
    """Whether any rank got the request: a signal may be sent to one alone, while a checkpoint is saved by all together."""
    if args.world_size == 1:
        return requested
    flag = torch.tensor(float(requested), device=args.device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag)
