"""Which numbers of a method are by the very judge or reward that trained it, or that chose among its prompts: such a number rises by
that, and no other need.

Known from the manifests of what a run asked for: what a policy's training signal comes from, which judge a method asks by itself
(best of n), and what an evaluator judges by.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vpo.errors import UserError
from vpo.results.lineage import FEEDBACK_ROLES, lineage
from vpo.storage.store import read_manifest
from vpo.targets import declared, targets_in

if TYPE_CHECKING:
    from vpo.stages.context import Context
    from vpo.stages.stage import Stage

# What an evaluator reads of another stage's work, and the role that made it.
_READ = {"scores": "reward", "verdicts": "judge"}
_WEIGHTS = ("model", "checkpoint", "head", "path")  # keys of a node that say which weights it looks with


def trained_on(context: "Context") -> dict[str, list[str]]:
    """By evaluator, the methods that were trained on the judge or reward that it judges by, or chosen by it, where there are some.

    It is the same one where its model is, whatever class asks it; without a model where its class is, or what this says that it judges
    by (`eyes`). A metric that rests on an argument of its own (`vpo.cards.Metric.by`) is "<evaluator>/<metric>".
    """
    optimized = {prompts.folder: stage for stage, prompts in context.requested if stage.name == "optimize"}
    found: dict[str, list[str]] = {}
    for stage, _ in context.requested:
        optimize = optimized.get(stage.inputs()["prompts"].folder) if stage.name == "evaluate" else None
        if optimize is None:
            continue
        taught = {one for node in _teachers(optimize) for one in eyes_of(node)}
        for name, eyes in _eyes_by_key(stage).items():
            if taught & eyes:
                methods = found.setdefault(name, [])
                methods += [one for one in [optimize.method_name] if one not in methods]
    return found


def eyes_of(node: Mapping[str, Any]) -> set[str]:
    """What a judge, reward or evaluator looks with: the models that its node names at any depth, and what their classes say in `eyes`;
    its class where there is neither."""
    inner = [one for _, one in targets_in(node)]
    models = {value for one in inner for key in _WEIGHTS if isinstance(value := one.get(key), str)}
    return models.union(*(_declared_eyes(one["_target_"]) for one in inner)) or {node["_target_"]}


def _declared_eyes(target: str) -> tuple[str, ...]:
    try:
        return declared(target, "eyes")
    except UserError:  # a class of another version, which a stored result was made by
        return ()


def _teachers(optimize: "Stage") -> Iterator[Mapping[str, Any]]:
    """The nodes of the judges and rewards that the training signal of a method's policy comes from, and of its own judge."""
    nodes = [] if optimize.policy is None else [manifest.get("node", {}) for _, manifest in lineage(optimize.policy)]
    for node in [*nodes, optimize.method]:
        yield from (node[role] for role in FEEDBACK_ROLES if "_target_" in (node.get(role) or {}))


def _eyes_by_key(stage: "Stage") -> dict[str, set[str]]:
    """What an evaluation looks with: by the evaluator's name, and by "<evaluator>/<metric>" of metrics with a judge of their own."""
    own = stage.metrics_by()
    node = {key: value for key, value in stage.evaluator.items() if key not in own.values()}
    found = {stage.evaluator_name: {one for part in [node, *_read_by(stage)] for one in eyes_of(part)}}
    return found | {
        f"{stage.evaluator_name}/{name}": eyes_of(stage.evaluator[key])
        for name, key in own.items()
        if stage.evaluator[key]
    }


def _read_by(stage: "Stage") -> Iterator[Mapping[str, Any]]:
    """The nodes that made the scores or verdicts that an evaluation reads."""
    inputs = stage.inputs()
    for name, role in _READ.items():
        entry = inputs.get(name)
        node = read_manifest(entry.folder).get("node", {}).get(role) if entry is not None and entry.done else None
        if node:
            yield node
