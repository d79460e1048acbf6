"""What a finished run records about itself, under "run" in results.json: `vpo.results.schema.RunFacts` says which field is what.

All of it is read from what the run asked the store for and from the manifests there; nothing is derived from names.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from vpo.errors import UserError
from vpo.results.held_out import trained_on
from vpo.results.idle import idle_shares
from vpo.results.lineage import base_of, feedback_roles_of, file_hash, lineage, trainings_of
from vpo.results.provenance import code_facts, device_facts, versions
from vpo.results.schema import SCHEMA, problem_of
from vpo.storage.code_hash import class_hash
from vpo.storage.ledger import Ledger
from vpo.storage.store import Entry, read_manifest
from vpo.targets import target_class

if TYPE_CHECKING:
    from vpo.stages.context import Context

log = logging.getLogger(__name__)

# Fields of stages that hold the node of a role.
ROLES = ("backbone", "dataset", "drafter", "judge", "generator", "reward")


@dataclass(frozen=True)
class Command:
    """The command that started a run, and when.

    Attributes:
        experiment: the chosen experiment, or "default".
        world: the chosen file of each group that decides what the numbers are about.
        overrides: as they were given.
        started: seconds since the epoch.
        code: of vpo when the run started: files may be edited while it works.
    """

    experiment: str = "default"
    world: Mapping[str, str | None] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    started: float = field(default_factory=time.time)
    code: Mapping[str, Any] = field(default_factory=code_facts)


def results_of(methods: Mapping[str, Any], run: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The content of results.json; `more` stands beside the methods.

    Content that does not fit the schema is a defect of vpo, and a finished run must not be lost to it: it is one warning, and the
    content is written without "schema", so that tables read it like files from before the schema.
    """
    content = {"schema": SCHEMA, "methods": methods, **more, "run": run}
    problem = problem_of(content)
    if problem is None:
        return content
    log.warning(
        "results.json does not fit its schema (%s): a defect of vpo, please report it; tables read it still", problem
    )
    return {key: value for key, value in content.items() if key != "schema"}


def run_facts(config: Mapping[str, Any], context: "Context", command: Command) -> dict[str, Any]:
    """The facts of a run all of whose stages are done."""
    stored = {f"{entry.stage}/{entry.key}": entry for _, entry in context.requested}
    manifests = {name: read_manifest(entry.folder) for name, entry in stored.items()}
    policies = {name: policy_facts(entry) for name, entry in context.policies.items()}
    stages = [_stage_facts(name, entry, manifests[name]) for name, entry in stored.items()]
    trainer = config["trainer"]
    return {
        "seed": config["seed"],
        "experiment": command.experiment,
        "world": dict(command.world),
        "overrides": list(command.overrides),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(command.started)),
        "seconds": round(time.time() - command.started, 1),
        "store": str(context.store.root.resolve()),
        "entries": sorted(context.store.used),
        "versions": versions(),
        "code": dict(command.code),
        "device": device_facts(trainer["accelerator"], trainer["devices"]),
        "data": _data(context, config),
        "roles": {
            role: role_facts(config[role], **_recorded_of(context, role)) for role in _used_roles(context, config)
        },
        "evaluators": {name: role_facts(node) for name, node in config["evaluator"].items()},
        "base": _base(context),
        "policies": policies,
        "policy": next((name for name in (config["objective"]["policy"], "sft") if name in policies), None),
        "rows": _rows(context, config),
        "stages": stages,
        "failed": _failed(stages),
        "trained_on": trained_on(context),
        "idle": idle_shares(manifests),
        "spent": asdict(spent) if (spent := Ledger.of_this_run().spent) else None,
    }


def role_facts(node: Mapping[str, Any], version: str | None = None, card: Any = None) -> dict[str, Any]:
    """Which class a node names, in which version and with which code.

    The version is the class's attribute `version`, or that of its attribute `card`, where its records do not state one.
    """
    stated: Any = version
    if stated is None:
        try:
            role = target_class(node)
            stated = getattr(role, "version", None) or getattr(getattr(role, "card", None), "version", None)
        except UserError:  # only the workers' environment has it
            stated = None
    facts: dict[str, Any] = {
        "target": node["_target_"],
        "version": str(stated) if isinstance(stated, str | int | float) else None,
        "code": class_hash(node),
    }
    return facts | ({"card": card} if isinstance(card, dict) else {})


def policy_facts(entry: Entry) -> dict[str, Any]:
    """The stored result that holds a policy, and the trainings and feedback that made it."""
    return {
        "entry": f"{entry.stage}/{entry.key}",
        "training": [f"{one.stage}/{one.key}" for one in trainings_of(entry)],
        "taught_by": feedback_roles_of(lineage(entry)),
    }


def _base(context: "Context") -> dict[str, Any] | None:
    start = context.policies.get("start")
    found = None if start is None else base_of(lineage(start))
    return None if found is None else found.model_dump()


def _data(context: "Context", config: Mapping[str, Any]) -> dict[str, Any]:
    (entry,) = {entry for stage, entry in context.requested if stage.name == "queries"}
    files = sorted(entry.folder.glob("*.jsonl"))
    return {
        "entry": f"{entry.stage}/{entry.key}",
        "seed": config["dataset"].get("seed"),
        "fingerprint": read_manifest(entry.folder)["node"].get("content") or None,
        "splits": {one.stem: {"rows": one.read_bytes().count(b"\n"), "sha256": file_hash(one)} for one in files},
    }


def _used_roles(context: "Context", config: Mapping[str, Any]) -> Iterator[str]:
    """The roles that some stage of the run used; a judge that no stage asked is not among them."""
    for role in ROLES:
        used = any(getattr(stage, role, None) is not None for stage, _ in context.requested)
        if used and "_target_" in (config.get(role) or {}):
            yield role


def _recorded_of(context: "Context", role: str) -> dict[str, Any]:
    """What the run's results record of a role: the version of the judge, from the verdicts; the reward's card, from the scores."""
    entries = {entry for stage, entry in context.requested if getattr(stage, role, None) is not None}
    if role == "judge":
        judged = (one.rows("verdicts.jsonl", dict) for one in entries if one.stage == "critique")
        names = sorted({row["judge"] for rows in judged for row in rows if row.get("judge")})
        return {"version": ", ".join(names) or None}
    cards = [one.folder / "card.json" for one in entries if role == "reward"]
    card = next((one for one in cards if one.is_file()), None)
    return {} if card is None else {"card": json.loads(card.read_text(encoding="utf-8"))}


def _rows(context: "Context", config: Mapping[str, Any]) -> dict[str, Any]:
    """By method: its policy, and the results that were made of its prompts."""
    rows: dict[str, Any] = {}
    for stage, prompts in context.requested:
        if stage.name == "optimize":
            policy = stage.policy
            made = [(one, entry) for one, entry in context.requested if one.inputs().get("prompts") == prompts]
            rows[stage.method_name] = {
                "policy": None if policy is None else config["method"][stage.method_name]["policy"],
                "entry": None if policy is None else f"{policy.stage}/{policy.key}",
                "prompts": f"{prompts.stage}/{prompts.key}",
                "clips": next((f"render/{entry.key}" for one, entry in made if one.name == "render"), None),
                "evaluations": {
                    one.evaluator_name: f"evaluate/{entry.key}" for one, entry in made if one.name == "evaluate"
                },
            }
    return rows


def _stage_facts(name: str, entry: Entry, manifest: Mapping[str, Any]) -> dict[str, Any]:
    recorded = {key: manifest[key] for key in ("code", "created", "seconds", "counts")}
    return {"entry": name, "label": entry.label, **recorded}


def _failed(stages: list[dict[str, Any]]) -> dict[str, int]:
    failed = Counter[str]()
    for one in stages:
        failed[one["entry"].partition("/")[0]] += one["counts"].get("failed", 0)
    return {stage: count for stage, count in failed.items() if count}
