"""Which policy, template, judge, engine and reward stand behind stored results: what a preference pair carries of them."""

import json
from collections.abc import Mapping
from typing import Any

from vpo import __version__
from vpo.storage.store import Entry, read_manifest
from vpo.templates import template_hash

# What of a role's node says which it is; the rest is settings, which lie in the manifest of its stage.
NAMING = ("_target_", "model", "revision", "template", "templates", "name", "endpoint", "dtype", "bits")
CALLED = {"_target_": "class"}


def versions(*, candidates: Entry, verdicts: Entry | None = None, scores: Entry | None = None) -> dict[str, Any]:
    """By role, what made the candidates, the verdicts on them and the scores of their clips.

    "result" names the stored result (its manifest holds the whole node), "code" the hash of the code that made it.
    """
    found: dict[str, Any] = {"vpo": __version__}
    manifest = read_manifest(candidates.folder)
    backbone = manifest["node"].get("backbone", {})
    found["policy"] = {"policy": manifest["inputs"].get("policy"), **_named(backbone), **_origin(candidates)}
    template = backbone.get("template")
    if isinstance(template, str):
        found["template"] = {"name": template, "sha256": template_hash(template)}
    if verdicts is not None:
        found["judge"] = _role(verdicts, "judge")
    if scores is not None:
        found["reward"] = _role(scores, "reward")
        card = scores.folder / "card.json"
        if card.is_file():
            found["reward"]["name"] = json.loads(card.read_text(encoding="utf-8")).get("name")
    return found


def _role(entry: Entry, role: str) -> dict[str, Any]:
    return {**_named(read_manifest(entry.folder)["node"].get(role, {})), **_origin(entry)}


def _origin(entry: Entry) -> dict[str, str]:
    return {"result": f"{entry.stage}/{entry.key}", "code": read_manifest(entry.folder)["code"]}


def _named(node: Mapping[str, Any]) -> dict[str, Any]:
    """What says which role a node describes, and the same of the roles in it, such as a judge's engine."""
    own = {CALLED.get(key, key): node[key] for key in NAMING if node.get(key) is not None}
    inner = {key: _named(value) for key, value in node.items() if isinstance(value, Mapping) and "_target_" in value}
    return own | inner
