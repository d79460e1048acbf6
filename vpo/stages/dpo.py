"""Stage `dpo`: preference optimization from the SFT policy, which is also the reference (VPO paper 3.3)."""

from pathlib import Path

from vpo.records import Pair
from vpo.stages.bench import Bench, Node
from vpo.stages.training import exempt_of, node_of, train
from vpo.store import Entry


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
        steps = train(
            folder, objective, trainer, backbone,
            task="dpo", label=label, start=start, rows=pairs.folder / "pairs.jsonl", seed=seed,
            reference=str(reference.folder / "reference.jsonl"),
        )  # fmt: skip
        return {"pairs": len(pairs.rows("pairs.jsonl", Pair)), "steps": steps}

    node = node_of("objective", objective, trainer, backbone, seed)
    inputs = {"start": start, "pairs": pairs, "reference": reference}
    return bench.stage("dpo", node, inputs, work, label, exempt_of("objective"))
