"""One run: from a composed config to a run folder."""

import hashlib
import logging
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from vpo import build, pipeline, targets
from vpo.checking.hints import check_types, compose_ahead
from vpo.checking.hydra_settings import check_hydra_settings
from vpo.checking.memory_plan import memory_lines
from vpo.checking.overrides import sweeps_of
from vpo.checking.rules import check_rules
from vpo.checking.secrets import check_override_secrets, check_secrets
from vpo.errors import UserError
from vpo.processes.hardware import check_hardware
from vpo.results.facts import Command, results_of, run_facts
from vpo.results.gathering import contact_rows, gather_items, summarize_items
from vpo.results.metrics import Metrics
from vpo.results.record import RunRecord
from vpo.stages.context import Context, StopHere
from vpo.storage.redact import RedactedFormatter, redact
from vpo.storage.store import Store, canonical

log = logging.getLogger(__name__)

# Top-level keys that say where and how a run is made and shown, not what comes out; they do not name the run.
NOT_IN_RUN_NAME = ("paths", "logger", "executor", "recompute", "retry_failed", "stop_after", "build", "plan")


def run_job(cfg: DictConfig) -> None:
    """Hydra's task: run the pipeline on a composed config and write the run folder."""
    config = resolve(cfg)
    check_hardware(config["trainer"])
    folder = Path(config["paths"]["runs"]) / run_name(config)
    _log_to_console()
    loggers = [
        build.build(node) for node in config.get("logger", {}).values()
    ]  # a wrong one is found now, not at the end
    with RunRecord(folder) as record:
        record.write_config(config)
        command = _command()
        context = open_context(config)

        def announce(names: list[str]) -> None:
            record.write_entries(names)  # whoever prunes the store must see what an unfinished run needs
            record.keep_training(training_files(context))  # of the stages before; a look needs no end of the run

        context.store.announce = announce
        context.store.register(folder, Path(config["paths"]["runs"]), config)
        try:
            made = pipeline.run(context, config)
        except StopHere as stop:
            record.keep_training(training_files(context))
            log.info("stopped after %s; the same command without stop_after goes on from here", stop)
            return
        finally:
            context.store.warn_of_older_code()
        context.store.finish()
        cards = {name: card.to_json() for name, card in build.cards_of(config["evaluator"]).items()}
        metrics = Metrics(cards)
        items = gather_items(made, metrics, folder)
        results = results_of(summarize_items(items, metrics), run_facts(config, context, command), evaluators=cards)
        record.finish(
            results, items, contact_rows(items, folder, count=6), training_files(context), loggers,
            labels=labels_of(config),
            footer=f"Clips by generator={_choice('generator')}; four frames each, time to the right.",
        )  # fmt: skip


def plan_job(cfg: DictConfig) -> None:
    """Hydra's task: print the stages of a run, which of them are done, and whether the trainings fit into memory."""
    config = resolve(cfg)
    root = Path(config["paths"]["store"])
    stages = list({entry.folder: (stage, entry) for stage, entry in pipeline.plan(config, root)}.values())
    lines = [
        f"{'done' if entry.done else 'to do':>6}  {stage.name:<10} {entry.key}  {entry.label}".rstrip()
        for stage, entry in stages
    ]
    done = sum(entry.done for _, entry in stages)
    told = f"{done} of {len(lines)} stage results are in {root}"
    memory = memory_lines(config, {stage.name for stage, _ in stages})
    sys.stdout.write("\n".join([*lines, told, *memory, ""]))


def announced(task: Callable[[DictConfig], None], overrides: Sequence[str]) -> Callable[[DictConfig], None]:
    """The task with a line before each job of a sweep, `[2/9] feedback=video seed=1`, where the task's own lines go.

    What Hydra would do and write before the task is checked here.
    """
    check_ahead(overrides)
    swept = sweeps_of(overrides)

    def announce_and_do(cfg: DictConfig) -> None:
        hydra = HydraConfig.get()
        if hydra.mode == RunMode.MULTIRUN:
            told = [redact(one) for one in hydra.overrides.task if one.partition("=")[0] in swept]
            line = f"[{hydra.job.num + 1}/{math.prod(swept.values())}] {' '.join(told)}"
            print(line.rstrip(), file=sys.stdout if task is plan_job else sys.stderr, flush=True)
        task(cfg)

    return announce_and_do


def check_ahead(overrides: Sequence[str]) -> None:
    """Raise UserError for secrets, which Hydra would write and show, and for settings of Hydra that run code."""
    check_override_secrets(overrides)
    config = compose_ahead(list(overrides))
    if config is not None:
        check_hydra_settings(config["hydra"])
        check_secrets(config)


def open_context(config: Mapping[str, Any]) -> Context:
    """Store and executor of a config."""
    store = Store(Path(config["paths"]["store"]), recompute=tuple(config["recompute"]))
    return Context(store, build.build(config["executor"]), config["stop_after"], config["retry_failed"])


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain values, checked. Raises UserError on a missing or impossible value."""
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError(f"config: {', '.join(missing)} must be given, as in `vpo run {missing[0]}=...`")
    config = OmegaConf.to_container(cfg, resolve=True)
    if not isinstance(config["recompute"], list):  # recompute=critique means a list of one, recompute=null an empty one
        config["recompute"] = [] if config["recompute"] is None else [str(config["recompute"])]
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else None
    check_secrets(config)
    check_types(overrides or [], config)
    trust(config, overrides)
    targets.check_targets(config)
    check_rules(config)
    return config


def trust(config: Mapping[str, Any], overrides: Sequence[str] | None) -> None:
    """Let the packages of `build.allow` be built from. Raises UserError where a file names them: files come from anywhere.

    `overrides` is None for a config that a program gives.
    """
    packages = config["build"]["allow"]
    typed = overrides is None or any(re.match(r"[+]{0,2}build(\.allow)?=", one) for one in overrides)
    if packages and not typed:
        named = ",".join(map(str, packages))
        raise UserError(
            f"config: build.allow=[{named}] stands in a file; what may be built is said on the command line only: if you trust it, "
            f"add build.allow=[{named}]"
        )
    targets.allow(packages)


def labels_of(config: Mapping[str, Any]) -> dict[str, str]:
    """How the methods' rows are called; the objective's own policy is called by the objective, unless the user said otherwise."""
    return {name: node.get("label", name) for name, node in config["method"].items()}


def run_name(config: Mapping[str, Any]) -> str:
    """`<experiment>/<overrides>-<hash>`: the same config finds its folder again."""
    experiment = _choice("experiment") or "default"
    told = [
        redact(one) for one in HydraConfig.get().overrides.task if not one.startswith(("experiment=", *NOT_IN_RUN_NAME))
    ]
    slug = re.sub(r"[^A-Za-z0-9=.,_+-]+", "-", ",".join(told)).strip("-")[:80] or "as-is"
    named = {key: value for key, value in config.items() if key not in NOT_IN_RUN_NAME}
    digest = hashlib.sha256(canonical(redact(named, environment=False)).encode()).hexdigest()[:8]
    return f"{experiment}/{slug}-{digest}"


def training_files(context: Context) -> dict[str, Path]:
    """The figures of each policy that is trained by now, by its name in the pipeline."""
    return {name: entry.folder / "training.jsonl" for name, entry in context.trained.items()}


def _command() -> Command:
    world = {group: _choice(group) for group in ("backbone", "dataset", "judge", "generator", "reward")}
    return Command(_choice("experiment") or "default", world, tuple(redact(HydraConfig.get().overrides.task)))


def _choice(group: str) -> str | None:
    """Which file of a config group was chosen."""
    return HydraConfig.get().runtime.choices.get(group)


def _log_to_console() -> None:
    """Plain lines on stderr; in a sweep every job finds the handler of the first."""
    package = logging.getLogger("vpo")
    if not package.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(RedactedFormatter("%(message)s"))
        package.addHandler(handler)
        package.setLevel(logging.INFO)
        package.propagate = False
