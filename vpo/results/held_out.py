"""Which numbers of a method are by the very judge or reward that trained it: such a number rises by training on it, and no other need.

Known from the manifests of what a run asked for: what a policy's training signal comes from, and what an evaluator judges by.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vpo.results.lineage import FEEDBACK_ROLES, lineage
from vpo.storage.store import read_manifest
from vpo.targets import targets_in

if TYPE_CHECKING:
    from vpo.stages.context import Context
    from vpo.stages.stage import Stage

# What an evaluator reads of another stage's work, and the role that made it.
_READ = {"scores": "reward", "verdicts": "judge"}
_WEIGHTS = ("model", "checkpoint", "head", "path")  # keys of a node that say which weights it looks with


def trained_on(context: "Context") -> dict[str, list[str]]:
    """By evaluator, the methods whose policy was trained on the judge or reward that it judges by, where there are some.

    It is the same one where its model is, whatever class asks it; without a model where its class is.
    """
    optimized = {prompts.folder: stage for stage, prompts in context.requested if stage.name == "optimize"}
    found: dict[str, list[str]] = {}
    for stage, _ in context.requested:
        optimize = optimized.get(stage.inputs()["prompts"].folder) if stage.name == "evaluate" else None
        policy = None if optimize is None else optimize.policy
        if optimize is None or policy is None:
            continue
        taught = {one for node in _teachers(policy) for one in eyes_of(node)}
        if taught & {one for node in _judged_by(stage) for one in eyes_of(node)}:
            methods = found.setdefault(stage.evaluator_name, [])
            methods += [name for name in [optimize.method_name] if name not in methods]
    return found


def eyes_of(node: Mapping[str, Any]) -> set[str]:
    """What a judge, reward or evaluator looks with: the models that its node names at any depth, or its class where it names none."""
    inner = [one for _, one in targets_in(node)]
    models = {value for one in inner for key in _WEIGHTS if isinstance(value := one.get(key), str)}
    return models or {node["_target_"]}


def _teachers(policy: Any) -> Iterator[Mapping[str, Any]]:
    """The nodes of the judges and rewards that a stored policy's training signal comes from."""
    for _, manifest in lineage(policy):
        node = manifest.get("node", {})
        yield from (node[role] for role in FEEDBACK_ROLES if "_target_" in (node.get(role) or {}))


def _judged_by(stage: "Stage") -> Iterator[Mapping[str, Any]]:
    """The nodes by which an evaluation judges: its evaluator's, and those of the scores or verdicts that it reads."""
    inputs = stage.inputs()
    yield stage.evaluator
    for name, role in _READ.items():
        entry = inputs.get(name)
        node = read_manifest(entry.folder).get("node", {}).get(role) if entry is not None and entry.done else None
        if node:
            yield node
