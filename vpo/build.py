"""From a config node to the object it describes: the only place that builds from a `_target_`.

`vpo.targets` says what a `_target_` may name, and checks it first. Objects are made here and not by `hydra.utils.instantiate`,
for two reasons. What was checked is what is called. And Hydra reads interpolations a second time: a text such as
`\\${oc.decode:...}` would pass every check and become a node of its own.
"""

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from vpo.cards import NEEDS, EvaluatorCard
from vpo.errors import UserError
from vpo.results.across import function_across
from vpo.storage.ledger import LEDGER
from vpo.targets import allow, allowed_packages, check_target, target_class, targets_in

_INSTRUCTIONS = ("_target_", "_args_", "_partial_", "_recursive_", "_convert_")  # Hydra's keys that are no arguments


def build(node: Mapping[str, Any], **shared: Any) -> Any:
    """The object of a node with a `_target_`; `shared` are built objects that its constructor takes (`judge=judge`).

    Nested nodes with a `_target_` are built first. `_args_`, `_partial_` and `_recursive_` mean what they mean to Hydra.

    Raises:
        UserError: a target is not allowed, does not exist or rejects its arguments; then nothing was built.
    """
    for _, inner in targets_in(node):
        check_target(inner["_target_"])
    return _construct(node, shared)


def _construct(node: Mapping[str, Any], shared: Mapping[str, Any]) -> Any:
    make = target_class(node)
    inner = _inner if node.get("_recursive_", True) else _plain
    arguments = [inner(one) for one in node.get("_args_") or []]
    named = {key: inner(value) for key, value in node.items() if key not in _INSTRUCTIONS} | dict(shared)
    try:
        return partial(make, *arguments, **named) if node.get("_partial_") else make(*arguments, **named)
    except UserError:
        raise
    except Exception as error:  # whatever a constructor raises
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if isinstance(cause, UserError):
            raise cause from error
        reason = " ".join(str(cause).split()) or type(cause).__name__
        raise UserError(f"cannot build {node['_target_']}: {reason}; check its keys in the config") from error


def _inner(value: Any) -> Any:
    """An argument: nested nodes become objects, mappings and lists the object's own."""
    if isinstance(value, Mapping):
        return _construct(value, {}) if "_target_" in value else {key: _inner(one) for key, one in value.items()}
    return [_inner(one) for one in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Spec:
    """How a role is built, wherever its work is done: a spec travels to a worker process, the object does not.

    Attributes:
        node: of the config.
        shared: specs of objects that the role's constructor takes.
        allowed: prefixes that `allow` was given where the spec was made.
        ledger: of the run that made the spec: what the object asks of servers is entered there.
    """

    node: Mapping[str, Any]
    shared: Mapping[str, "Spec | PolicySpec"] = field(default_factory=dict)
    allowed: tuple[str, ...] = field(default_factory=allowed_packages)
    ledger: str | None = field(default_factory=partial(os.environ.get, LEDGER))

    def __call__(self) -> Any:
        """Build the object."""
        allow(self.allowed)
        if self.ledger is not None:
            os.environ[LEDGER] = self.ledger  # of an actor on another machine, which has inherited nothing
        return build(self.node, **{name: spec() for name, spec in self.shared.items()})


@dataclass(frozen=True)
class PolicySpec:
    """How a trained policy is loaded: by its backbone, from its folder."""

    backbone: Spec
    folder: Path

    def __call__(self) -> Any:
        """Load the policy, ready to sample."""
        return self.backbone().load(self.folder)


def batch_size_of(node: Mapping[str, Any]) -> int:
    """How many items a role takes at once: its node says, or its class, or else 32."""
    return setting_of(node, "batch_size", None) or 32


def setting_of(node: Mapping[str, Any], name: str, default: Any) -> Any:
    """What a role says of itself without being built: its node, or else its class, or else the default."""
    return node[name] if node.get(name) is not None else getattr(target_class(node), name, default)


def card_of(evaluator: Mapping[str, Any]) -> EvaluatorCard:
    """The card of an evaluator's node, without building it. Raises UserError where the class has none, or a wrong one."""
    target = evaluator["_target_"]
    card = getattr(target_class(evaluator), "card", None)
    if callable(card):
        try:
            card = card(**{key: value for key, value in evaluator.items() if not key.startswith("_")})
        except TypeError as error:
            raise UserError(f"{target}.card does not take the keys of its config: {error}") from error
    if not isinstance(card, EvaluatorCard):
        raise UserError(f"{target} has no card; an evaluator says by `card = EvaluatorCard(...)` what it measures")
    names = [metric.name for metric in (*card.metrics, *(one.metric for one in card.derived))]
    if not card.metrics or len(set(names)) < len(names):
        raise UserError(f"{target}: its card lists {', '.join(names) or 'no metric'}; give one or more, each once")
    for metric in card.metrics:
        if metric.across:
            function_across(metric)
        elif not metric.mean_of_items:
            from vpo.results.aggregates import aggregate_class  # which imports torch

            aggregate_class(metric.aggregate)  # a wrong one is found now, not at the end of a run
    if card.derived:
        from vpo.results.derived import function_of

        for one in card.derived:
            function_of(one.metric.aggregate)
    unknown = sorted(set(card.needs) - set(NEEDS))
    if unknown:
        raise UserError(f"{target}: its card needs {unknown[0]!r}, which nothing gives; known are {', '.join(NEEDS)}")
    return card


def cards_of(evaluators: Mapping[str, Mapping[str, Any]]) -> dict[str, EvaluatorCard]:
    """The cards of a config's evaluators. Raises UserError where two of them measure what has the same name.

    What several of them derive alike, of one another's metrics, is no such thing.
    """
    cards = {name: card_of(node) for name, node in evaluators.items()}
    for (name, card), (other, its) in itertools.permutations(cards.items(), 2):
        both = [metric.name for metric in card.metrics if its.metric_of(metric.name)]
        derived = {one.metric.name: one for one in its.derived}
        both += [metric.name for metric in card.metrics if metric.name in derived]
        both += [one.metric.name for one in card.derived if derived.get(one.metric.name, one) != one]
        if both:
            raise UserError(f"evaluators {other} and {name} both measure {both[0]!r}; leave one of them out")
    return cards
