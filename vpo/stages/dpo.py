"""Stage `dpo`: preference optimization from the SFT policy, which is also the reference (VPO paper 3.3)."""

from pathlib import Path

from vpo.records import Pair
from vpo.stages.bench import Bench, Node
from vpo.stages.sft import steps_taken
from vpo.store import Entry
from vpo.templates import template_hash
from vpo.training.launch import train_in_child


def dpo(
    bench: Bench,
    objective: Node,
    trainer: Node,
    backbone: Node,
    *,
    start: Entry,
    pairs: Entry,
    reference: Entry,
    seed: int,
    label: str = "dpo",
) -> Entry:
    """Train on the pairs. Writes `policy/` and `training.jsonl`."""

    def work(folder: Path) -> dict[str, int]:
        job = {
            "task": "dpo",
            "label": label,
            "seed": seed,
            "recipe": objective,
            "trainer": trainer,
            "template": backbone["template"],
            "start": str(start.folder / "policy"),
            "rows": str(pairs.folder / "pairs.jsonl"),
            "reference": str(reference.folder / "reference.jsonl"),
            "out": str(folder),
        }
        train_in_child(job, folder)
        return {"pairs": len(pairs.rows("pairs.jsonl", Pair)), "steps": steps_taken(folder)}

    node = {"objective": objective, "trainer": trainer, "template": template_hash(backbone["template"]), "seed": seed}
    return bench.stage("dpo", node, {"start": start, "pairs": pairs, "reference": reference}, work)
