"""Checks of values of a composed config against one another, before any work is done."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vpo import pipeline, stages
from vpo.build import cards_of
from vpo.checking.problems import check_shape
from vpo.errors import UserError
from vpo.language.checkpoints.quantising import check_bits
from vpo.language.server import check_server
from vpo.processes.hardware import SHARDED
from vpo.stages.curate import check_curation
from vpo.stages.rivals import check_rivals
from vpo.storage.shards import Shard
from vpo.targets import has_method, is_own, target_class, targets_in
from vpo.training.recipe import bits_of, check_recipe

SERVER = "vpo.language.server.ServerEngine"
TEXT_ALONE = "vpo.language.hf.PretrainedEngine"  # engine=hf


def check(config: Mapping[str, Any]) -> None:
    """Raise UserError for what is wrong with a composed config, before any work is done."""
    check_shape(config)
    check_rules(config)


def check_rules(config: Mapping[str, Any]) -> None:
    """Raise UserError for values that are valid by themselves and contradict one another."""
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
    check_rivals(config)
    check_roles(config)
    check_feedback(config)
    if config["stop_after"] not in (None, *stages.NAMES):
        raise UserError(
            f"config: stop_after={config['stop_after']} is no stage; choose one of {', '.join(stages.NAMES)}"
        )
    unknown = sorted(set(config["recompute"]) - set(stages.NAMES))
    if unknown:
        raise UserError(f"config: recompute={unknown[0]} is no stage; choose from {', '.join(stages.NAMES)}")
    check_shard(config)
    check_curation(config)
    check_engines(config)
    if config["evolution"] and not config["rewriter"]:
        raise UserError(
            "config: an evolution needs someone who writes new prompts, and rewriter=none; choose one, as in rewriter=engine "
            "engine=hf engine.model=<folder or hub id>"
        )
    check_files(config)
    check_objective(config)


def check_roles(config: Mapping[str, Any]) -> None:
    """A class of ours with a method `check` is asked about its node: whether a video model can make such clips, say.

    An evaluator is told the whole config, too: what it measures is made by the other roles.
    """
    for role in ("generator", "reward"):
        target = config[role]["_target_"]
        if not is_own(target) and has_method(target, "check"):
            target_class(config[role]).check(config[role])
    for node in config["evaluator"].values():
        if not is_own(node["_target_"]) and has_method(node["_target_"], "check"):
            target_class(node).check(node, config)
    check_refines(config)


def check_refines(config: Mapping[str, Any]) -> None:
    """Policies are trained on what the judge refines, but for an evolution's winners and video pairs: then it must refine."""
    judge, trained = config["judge"], pipeline.wanted_policies(config) - {"start"}
    refined = trained and (config["feedback"]["text"] or not config["evolution"])
    if refined and not is_own(judge["_target_"]) and not getattr(target_class(judge), "refines", True):
        raise UserError(
            f"config: {judge['_target_'].rpartition('.')[2]} only measures, as it does not refine, and {', '.join(sorted(trained))} "
            "is trained on what a judge refines; choose another judge, such as judge=llm, or methods that are not trained here"
        )


def check_shard(config: Mapping[str, Any]) -> None:
    """A shard is one of several that share a result: none of them may throw away what the others do."""
    if config["shard"] is None:
        return
    Shard.parse(config["shard"])
    for key in ("recompute", "retry_failed"):
        if config[key]:
            raise UserError(f"config: {key} does not go with shard={config['shard']}; give it to a run without shard")


def check_feedback(config: Mapping[str, Any]) -> None:
    """Pairs come from feedback on the text, on videos, on both, or with the queries."""
    feedback = config["feedback"]
    made = feedback["text"] or feedback["video"]
    if not made and not feedback["given"]:
        raise UserError("config: feedback.text and feedback.video are both false; choose feedback=text, video or both")
    if not feedback["given"]:
        return
    if made:
        raise UserError(
            "config: feedback.given=true takes the pairs of the data set alone; set feedback.text=false feedback.video=false, as "
            "feedback=given does"
        )
    if config["objective"]["policy"] == "grpo":
        raise UserError(
            "config: objective=grpo learns from rewards, not from given pairs; choose feedback=text, video or both"
        )
    if config["rounds"] > 1:
        raise UserError(
            f"config: the given pairs are the same in every round, so rounds={config['rounds']} has no meaning with feedback=given; "
            "set rounds=1, or objective.epochs"
        )


def check_engines(config: Mapping[str, Any]) -> None:
    """Every role that asks a language model has an engine that can answer it, and the folder of a local model exists."""
    looking = _who_show_clips(config.get("evaluator") or {})
    for path, node in targets_in(
        {name: config.get(name) for name in ("drafter", "evaluator", "judge", "method", "reward", "rewriter")}
    ):
        role = ".".join(path)
        if path[-1] != "engine":
            _check_model(f"{role}.model", node)  # of a role that holds its model itself
        if role in looking and node.get("engine", {}).get("_target_") in (None, TEXT_ALONE):
            given = "engine=hf reads text alone" if node.get("engine") else "engine=none"
            raise UserError(
                f"config: {role} shows clips to a vision-language model, and {given}; choose engine=vlm "
                "engine.model=<folder or hub id>, or engine=server"
            )
        if node.get("engine") == {}:
            raise UserError(
                f"config: {role} asks a language model, and engine=none; choose one, as in engine=hf engine.model=<folder or hub id>"
            )
        engine = node.get("engine", {})
        if engine.get("_target_") == SERVER:
            try:
                check_server(engine)
            except UserError as error:  # a reward's engine is its own, not the run's
                raise UserError(
                    str(error).replace("engine.", f"{role}.engine.") if path[0] == "reward" else str(error)
                ) from error
            continue  # its model is a name, which may look like a folder's
        check_bits(engine.get("bits"), "engine.bits")
        _check_model("engine.model", engine)


def _who_show_clips(evaluators: Mapping[str, Any]) -> set[str]:
    """The evaluators of vpo, as "evaluator.clip_safety", that ask their engine about clips; of a user's own nothing is known."""
    asking = {name: node for name, node in evaluators.items() if "engine" in node and not is_own(node["_target_"])}
    return {f"evaluator.{name}" for name, card in cards_of(asking).items() if "clips" in card.needs}


def _check_model(key: str, node: Mapping[str, Any]) -> None:
    """What looks like a model's folder is one."""
    model = str(node.get("model", ""))
    if model.startswith((".", "/", "~")) and not Path(model).is_dir():
        raise UserError(f"config: {key}={model}: no such folder; give the folder of a model, or a hub id")


def check_files(config: Mapping[str, Any]) -> None:
    """The files of rewrites that methods read are there: they are read after all trainings."""
    for name, node in config["method"].items():
        if node["_target_"] != "vpo.method.file.FileRewrites":
            continue
        for key in ("path", "queries"):
            if node[key] is not None and not Path(node[key]).expanduser().is_file():
                raise UserError(
                    f"config: method.{name}.{key}={node[key]}: no such file; set it, or paths.data to where copies of data sets lie"
                )


def check_objective(config: Mapping[str, Any]) -> None:
    """The objective after SFT is known and can run on this trainer, and stop_after names a stage of the run."""
    policy, stop = config["objective"]["policy"], config["stop_after"]
    if policy not in pipeline.AFTER_SFT:
        known = ", ".join(str(one) for one in pipeline.AFTER_SFT)
        raise UserError(f"config: objective.policy={policy} is made by nothing here; choose one of {known}")
    pipeline.AFTER_SFT[policy].check(config)
    possible = pipeline.stops(config) if stop is not None else ()
    if stop is not None and stop not in possible:
        raise UserError(
            f"config: this run has no stage {stop}, so stop_after={stop} never comes; choose one of {', '.join(possible)}, or other "
            "methods, feedback or objective"
        )
