"""From a config node to the object it describes: the only place that calls `hydra.utils.instantiate`."""

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vpo.cards import NEEDS, EvaluatorCard
from vpo.errors import UserError

# A config is text that may come from anywhere; it may construct our classes and those of the libraries we build on, not
# `os.system`. `build.allow` in the config extends the list for a user's own package.
ALLOWED_PREFIXES = ("vpo.", "torch.optim.", "transformers.", "peft.", "diffusers.", "torchmetrics.")

_extra_prefixes: tuple[str, ...] = ()


def allow(prefixes: Sequence[str]) -> None:
    """Extend the allowed prefixes for this process (`build.allow=[mypackage.]`)."""
    global _extra_prefixes
    _extra_prefixes = tuple(prefixes)


def allowed_besides() -> tuple[str, ...]:
    """What `allow` was given, for a process that builds on our behalf."""
    return _extra_prefixes


def build(node: Mapping[str, Any], **shared: Any) -> Any:
    """The object of a node with a `_target_`; `shared` are built objects that its constructor takes (`judge=judge`).

    Raises UserError when the target is not allowed, does not exist or rejects its arguments.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    _check_targets(node)
    _check_origin(node["_target_"])
    try:
        return instantiate(dict(node), **shared, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        while cause is not None and cause.__cause__ is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if isinstance(cause, UserError):
            raise cause from error
        reason = " ".join(str(cause or error).split())
        raise UserError(f"cannot build {node.get('_target_')}: {reason}; check its keys in the config") from error


def target_class(node: Mapping[str, Any]) -> Any:
    """The class that a node names, without building it."""
    from hydra.utils import get_object

    _check_targets(node)
    own = logging.getLogger("hydra.utils")  # it would tell the same beside us
    before, own.disabled = own.disabled, True
    try:
        return get_object(node["_target_"])
    except Exception as error:  # Hydra raises whatever the import of a user's module raises
        reason = " ".join(str(error).split())
        raise UserError(f"_target_ {node['_target_']} cannot be imported: {reason}") from error
    finally:
        own.disabled = before


def _check_origin(target: str) -> None:
    """A name may lead through an allowed module to another one's function: `vpo.store.shutil.rmtree`."""
    module = getattr(target_class({"_target_": target}), "__module__", "") or ""
    if not f"{module}.".startswith(ALLOWED_PREFIXES + _extra_prefixes):
        raise UserError(f"_target_ {target} is {module}'s, which is not allowed; name the class where it is defined")


def _check_targets(node: Any) -> None:
    if isinstance(node, Mapping):
        target = node.get("_target_")
        if target is not None and not str(target).startswith(ALLOWED_PREFIXES + _extra_prefixes):
            raise UserError(
                f"_target_ {target} is not allowed; if you trust it, add its package: build.allow=[{target.split('.')[0]}.]"
            )
        for value in node.values():
            _check_targets(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _check_targets(value)


@dataclass(frozen=True)
class Spec:
    """How a role is built, wherever its work is done: a spec travels to a worker process, the object does not.

    Attributes:
        node: of the config.
        shared: specs of objects that the role's constructor takes.
        allowed: prefixes that `allow` was given where the spec was made.
    """

    node: Mapping[str, Any]
    shared: Mapping[str, "Spec | PolicySpec"] = field(default_factory=dict)
    allowed: tuple[str, ...] = field(default_factory=allowed_besides)

    def __call__(self) -> Any:
        """Build the object."""
        allow(self.allowed)
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
    return node.get("batch_size") or getattr(target_class(node), "batch_size", None) or 32


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
    names = [metric.name for metric in card.metrics]
    if not names or len(set(names)) < len(names):
        raise UserError(f"{target}: its card lists {', '.join(names) or 'no metric'}; give one or more, each once")
    for aggregate in {metric.aggregate for metric in card.metrics if not metric.mean_of_items}:
        from vpo.aggregates import aggregate_class  # which imports torch

        aggregate_class(aggregate)  # a wrong one is found now, not at the end of a run
    unknown = sorted(set(card.needs) - set(NEEDS))
    if unknown:
        raise UserError(f"{target}: its card needs {unknown[0]!r}, which nothing gives; known are {', '.join(NEEDS)}")
    return card


def cards_of(evaluators: Mapping[str, Mapping[str, Any]]) -> dict[str, EvaluatorCard]:
    """The cards of a config's evaluators. Raises UserError where two of them measure what has the same name."""
    cards = {name: card_of(node) for name, node in evaluators.items()}
    for (name, card), (other, its) in itertools.permutations(cards.items(), 2):
        both = [metric.name for metric in card.metrics if its.metric_of(metric.name)]
        if both:
            raise UserError(f"evaluators {other} and {name} both measure {both[0]!r}; leave one of them out")
    return cards
