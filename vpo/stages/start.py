"""Stage `start`: the untrained (or released) policy that the first training starts from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vpo.assets.folder import is_asset, version_of
from vpo.build import build
from vpo.errors import UserError
from vpo.language.checkpoints.limits import Limits
from vpo.language.checkpoints.merging import read_base
from vpo.records import Query
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.storage.store import Entry
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
        """The node with hashes of the template and of a local model's or an asset's files."""
        node = super().node() | {"template": template_hash(self.backbone["template"])}
        if "model" in self.backbone and Path(self.backbone["model"]).is_dir():
            node["content"] = fingerprint(Path(self.backbone["model"]))
            base = base_folder(self.backbone)
            if base is not None:
                node["base_content"] = fingerprint(base)
        if is_asset(self.backbone.get("model")):
            node["content"] = version_of(self.backbone["model"])
        return node

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        (folder / "policy").mkdir(exist_ok=True)
        build(self.backbone).prepare(folder / "policy")
        return {}


def base_folder(backbone: Node) -> Path | None:
    """The local folder of what an adapter stands on; None where the model is no adapter, or its base comes from the hub."""
    named = backbone.get("base")
    base = read_base(
        backbone["model"], named and {"model": named, "revision": None}, f"backbone.model={backbone['model']}"
    )
    return Path(base.source) if base is not None and Path(base.source).is_dir() else None


def check_prompts(start: Entry, queries: Entry, backbone: Node, new_tokens: Mapping[str, int]) -> None:
    """Raise UserError where a rendered query and what is to be written behind it are longer than the model can read.

    It depends on what a run does with the model, which the key of `start` does not name, so every run asks.

    Args:
        start: the policy that prompts are rendered for.
        queries: whose splits, all of them, may be sampled from.
        backbone: its node.
        new_tokens: by their keys in the config, how many tokens are sampled at most; empty where nothing is.
    """
    limits = Limits.read(start.folder / "policy")
    if limits is None or limits.positions is None or not new_tokens:
        return
    items = [query for path in sorted(queries.folder.glob("*.jsonl")) for query in queries.rows(path.name, Query)]
    key = max(new_tokens, key=lambda name: new_tokens[name])
    # A tokenizer makes no more tokens of a text than it has bytes, so that most runs need none to know.
    if limits.template_tokens + max(len(one.text.encode()) for one in items) + new_tokens[key] <= limits.positions:
        return
    from vpo.language.chat.rendering import Renderer
    from vpo.language.checkpoints.loading import load_tokenizer
    from vpo.templates import read_template

    renderer = Renderer(load_tokenizer(start.folder / "policy"), read_template(backbone["template"]))
    longest, name = max((len(renderer.prompt_ids(one.text)), one.id) for one in items)
    room = limits.positions - longest
    if new_tokens[key] > room:
        model = backbone.get("model") or backbone["_target_"]
        cure = f"set {key} to at most {room}, or" if room > 0 else "shorten the query or the template, or"
        raise UserError(
            f"backbone.model={model}: it reads at most {limits.positions} tokens, and the longest prompt (query {name}) has {longest} "
            f"and is to get up to {new_tokens[key]} more ({key}); {cure} use a model with more positions"
        )


def check_training(start: Entry, backbone: Node, sft: Node) -> None:
    """Raise UserError where the first training cannot start from the model as its weights are stored."""
    limits = Limits.read(start.folder / "policy")
    if limits is None or limits.quantised is None:
        return
    where = f"backbone.model={backbone['model']}: its weights are quantised ({limits.quantised})"
    if sft["adapter"] is None:
        raise UserError(
            f"{where} and cannot be trained themselves, as sft.adapter=null asks; train an adapter: sft=lora"
        )
    if sft["adapter"]["bits"] and limits.quantised != "bitsandbytes":
        raise UserError(
            f"{where}, so sft.adapter.bits={sft['adapter']['bits']} cannot quantise them again; use sft=lora"
        )


def fingerprint(folder: Path, *, below: bool = False) -> str:
    """What tells a local model folder from another one that has taken its place: every file's size and both its ends.

    Of weights not every byte is read: two trainings of one model differ everywhere. `below` takes the folders in it, too: a
    pipeline has one for each of its components.
    """
    digest = hashlib.sha256()
    for path in sorted(one for glob in MODEL_FILES for one in (folder.rglob(glob) if below else folder.glob(glob))):
        size = path.stat().st_size
        with path.open("rb") as file:
            digest.update(f"{path.relative_to(folder).as_posix()} {size} ".encode() + file.read(END))
            file.seek(max(END, size - END))
            digest.update(file.read(END))
    return digest.hexdigest()
