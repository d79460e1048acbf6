"""Stage `reference`: log-probabilities of the pairs under the reference policy, once per (policy, pairs).

Every objective, seed and sweep job that needs them shares the result.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vpo.processes.launch import train_in_child
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.stages.training import job_of
from vpo.storage.rows import read_rows
from vpo.storage.store import Entry
from vpo.templates import template_hash
from vpo.training.recipe import base_dtype, bits_of

WORKER = "vpo.training.reference"


@dataclass(frozen=True, kw_only=True)
class Reference(Stage):
    """The policy from which preference training starts reads the pairs.

    Writes `reference.jsonl`: query_id (the pair's id), chosen, rejected (summed log-probabilities). The training worker's
    own code reads them, in a process of its own, with weights quantised and rounded as the training reads them.
    """

    name: ClassVar[str] = "reference"
    runs: ClassVar[tuple[str, ...]] = (WORKER,)

    objective: Node
    trainer: Node
    backbone: Node
    policy: Entry
    pairs: Entry

    def node(self) -> dict[str, Any]:
        """Of recipe and trainer, what decides how the pairs are read."""
        return {**self._reading(), "template": template_hash(self.backbone["template"])}

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        one_device = {**self.trainer, "devices": 1}
        job = job_of(folder, self.objective, one_device, self.backbone, start=self.policy, seed=0)
        job |= {"label": self.called, "rows": str(self.pairs.folder / "pairs.jsonl"), **self._reading()}
        train_in_child(job, folder, WORKER)
        return {"pairs": len(read_rows(folder / "reference.jsonl", dict))}

    def _reading(self) -> dict[str, Any]:
        return {
            "max_length": self.objective["max_length"],
            "batch_size": self.trainer["per_device_batch_size"],
            "packing": self.trainer["packing"],
            "bits": bits_of(self.objective),
            "dtype": base_dtype(self.objective["adapter"], self.trainer),
        }
