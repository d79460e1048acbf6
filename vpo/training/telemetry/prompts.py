"""Greedy prompts of a few fixed queries during training, by which a user sees what the metrics mean."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from vpo.language.chat.rendering import Renderer
from vpo.language.hf import HFEngine
from vpo.language.policy import TrainedPolicy
from vpo.records import Completion, Sampling
from vpo.storage.jsonio import dumps
from vpo.training.data import TrainingRow
from vpo.training.strategy import SHARDED
from vpo.training.telemetry.throughput import Stopwatch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PromptTables:
    """Appends tables of greedy prompts to a file: of the untrained policy, every so many updates, and of the trained one.

    A line is {"step", "query", "prompt", "tokens"}: `step` counts the updates that the policy has had, `tokens` the prompt's
    with its EOS. Greedy decoding draws no random number and the model's modes are restored, so the training is bit by bit
    the same with and without the tables.

    Attributes:
        path: the file.
        renderer: of the policy.
        queries: as the user gave them; without one there are no tables.
        every: updates.
        max_new_tokens: where a prompt that does not end is cut.
        clock: paused meanwhile.
    """

    path: Path
    renderer: Renderer
    queries: Sequence[str]
    every: int
    max_new_tokens: int
    clock: Stopwatch

    def due(self, step: int, last: int) -> bool:
        """Whether a table follows update `step` of `last`."""
        return step % self.every == 0 or step == last

    def write(self, model: Any, step: int) -> None:
        """Append the table of a policy that has had `step` updates; where it cannot be sampled from, log a warning and write none."""
        if not self.queries:
            return
        self.clock.pause()
        try:
            prompts = greedy(model, self.renderer, self.queries, self.max_new_tokens)
        except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
            reason = " ".join(str(error).split())[:200]
            log.warning("  no greedy prompts after update %d: %s (%s)", step, type(error).__name__, reason)
            self.clock.resume()
            return
        lines = [
            {"step": step, "query": query, "prompt": prompt, "tokens": tokens}
            for query, (prompt, tokens) in zip(self.queries, prompts, strict=True)
        ]
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(dumps(line) + "\n" for line in lines))
        self.clock.resume()


class GreedyPrompts(pl.Callback):
    """Writes `tables` while Lightning trains, the first one before the first step.

    One rank writes them, with no collective; the others wait for it in their next step. A policy whose weights are spread
    over the ranks (FSDP, DeepSpeed) has no tables.
    """

    def __init__(self, tables: PromptTables) -> None:
        self.tables = tables

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.global_step == 0:
            self._write(trainer, module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if (batch_index + 1) % trainer.accumulate_grad_batches:
            return
        if self.tables.due(trainer.global_step, trainer.max_steps):
            self._write(trainer, module)

    def _write(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or isinstance(trainer.strategy, SHARDED):
            return
        with trainer.precision_plugin.forward_context():
            self.tables.write(module.model, trainer.global_step)


def greedy(model: Any, renderer: Renderer, queries: Sequence[str], max_new_tokens: int) -> list[tuple[str, int]]:
    """The prompt of each query by the likeliest token at every place, and its number of tokens, the EOS included.

    A query that is too long for the model has an empty one. Every module's mode is restored, also where they differ (a frozen base
    in eval mode below adapters with dropout).
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        policy = TrainedPolicy(HFEngine(model, renderer.tokenizer), renderer)
        sampling = Sampling(temperature=0, max_new_tokens=max_new_tokens)
        written = policy.engine.generate([policy.request(query, sampling, seed=0) for query in queries])
    finally:
        for module, mode in modes.items():
            module.training = mode
    return [(one.text, one.usage.tokens_out) if isinstance(one, Completion) else ("", 0) for one in written]


def queries_to_show(rows: Sequence[TrainingRow], queries: Mapping[str, str], count: int) -> list[str]:
    """The queries of the first rows, each once: always the same handful, so that tables can be compared.

    Args:
        rows: held-out rows, or training rows where none is held out.
        queries: the text of each row's query by its id.
        count: how many at most.
    """
    return list(dict.fromkeys(queries[row.query_id] for row in rows))[:count]


def length_limit(rows: Sequence[TrainingRow], positions: int | None) -> int:
    """Tokens at which a greedy prompt is cut: 1.5 times the longest completion of the training rows.

    Args:
        rows: training rows.
        positions: most tokens of a sequence that the model can read, None if its config has no limit.
    """
    longest = max(len(ids) for row in rows for ids in row.completions)
    enough = longest + longest // 2
    room = enough if positions is None else positions - max(len(row.prompt) for row in rows)
    return max(1, min(enough, room))
