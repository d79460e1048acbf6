"""What a training reports in addition to its losses: throughput, greedy prompts and warnings, as a list of callbacks."""

import logging
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import pytorch_lightning as pl

from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.limits import positions_of
from vpo.storage.rows import read_rows, whole_lines
from vpo.training.data import PlannedDataModule
from vpo.training.logprobs import unwrap
from vpo.training.telemetry.prompts import GreedyPrompts, PromptTables, length_limit, queries_to_show
from vpo.training.telemetry.record import drop_steps_from
from vpo.training.telemetry.throughput import ModelShape, Stopwatch, Throughput
from vpo.training.telemetry.watch import WarningMonitor, chosen_falls, prompts_grow, rows_cut

log = logging.getLogger(__name__)


def telemetry(
    job: dict[str, Any], model: Any, renderer: Renderer, data: PlannedDataModule, *, done: int
) -> list[pl.Callback]:
    """The callbacks of a training job (fields as in `worker.train`), of which `done` steps are in a checkpoint."""
    out, recipe, clock = Path(job["out"]), job["recipe"], Stopwatch()
    drop_updates_after(out, done)
    known = {one["query_id"]: one["query"] for one in read_rows(Path(job["rows"]), dict)}
    limit = length_limit(data.rows, positions_of(unwrap(model).config))
    shown = queries_to_show(data.validation or data.rows, known, recipe.get("prompts", 0))
    detectors = {
        "rows cut": partial(rows_cut, data.left_out, data.left_out.total() + len(data.rows) + len(data.validation)),
        "prompts grow": partial(
            _prompts_grow, out / "prompts.jsonl", mean(len(row.completions[0]) for row in data.rows), limit
        ),
    }
    if "beta" in recipe:
        detectors["chosen falls"] = partial(_chosen_falls, out / "training.jsonl", recipe["beta"])
    return [
        Throughput(
            clock,
            "rows" if data.unit == "tokens" else "pairs",
            _shape_of(model, job["label"]),
            job["trainer"].get("peak_tflops"),
        ),
        GreedyPrompts(
            PromptTables(out / "prompts.jsonl", renderer, shown, recipe["validate_every"], limit, clock),
        ),
        WarningMonitor(out / "warnings.jsonl", job["label"], detectors, recipe["validate_every"]),
    ]


def _shape_of(model: Any, label: str) -> ModelShape | None:
    """The model's shape, or None with a warning: a training must not end because its speed cannot be measured."""
    try:
        return ModelShape.of(model)
    except Exception as error:  # configs of all kinds of models are read
        log.warning("  %s: no train/mfu: %s (%s)", label, type(error).__name__, error)
        return None


def drop_updates_after(out: Path, done: int) -> None:
    """Drop the tables and warnings of updates that a resumed training, of which `done` are kept, will do again."""
    for name in ("prompts.jsonl", "warnings.jsonl"):  # their lines count finished updates, those of metrics begin at 0
        drop_steps_from(out / name, done + 1 if done else 0)


def _chosen_falls(metrics: Path, beta: float) -> str | None:
    lines = whole_lines(metrics)
    names = ("train/logps/chosen", "train/rewards/chosen", "train/rewards/margins")
    logps, rewards, margins = ([line[name] for line in lines if line.get(name) is not None] for name in names)
    return chosen_falls(logps, rewards, margins, beta=beta)


def _prompts_grow(prompts: Path, typical: float, limit: int) -> str | None:
    tables: dict[int, list[int]] = {}
    for line in whole_lines(prompts):
        tables.setdefault(line["step"], []).append(line["tokens"])
    return prompts_grow([mean(tokens) for tokens in tables.values()], typical=typical, limit=limit)
