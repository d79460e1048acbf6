"""What stands in files that a config only names: it belongs into a result's key as much as the names do."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vpo.assets.folder import is_asset, version_of
from vpo.stages.start import fingerprint
from vpo.targets import has_method, target_class
from vpo.templates import template_hash

FILES = ("path", "queries", "head", "checkpoint")  # where they are files; what ends in "_file" is one, too
# Where they are folders or assets; a path may be that of a pipeline, whose folders are its models.
MODELS = ("model", "path", "head")


def with_contents(node: Mapping[str, Any], *, ours: bool = False) -> dict[str, Any]:
    """The node, and hashes of the files that it, or a node in it, names: template, local model or asset, data.

    A class of ours with a static method `contents` says by it, from its node, what stands in files that it finds in another way.
    Classes of a user's own may call other things so; what these read is theirs to name in the config. `ours` says whether a mapping
    without a `_target_` belongs to a class of ours, as a generator's `lora` does.
    """
    ours = str(node["_target_"]).startswith("vpo.") if "_target_" in node else ours
    inner = {
        key: with_contents(value, ours=ours) if isinstance(value, Mapping) else value for key, value in node.items()
    }
    if not ours:
        return inner
    if "_target_" in node and has_method(node["_target_"], "contents"):
        inner["contents"] = target_class(node).contents(node)
    for key, value in node.items():
        if (key == "template" or key.endswith("_template")) and isinstance(value, str):
            inner[f"{key}_content"] = template_hash(value)
    for key in MODELS:
        if is_asset(node.get(key)):
            inner[f"{key}_content"] = version_of(node[key])
        elif isinstance(node.get(key), str) and Path(node[key]).expanduser().is_dir():
            inner[f"{key}_content"] = fingerprint(Path(node[key]).expanduser(), below=key == "path")
    for key in [*FILES, *(one for one in node if one.endswith("_file"))]:
        if isinstance(node.get(key), str) and Path(node[key]).expanduser().is_file():
            with Path(node[key]).expanduser().open("rb") as file:
                inner[f"{key}_content"] = hashlib.file_digest(file, "sha256").hexdigest()
    return inner
