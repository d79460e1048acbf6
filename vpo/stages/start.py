"""Stage `start`: the untrained (or released) policy that the first training starts from."""

from pathlib import Path

from vpo.stages.bench import Bench, Node
from vpo.store import Entry
from vpo.templates import template_hash


def start(bench: Bench, backbone: Node) -> Entry:
    """Write `policy/`, ready for training and sampling."""

    def work(folder: Path) -> dict[str, int]:
        (folder / "policy").mkdir(exist_ok=True)
        bench.build(backbone).prepare(folder / "policy")
        return {}

    return bench.stage("start", {"backbone": backbone, "template": template_hash(backbone["template"])}, {}, work)
