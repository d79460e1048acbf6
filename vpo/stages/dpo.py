"""Stage `dpo`: preference optimization from the SFT policy, which is also the reference (VPO paper 3.3)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vpo.processes.launch import WORKER
from vpo.records import Pair
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.stages.training import exempt_of, job_of, node_of, train
from vpo.storage.store import Entry


@dataclass(frozen=True, kw_only=True)
class Dpo(Stage):
    """The policy learns from preference pairs.

    Writes `policy/` and `training.jsonl`.
    """

    name: ClassVar[str] = "dpo"
    exempt: ClassVar[tuple[str, ...]] = exempt_of("objective")
    runs: ClassVar[tuple[str, ...]] = (WORKER,)
    trains: ClassVar[bool] = True

    objective: Node
    trainer: Node
    backbone: Node
    start: Entry
    pairs: Entry
    reference: Entry
    seed: int

    def node(self) -> dict[str, Any]:
        return node_of("objective", self.objective, self.trainer, self.backbone, self.seed)

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        job = job_of(folder, self.objective, self.trainer, self.backbone, start=self.start, seed=self.seed)
        job |= {"task": "dpo", "label": self.label, "rows": str(self.pairs.folder / "pairs.jsonl")}
        job |= {"reference": str(self.reference.folder / "reference.jsonl")}
        steps = train(folder, job)
        return {"pairs": len(self.pairs.rows("pairs.jsonl", Pair)), "steps": steps}
