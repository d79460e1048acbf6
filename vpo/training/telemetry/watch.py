"""Signs that a training goes wrong while its loss looks good: pure detectors on metrics, and the callback that runs them.

A detector returns None or one line: what, the numbers, the cure.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pytorch_lightning as pl

from vpo.storage.jsonio import dumps
from vpo.storage.rows import whole_lines

log = logging.getLogger(__name__)


def chosen_falls(
    logps: Sequence[float],
    rewards: Sequence[float],
    margins: Sequence[float],
    *,
    beta: float,
    window: int = 5,
    fall: float = 0.05,
) -> str | None:
    """Whether the chosen side loses probability while the loss, which sees the margin alone, goes down.

    Known as likelihood displacement (Pal et al. 2024, arXiv 2402.13228; Razin et al. 2024, arXiv 2410.08847): both sides
    get less likely, the rejected one more so, and the probability goes to texts that are in no pair. The first `window` metrics are
    compared with the last. The fall is read from the rewards, which are beta x (log-prob - reference's log-prob), because
    the log-prob itself varies more from batch to batch than it falls. It counts from `fall` of the log-prob that a chosen
    side has: for 120 tokens of 0.7 nats each that is 4 nats, a text 60 times less likely than before.

    Args:
        logps: mean log-prob of the chosen sides of a batch, nats, at every logged step.
        rewards: their mean implicit reward.
        margins: mean reward margin.
        beta: of the objective.
        window: metrics at both ends; with fewer than twice as many the result is None.
        fall: least share.
    """
    if min(map(len, (logps, rewards, margins))) < 2 * window:
        return None
    (start, _), (was, now), (low, high) = (
        (mean(one[:window]), mean(one[-window:])) for one in (logps, rewards, margins)
    )
    lost = (was - now) / beta
    if high <= low or lost <= fall * abs(start):
        return None
    return (
        f"the chosen log-prob fell by {lost:.1f} nats from {start:.1f} while margins rose from {low:.2f} to {high:.2f}: other "
        "texts gain; hold it with objective.sft_weight=0.2, or lower objective.optimizer.lr, or raise objective.beta"
    )


def prompts_grow(lengths: Sequence[float], *, typical: float, limit: int, growth: float = 0.5) -> str | None:
    """Whether greedy prompts have become longer than the training texts explain (Park et al. 2024, arXiv 2403.19159: DPO's length
    exploitation).

    Longer by `growth` than at the start and than the training texts, whichever is more. So a policy that learns from long
    texts may write them, and a model that cannot yet end a text may learn it. Where that is beyond `limit`, no prompt of
    the last table ends.

    Args:
        lengths: mean tokens of each table of greedy prompts, the first from before training.
        typical: mean tokens of the training completions (the chosen ones).
        limit: tokens at which a prompt is cut.
        growth: least share.
    """
    if len(lengths) < 2:
        return None
    first, last = lengths[0], lengths[-1]
    if last <= first or last < min((1 + growth) * max(first, typical), limit):
        return None
    return (
        f"greedy prompts grew from {first:.0f} to {last:.0f} tokens, where the training texts have {typical:.0f} and {limit} is "
        "the limit: the reward may favour length; compare the lengths of chosen and rejected, lower lr or train less"
    )


def completions_grow(lengths: Sequence[float], *, limit: int, window: int = 5, growth: float = 0.5) -> str | None:
    """Whether what a policy samples while it learns online has become longer by `growth`, or mostly ends at `limit`.

    Args:
        lengths: mean tokens of the completions of an update, at every logged step.
        limit: tokens at which a completion is cut.
        window: metrics at both ends; with fewer than twice as many the result is None.
        growth: least share.
    """
    if len(lengths) < 2 * window:
        return None
    first, last = mean(lengths[:window]), mean(lengths[-window:])
    if last <= first or last < min((1 + growth) * first, 0.95 * limit):
        return None
    return (
        f"sampled completions grew from {first:.0f} to {last:.0f} tokens, {limit} being the limit: the reward may favour length; "
        "raise objective.beta or lower objective.optimizer.lr"
    )


def rows_cut(left_out: Counter[str], total: int, *, share: float = 0.01) -> str | None:
    """Whether more than `share` of `total` rows cannot be used; `left_out` counts them by reason."""
    cut = left_out.total()
    if cut <= share * total:
        return None
    cure = "raise max_length" if left_out.most_common(1)[0][0] == "over-long" else "look at the rows"
    return (
        f"{cut} of {total} rows ({cut / total:.1%}) are left out ({reasons(left_out)}): the training data differ from the data given; "
        f"{cure}"
    )


def reasons(left_out: Counter[str]) -> str:
    """Such as "2 over-long, 1 empty"."""
    return ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())


class WarningMonitor(pl.Callback):
    """Runs every detector each `every` steps and at the end; reports each warning once, in the log and in a file.

    Detectors read the files of the training, so a resumed run has the same data as an uninterrupted one. A line of the
    file is {"step", "name", "warning"}.

    Args:
        path: the file.
        label: of the training.
        detectors: by name.
        every: steps.
    """

    def __init__(self, path: Path, label: str, detectors: Mapping[str, Callable[[], str | None]], every: int) -> None:
        self.path, self.label, self.detectors, self.every = path, label, detectors, every

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_index: int
    ) -> None:
        """Here and not at the end of the step before, whose metrics are not written until all callbacks are through."""
        if batch_index % trainer.accumulate_grad_batches == 0 and trainer.global_step % self.every == 0:
            self._run_detectors(trainer)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._run_detectors(trainer)

    def _run_detectors(self, trainer: pl.Trainer) -> None:
        if not trainer.is_global_zero:
            return
        for name, detect in self.detectors.items():
            warn_once(self.path, self.label, trainer.global_step, name, detect)


def warn_once(path: Path, label: str, step: int, name: str, detect: Callable[[], str | None]) -> None:
    """Run a detector that has not warned yet; its warning goes to the log and, as a line, to the file."""
    if name in {line["name"] for line in whole_lines(path)}:
        return
    warning = detect()
    if warning is not None:
        log.warning("  %s: %s", label, warning)
        with path.open("a", encoding="utf-8") as file:
            file.write(dumps({"step": step, "name": name, "warning": warning}) + "\n")
