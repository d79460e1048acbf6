"""Which models the nodes of a config name, and under which licences they are given, as cards say it."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from vpo.assets.manifest import read_manifest

ASSET = "asset:"
UNKNOWN = "of the model: its own, which is not listed here"
NO_MODEL = "none"
OF_VPO = "Apache-2.0 (vpo's own code)"
# Of models on the Hugging Face Hub that configs of ours name; those of assets stand in their manifest.
LICENCES = {
    "openai/clip-vit-base-patch32": "MIT",
    "openai/clip-vit-large-patch14": "MIT",
    "facebook/dino-vitb16": "Apache-2.0",
    "facebook/dinov2-base": "Apache-2.0",
    "Qwen/Qwen2.5-VL-7B-Instruct": "Apache-2.0",
    "THUDM/VisionReward-Video": "cogvlm2 licence and the Llama 3 licence",
    "TIGER-Lab/VideoScore": "Apache-2.0",
    "TIGER-Lab/VideoScore-v1.1": "MIT",
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": "MIT",
}


def named(model: str, revision: str | None = None) -> str:
    """A model by its name and the first digits of its revision: of a folder the last part alone, of an asset its name."""
    short = model.removeprefix(ASSET)
    short = short.rstrip("/").rpartition("/")[2] if short.startswith((".", "/", "~")) else short
    return f"{short}@{str(revision)[:8]}" if revision else short


def licence_of(model: str) -> str:
    """The licence of an asset, or of a model of the hub; a folder has that of whatever lies in it, which is not known here."""
    return _licences().get(model.removeprefix(ASSET), UNKNOWN)


def models_in(node: Any) -> Iterator[tuple[str, str | None]]:
    """(model, revision) of each that a node and the nodes in it name, by their `path` or `model`."""
    if isinstance(node, Mapping):
        for key in ("path", "model"):
            if isinstance(node.get(key), str) and node[key] not in ("", "???"):
                yield node[key], node.get("revision")
        for value in node.values():
            yield from models_in(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from models_in(value)


def said_of(node: Mapping[str, Any]) -> tuple[str, str]:
    """What a card says of a role's models and their licences; by its class alone where it has none.

    A licence that the node itself names, as a reward's does, counts.
    """
    who = str(node.get("_target_", "")).rpartition(".")[2] or "nobody"
    found = dict.fromkeys(models_in(node))
    if not found:
        return f"{who}, without a model", OF_VPO
    licences = dict.fromkeys(f"{named(model)}: {licence_of(model)}" for model, _ in found)
    own = node.get("licence")
    return f"{who} by {', '.join(named(*one) for one in found)}", str(own) if own else "; ".join(licences)


@cache
def _licences() -> dict[str, str]:
    assets = read_manifest().values()
    return {
        **LICENCES,
        **{one.hub.id: one.licence for one in assets if one.hub is not None},
        **{one.name: one.licence for one in assets},
    }
