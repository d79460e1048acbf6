"""`vpo run` and `vpo plan`: what Hydra calls for a config, or for each job of a sweep."""

import math
import sys
from collections.abc import Callable, Sequence

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from vpo.checking.composing import check_ahead, composed_job
from vpo.checking.overrides import sweeps_of
from vpo.errors import UserError
from vpo.runs import plan_lines, run
from vpo.storage.redact import redact


def run_job(cfg: DictConfig) -> None:
    """Hydra's task: run the pipeline on a composed config."""
    run(composed_job(cfg))


def gather_job(cfg: DictConfig) -> None:
    """Hydra's task: put the work of shards together, and run on from there."""
    composed = composed_job(cfg)
    if composed.config["shard"] is not None:
        raise UserError("gather: it puts all shards together; leave out shard=")
    run(composed, gathered=True)


def plan_job(cfg: DictConfig) -> None:
    """Hydra's task: print what a run would do."""
    sys.stdout.write("\n".join([*plan_lines(composed_job(cfg)), ""]))


def announced(task: Callable[[DictConfig], None], overrides: Sequence[str]) -> Callable[[DictConfig], None]:
    """The task with a line before each job of a sweep, `[2/9] feedback=video seed=1`, where the task's own lines go.

    What Hydra would do and write before the task is checked here.
    """
    check_ahead(overrides)
    swept = sweeps_of(overrides)

    def announce_and_do(cfg: DictConfig) -> None:
        hydra = HydraConfig.get()
        if hydra.mode == RunMode.MULTIRUN:
            values = [redact(one) for one in hydra.overrides.task if one.partition("=")[0] in swept]
            line = f"[{hydra.job.num + 1}/{math.prod(swept.values())}] {' '.join(values)}"
            print(line.rstrip(), file=sys.stdout if task is plan_job else sys.stderr, flush=True)
        task(cfg)

    return announce_and_do
