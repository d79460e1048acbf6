"""Stage `grpo`: online reinforcement learning from the SFT policy, with the judge and the video reward as its rewards."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vpo.errors import UserError
from vpo.stages.contents import with_contents
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.stages.training import exempt_of, job_of, node_of, train
from vpo.storage.store import Entry
from vpo.targets import allowed_packages
from vpo.training.recipe import bits_of

STRATEGIES = ("auto", "ddp")
WORKER = "vpo.training.online.grpo"


@dataclass(frozen=True, kw_only=True)
class Grpo(Stage):
    """The policy learns from the rewards of what it samples.

    Trains on the queries of the feedback. Writes `policy/`, `training.jsonl` and tables of greedy prompts. The rewards are the judge's
    (text-level feedback), or the reward's on rendered clips (video-level), or both.
    """

    name: ClassVar[str] = "grpo"
    # What is shown on the way changes no policy: greedy prompts draw no random number.
    exempt: ClassVar[tuple[str, ...]] = (*exempt_of("objective"), "objective.prompts", "objective.prompts_every")
    runs: ClassVar[tuple[str, ...]] = (WORKER,)
    trains: ClassVar[bool] = True

    objective: Node
    trainer: Node
    backbone: Node
    start: Entry
    queries: Entry
    judge: Node | None = None
    generator: Node | None = None
    reward: Node | None = None
    seed: int

    def node(self) -> dict[str, Any]:
        rewards = {role: with_contents(node) for role, node in self._rewards().items()}
        return node_of("objective", self.objective, self.trainer, self.backbone, self.seed) | rewards

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        job = job_of(folder, self.objective, self.trainer, self.backbone, start=self.start, seed=self.seed)
        job |= {"label": "grpo", "rows": str(self.queries.folder / "dpo.jsonl"), "allow": list(allowed_packages())}
        return {"steps": train(folder, job | self._rewards(), WORKER)}

    def _rewards(self) -> dict[str, Node]:
        nodes = {"judge": self.judge, "generator": self.generator, "reward": self.reward}
        return {role: node for role, node in nodes.items() if node is not None}


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
