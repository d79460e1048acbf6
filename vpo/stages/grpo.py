"""Stage `grpo`: online reinforcement learning from the SFT policy, with the judge and the video reward as its rewards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vpo.build import allowed_besides
from vpo.errors import UserError
from vpo.stages.bench import Bench, Node
from vpo.stages.training import exempt_of, node_of, train
from vpo.store import Entry
from vpo.training.recipe import bits_of

STRATEGIES = ("auto", "ddp")
# What is shown on the way changes no policy, so it is in no key: greedy prompts draw no random number.
EXEMPT = (*exempt_of("objective"), "objective.prompts", "objective.prompts_every")


def grpo(
    bench: Bench,
    objective: Node,
    trainer: Node,
    backbone: Node,
    *,
    start: Entry,
    queries: Entry,
    rewards: Mapping[str, Node],
    seed: int,
) -> Entry:
    """Train on the DPO queries. Writes `policy/`, `training.jsonl` and tables of greedy prompts.

    Args:
        rewards: the nodes of "judge" (text-level feedback), or of "generator" and "reward" (video-level), or of all three.
    """

    def work(folder: Path) -> dict[str, int]:
        steps = train(
            folder, objective, trainer, backbone,
            worker="vpo.training.grpo", label="grpo", start=start, rows=queries.folder / "dpo.jsonl", seed=seed,
            allow=list(allowed_besides()), **rewards,
        )  # fmt: skip
        return {"steps": steps}

    node = {**node_of("objective", objective, trainer, backbone, seed), **rewards}
    return bench.stage("grpo", node, {"start": start, "queries": queries}, work, exempt=EXEMPT)


def check_grpo(config: Mapping[str, Any]) -> None:
    """Raise UserError where a config asks of GRPO what it cannot do."""
    objective, strategy = config["objective"], config["trainer"]["strategy"]
    if strategy not in STRATEGIES:
        raise UserError(
            f"objective=grpo runs on trainer=cpu, gpu or ddp, not with trainer.strategy={strategy}; choose one of these, or "
            "another objective"
        )
    size, group = objective["global_batch_size"], objective["generations"]
    if not isinstance(group, int) or group < 2:
        raise UserError(
            f"config: objective.generations={group} must be a whole number of at least 2 to compare (sampling.k)"
        )
    if size % group:
        raise UserError(
            f"config: objective.global_batch_size={size} must be a multiple of objective.generations={group}"
        )
    if config["rounds"] > 1:
        raise UserError(
            f"config: objective=grpo learns while it samples, in one go; rounds={config['rounds']} has no meaning"
        )
    if objective["keep"] != "last":
        raise UserError("config: objective=grpo keeps the last policy; set objective.keep=last")
    if bits_of(objective):
        raise UserError(
            f"config: objective=grpo trains beside whole weights, not beside objective.adapter.bits={bits_of(objective)}; choose "
            "+adapter@objective.adapter=lora"
        )
    if objective["optimizer"]["schedule"] == "step":
        raise UserError("config: objective=grpo has no schedule=step; choose constant, linear or cosine")
    if objective["beta"] < 0:
        raise UserError(f"config: objective.beta={objective['beta']} must be at least 0")
