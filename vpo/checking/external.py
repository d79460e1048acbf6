"""The config that measures what others made: the ordinary one, with their queries, prompts and clips in it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vpo.build import cards_of
from vpo.checking.composed import Composed
from vpo.checking.composing import compose
from vpo.checking.overrides import quoted
from vpo.errors import UserError
from vpo.external.asked import Asked
from vpo.external.material import read_material

METHOD = "vpo.method.external.ExternalPrompts"
WITH_CLIPS, WITHOUT = "[flicker,motion]", "[text]"  # evaluators, where none are chosen


def compose_for(methods: Sequence[Asked], overrides: Sequence[str], words: Sequence[str]) -> Composed:
    """The checked config that measures these methods.

    Args:
        methods: what is given.
        overrides: of the config, as the user typed them.
        words: all that the user typed; the run is named by it.

    Raises:
        UserError: the config is wrong, or an evaluator needs what is not there.
    """
    chosen = {one.lstrip("+").partition("=")[0] for one in overrides}
    most_clips = max(read_material(one.source).most_clips for one in methods)
    own = ["dataset=external", "generator=external"]
    own += [] if "method" in chosen else ["method=[]"]
    own += [] if "evaluator" in chosen else [f"evaluator={WITH_CLIPS if most_clips else WITHOUT}"]
    sources = {one.name: _node(one.source.to_json()) for one in methods}
    own += [f"++{role}.sources={_mapping(sources)}" for role in ("dataset", "generator")]
    own += [f"clips_per_prompt={most_clips}"] if most_clips > 1 and "clips_per_prompt" not in chosen else []
    for one in methods:
        node = {"_target_": METHOD, "source": sources[one.name], "label": quoted(one.label)}
        own.append(f"+method.{one.name}={_mapping(node)}")
    composed = compose(*own, *overrides)
    for name, card in cards_of(composed.config["evaluator"]).items():
        if card.needs & {"clips", "scores"} and not most_clips:
            raise UserError(
                f"evaluate: evaluator {name} looks at clips, and none are given; add clips=<folder>, or leave it out"
            )
        if "scores" in card.needs and "reward" not in chosen:
            raise UserError(
                f"evaluate: evaluator {name} needs a reward for your clips; choose one, as in reward=visionreward"
            )
    trained = [name for name, node in composed.config["method"].items() if node.get("policy") not in (None, "start")]
    if trained:
        raise UserError(
            f"evaluate: method {trained[0]} must be trained, and evaluate trains nothing; use `vpo run`, or leave it out"
        )
    choices = {**composed.choices, "experiment": "evaluate"}
    return replace(composed, overrides=tuple(words), choices=choices)


def _node(source: Mapping[str, str | None]) -> str:
    return _mapping(
        {key: "null" if value is None else quoted(str(Path(value).expanduser())) for key, value in source.items()}
    )


def _mapping(values: Mapping[str, str]) -> str:
    """A mapping in Hydra's grammar, of values that are written already."""
    return "{" + ",".join(f"{key}:{value}" for key, value in values.items()) + "}"
