"""Stage `start`: the untrained (or released) policy that the first training starts from."""

import hashlib
from pathlib import Path

from vpo.stages.bench import Bench, Node
from vpo.store import Entry
from vpo.templates import template_hash

MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.jinja")
END = 2**22  # bytes


def start(bench: Bench, backbone: Node) -> Entry:
    """Write `policy/`, ready for training and sampling."""

    def work(folder: Path) -> dict[str, int]:
        (folder / "policy").mkdir(exist_ok=True)
        bench.build(backbone).prepare(folder / "policy")
        return {}

    node = {"backbone": backbone, "template": template_hash(backbone["template"])}
    if "model" in backbone and Path(backbone["model"]).is_dir():
        node["content"] = fingerprint(Path(backbone["model"]))
    return bench.stage("start", node, {}, work)


def fingerprint(folder: Path) -> str:
    """What tells a local model folder from another one that has taken its place: every file's size and both its ends.

    Of weights not every byte is read: two trainings of one model differ everywhere.
    """
    digest = hashlib.sha256()
    for path in sorted(one for glob in MODEL_FILES for one in folder.glob(glob)):
        size = path.stat().st_size
        with path.open("rb") as file:
            digest.update(f"{path.name} {size} ".encode() + file.read(END))
            file.seek(max(END, size - END))
            digest.update(file.read(END))
    return digest.hexdigest()
