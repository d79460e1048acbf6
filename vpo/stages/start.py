"""Stage `start`: the untrained (or released) policy that the first training starts from."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vpo.build import build
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.templates import template_hash

MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.jinja")
END = 2**22  # bytes


@dataclass(frozen=True, kw_only=True)
class Start(Stage):
    """The backbone is checked and made ready for training and sampling.

    Writes `policy/`. The content of a local model folder is part of the key.
    """

    name: ClassVar[str] = "start"

    backbone: Node

    def node(self) -> dict[str, Any]:
        """The node with hashes of the template and of a local model's files."""
        node = super().node() | {"template": template_hash(self.backbone["template"])}
        if "model" in self.backbone and Path(self.backbone["model"]).is_dir():
            node["content"] = fingerprint(Path(self.backbone["model"]))
        return node

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        (folder / "policy").mkdir(exist_ok=True)
        build(self.backbone).prepare(folder / "policy")
        return {}


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
