"""What the values of a composed config mean for one another, found before any work is done."""

from collections.abc import Mapping
from typing import Any

from vpo import pipeline
from vpo.checking.problems import check_shape
from vpo.errors import UserError
from vpo.hardware import SHARDED
from vpo.training.recipe import bits_of, check_recipe

STAGES = (
    "queries", "draft", "critique", "refine", "sft", "sample", "render", "score", "pair", "reference", "dpo", "grpo",
    "optimize", "evaluate",
)  # fmt: skip


def check(config: Mapping[str, Any]) -> None:
    """Raise UserError for what is wrong with a composed config, before any work is done."""
    check_shape(config)
    check_rules(config)


def check_rules(config: Mapping[str, Any]) -> None:
    """What values mean for one another; each by itself is right."""
    least = 2 if config["feedback"]["video"] else 1
    if config["sampling"]["k"] < least:
        raise UserError(f"config: sampling.k={config['sampling']['k']} must be a whole number of at least {least}")
    for name in ("sft", "objective", "control"):
        check_recipe(name, config[name])
        if bits_of(config[name]) and config["trainer"]["strategy"] in SHARDED:
            raise UserError(
                f"config: {name}.adapter.bits={bits_of(config[name])} cannot be sharded by "
                f"trainer.strategy={config['trainer']['strategy']}; use trainer=gpu or ddp, or sft=lora"
            )
    if not config.get("method") or not config.get("evaluator"):
        raise UserError("config: choose at least one method and one evaluator, as in method=[original,sft]")
    if not (config["feedback"]["text"] or config["feedback"]["video"]):
        raise UserError("config: feedback.text and feedback.video are both false; choose feedback=text, video or both")
    video_only = {"render", "score"}
    if config["stop_after"] in video_only and not config["feedback"]["video"]:
        raise UserError(
            f"config: feedback=text renders nothing for pairs, so stop_after={config['stop_after']} never comes"
        )
    if config["stop_after"] not in (None, *STAGES):
        raise UserError(f"config: stop_after={config['stop_after']} is no stage; choose one of {', '.join(STAGES)}")
    unknown = sorted(set(config["recompute"]) - {*STAGES, "start"})
    if unknown:
        raise UserError(f"config: recompute={unknown[0]} is no stage; choose from {', '.join(STAGES)}, start")
    check_objective(config)


def check_objective(config: Mapping[str, Any]) -> None:
    """What follows SFT is known, can run on this trainer, and reaches the stage at which to stop."""
    policy, stop = config["objective"]["policy"], config["stop_after"]
    if policy not in pipeline.AFTER_SFT:
        known = ", ".join(str(one) for one in pipeline.AFTER_SFT)
        raise UserError(f"config: objective.policy={policy} is made by nothing here; choose one of {known}")
    others = {name for name, chapter in pipeline.AFTER_SFT.items() if stop in chapter.stages}
    if others and policy not in others:
        raise UserError(f"config: objective.policy={policy} has no stage {stop}, so stop_after={stop} never comes")
    pipeline.AFTER_SFT[policy].check(config)
    if stop is not None and stop not in pipeline.stops(config):
        methods = ",".join(config["method"])
        raise UserError(
            f"config: method=[{methods}] needs no stage {stop}, so stop_after={stop} never comes; add a method that does, or "
            f"choose one of {', '.join(pipeline.stops(config))}"
        )
