"""One run: from a composed config to a run folder. Knows no Hydra: a notebook, a Ray task or a test may call it.

import vpo
folder = vpo.run(vpo.compose("experiment=smoke", "seed=1"))
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo import build, pipeline, targets
from vpo.assets.folder import find_asset, is_asset, use_folder
from vpo.assets.models import said_of
from vpo.cards import JUDGE_OF_RUN, REWARD_OF_RUN
from vpo.checking.composed import Composed
from vpo.checking.memory_plan import memory_lines
from vpo.costs.table import cost_lines
from vpo.errors import UserError
from vpo.processes.hardware import check_hardware
from vpo.results.added import lay_over
from vpo.results.facts import Command, results_of, run_facts
from vpo.results.gains import gains_of
from vpo.results.gathering import contact_rows, gather_items, summarize_items
from vpo.results.metrics import Metrics, without_items
from vpo.results.record import RunRecord
from vpo.results.run_folder import Run
from vpo.stages.context import Context, StopHere
from vpo.stages.critique import Critique
from vpo.stages.curate import FOLDER as REPORTS
from vpo.stages.curate import CuratedQueries
from vpo.storage.ledger import FILE as LEDGER_FILE
from vpo.storage.ledger import spending_in
from vpo.storage.progress import log_to_console
from vpo.storage.redact import redact
from vpo.storage.shards import Shard, ShardDone
from vpo.storage.store import Store
from vpo.workers.environment import check_installed, workers_folder
from vpo.workers.manifest import pick_manifest, read_manifests

log = logging.getLogger(__name__)

WORLD = ("backbone", "dataset", "judge", "generator", "reward")  # groups that say in which world a run is


def run(composed: Composed, gathered: bool = False) -> Path:
    """Run the pipeline on a composed config, and write the run folder.

    Args:
        composed: the config.
        gathered: what shards have begun must be all there (`vpo gather`).

    Returns:
        The run folder. Where `stop_after` ended the run, or it does a shard, it holds no results.json.
    """
    config, folder = composed.config, composed.folder
    use_folder(config["paths"]["assets"])
    check_assets(config)
    targets.allow(config["build"]["allow"])
    check_hardware(config["trainer"])
    check_workers(config)
    log_to_console()
    loggers = [
        build.build(node) for node in config.get("logger", {}).values()
    ]  # a wrong one is found now, not at the end
    with RunRecord(folder) as record, spending_in(folder / LEDGER_FILE):
        record.write_config(config)
        command = command_of(composed)
        context = open_context(config)
        context.gathered = gathered

        def announce(names: list[str]) -> None:
            record.write_entries(names)  # whoever prunes the store must see what an unfinished run needs
            keep_what_is_there(record, context)  # of the stages before; a look needs no end of the run

        context.store.announce = announce
        context.store.register(folder, Path(config["paths"]["runs"]), config)
        try:
            made = pipeline.run(context, config)
            if context.shared:
                raise ShardDone
        except StopHere as stop:
            keep_what_is_there(record, context)
            log.info("stopped after %s; the same command without stop_after goes on from here", stop)
            log.info("its results: %s", context.requested[-1][1].folder)
            return folder
        except ShardDone:
            shared = ", ".join(entry.called for entry in context.shared)
            log.info(
                "stopped: shard %s of %s is done; when all are, `vpo gather` with the same arguments but shard= goes on",
                config["shard"], shared,
            )  # fmt: skip
            return folder
        finally:
            context.store.warn_of_older_code()
        context.store.finish()
        cards = cards_of_run(config)
        items = gather_items(made, Metrics(cards), folder)
        for name in without_items(cards, items):
            log.warning(
                "evaluator %s applies to none of the test queries: they have not the labels that it reads, or the run has not the "
                "methods; nothing is shown of it", name,
            )  # fmt: skip
        cards = lay_over(folder, cards, items)
        metrics = Metrics(cards)
        methods = summarize_items(items, metrics)
        results = results_of(
            methods, run_facts(config, context, command), gains=gains_of(items, methods, metrics), evaluators=cards
        )
        record.finish(
            results, items, contact_rows(items, folder, count=6), training_files(context), loggers,
            labels=labels_of(config),
            footer=f"Clips by generator={composed.choices.get('generator')}; four frames each, time to the right.",
        )  # fmt: skip
    return folder


def cards_of_run(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The cards of a run's evaluators as results.json keeps them; one that reads the run's judge or reward names its model."""
    cards = {name: card.to_json() for name, card in build.cards_of(config["evaluator"]).items()}
    roles = {JUDGE_OF_RUN: "judge", REWARD_OF_RUN: "reward"}
    for card in cards.values():
        if card["model"] in roles:
            model, licence = said_of(config[roles[card["model"]]])
            card |= {"model": f"{card['model']}: {model}", "licence": licence}
    return cards


def write_again(folder: Path) -> None:
    """Write the results of a finished run anew, with what was added to its folder (`vpo.results.added`): nothing is measured."""
    run = Run(folder)
    own = {name: card for name, card in run.cards.items() if name in run.config["evaluator"]}
    before = Metrics(
        {name: card for name, card in run.cards.items() if name not in own}
    )  # of additions, which may be gone
    items = []
    for item in run.items:
        gone = {name for name in item["metrics"] if name in before or before.whole_of(name) is not None}
        parts = {
            key: {name: one for name, one in item[key].items() if name not in gone}
            for key in ("metrics", "weights", "clip_counts")
            if key in item
        }
        items.append(item | parts)
    cards = lay_over(folder, own, items)
    methods = summarize_items(items, metrics := Metrics(cards))
    gains = gains_of(items, methods, metrics)
    results = {**run.results, "methods": methods, "gains": gains, "evaluators": cards}
    log_to_console()
    targets.allow(run.config["build"]["allow"])
    loggers = [build.build(node) for node in run.config.get("logger", {}).values()]
    with RunRecord(folder) as record:
        try:
            record.write_results(results, items, labels_of(run.config))
        except OSError as error:
            raise UserError(
                f"{folder}: {error.strerror or error} while writing the results; make room, then start again"
            ) from error
        record.show(results, loggers, labels_of(run.config), items)


def plan_lines(composed: Composed) -> list[str]:
    """The stages of a run, which of them are done, and whether the trainings fit into memory, as lines for people."""
    config = composed.config
    use_folder(config["paths"]["assets"])
    targets.allow(config["build"]["allow"])
    root = Path(config["paths"]["store"])
    stages = list({entry.folder: (stage, entry) for stage, entry in pipeline.plan(config, root)}.values())
    lines = [
        f"{'done' if entry.done else 'to do':>6}  {stage.name:<10} {entry.key}  {entry.label}".rstrip()
        for stage, entry in stages
    ]
    done = sum(entry.done for _, entry in stages)
    summary = f"{done} of {len(lines)} stage results are in {root}"
    costs = cost_lines(config, composed.choices, stages, root, own_queries(config)) if has_costs(config) else []
    return [*lines, summary, *memory_lines(config, {stage.name for stage, _ in stages}), *costs]


def has_costs(config: Mapping[str, Any]) -> bool:
    """Whether a plan shows what the run costs: where it was asked for, or a GPU or a server works."""
    wanted = config["plan"]["costs"]
    if wanted is not None:
        return bool(wanted)
    served = any("base_url" in node for _, node in targets.targets_in(config))
    ours = not any(config[role]["_target_"].startswith("vpo.sketch.") for role in ("generator", "reward"))
    return served or config["trainer"]["accelerator"] == "gpu" or ours or config["plan"]["queries"] is not None


def own_queries(config: Mapping[str, Any]) -> dict[str, int]:
    """How many queries of the data set each split has, where its files are at hand; nothing is fetched."""
    if config.get("curation"):
        return {}
    try:
        dataset = build.build(config["dataset"])
        return {name: len(split) for name, split in dataset.splits().items()} if dataset.fingerprint() else {}
    except UserError:
        return {}  # which the run will say


def check_assets(config: Mapping[str, Any]) -> None:
    """Raise UserError where a generator, reward or evaluator names an asset or a file that is not there: not after the trainings.

    Classes of a user's own may call other things so; what these read is theirs to check. A class of ours may have a static method
    `check_files`, which is asked about its node.
    """
    nodes = {role: config[role] for role in ("generator", "reward", "evaluator")}
    for path, node in targets.targets_in(nodes):
        for key in ("model", "path"):
            if is_asset(node.get(key)):
                find_asset(node[key], node.get("revision"), ".".join((*path, key)))
        for key in () if targets.is_own(node["_target_"]) else ("texts_file", "head", "checkpoint"):
            file = node.get(key)
            if isinstance(file, str) and not is_asset(file) and not Path(file).expanduser().is_file():
                named = ".".join((*path, key))
                raise UserError(
                    f"config: {named}={file}: no such file; put a copy there, or set paths.data to where copies lie "
                    f"(the yaml of the {path[0]} says where it comes from)"
                )
        if not targets.is_own(node["_target_"]) and targets.has_method(node["_target_"], "check_files"):
            targets.target_class(node).check_files(node)


def check_workers(config: Mapping[str, Any]) -> None:
    """Raise UserError where a stage that is to be done needs a worker that is not installed here: now, and not after the trainings."""
    roles = (("generator", "render"), ("reward", "score"), ("evaluator", "evaluate"))
    if not any(_workers_of(config, role) for role, _ in roles):
        return
    to_do = {stage.name for stage, entry in pipeline.plan(config, Path(config["paths"]["store"])) if not entry.done}
    check_workers_of(config, [role for role, stage in roles if stage in to_do])


def check_workers_of(config: Mapping[str, Any], roles: Sequence[str]) -> None:
    """Raise UserError where a worker that one of these roles needs is not installed here."""
    for role in roles:
        for name in _workers_of(config, role):
            check_installed(pick_manifest(read_manifests(), name), workers_folder())


def _workers_of(config: Mapping[str, Any], role: str) -> list[str]:
    """The workers of a role, and of those in it: an evaluator may have a reward of its own."""
    nodes = targets.targets_in({role: config[role]})
    return [name for _, node in nodes for name in targets.declared(node["_target_"], "needs_workers")]


def command_of(composed: Composed) -> Command:
    """What results.json says of the command."""
    world = {group: composed.choices.get(group) for group in WORLD}
    return Command(composed.experiment, world, tuple(redact(list(composed.overrides))))


def open_context(config: Mapping[str, Any]) -> Context:
    """Store and executor of a config."""
    shard = None if config["shard"] is None else Shard.parse(config["shard"])
    store = Store(Path(config["paths"]["store"]), recompute=tuple(config["recompute"]), shard=shard)
    return Context(store, build.build(config["executor"]), config["stop_after"], config["retry_failed"])


def labels_of(config: Mapping[str, Any]) -> dict[str, str]:
    """How the methods' rows are called; the objective's own policy is called by the objective, unless the user said otherwise."""
    return {name: node.get("label", name) for name, node in config["method"].items()}


def training_files(context: Context) -> dict[str, Path]:
    """The metrics of each policy that is trained by now, by its name in the pipeline."""
    return {name: entry.folder / "training.jsonl" for name, entry in context.trained.items()}


def keep_what_is_there(record: RunRecord, context: Context) -> None:
    """Copy into the run folder what people look at before a run is finished: training metrics, reports of curation and judges."""
    record.keep_training(training_files(context))
    for stage, entry in context.requested:
        if isinstance(stage, CuratedQueries) and entry.done:
            record.keep_curation(entry.folder / REPORTS)
        if isinstance(stage, Critique) and entry.done:
            for report in sorted(entry.folder.glob("*.json")):
                if report.name != "manifest.json":
                    record.keep_report(report, stage.label or stage.name)
