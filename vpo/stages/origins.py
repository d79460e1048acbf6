"""Which policy, template, judge, engine and reward stand behind stored results: what a preference pair carries of them."""

import json
from collections.abc import Mapping
from typing import Any

from vpo import __version__
from vpo.stages.contents import FILES, MODELS
from vpo.storage.store import Entry, read_manifest

# What of a role's node says which it is, beside its templates, its files and the hashes of what stands in these; the rest is settings,
# which lie in the manifest of its stage.
NAMING = frozenset({"_target_", "revision", "name", "endpoint", "dtype", "bits", "rule", "contents", *MODELS, *FILES})
CALLED = {"_target_": "class"}


def versions(
    *, candidates: Entry, verdicts: Entry | None = None, refinements: Entry | None = None, scores: Entry | None = None
) -> dict[str, Any]:
    """By role, what made the candidates, the verdicts on them, the refinements of the flawed ones and the scores of their clips.

    "result" names the stored result (its manifest holds the whole node), "code" the hash of the code that made it. A template stands
    with its version and hash, as they were then.
    """
    found: dict[str, Any] = {"vpo": __version__}
    manifest = read_manifest(candidates.folder)
    policy = _role(candidates, "backbone")
    if "template" in policy:
        found["template"] = policy.pop("template")
    found["policy"] = {"policy": manifest["inputs"].get("policy"), **policy}
    if verdicts is not None:
        found["judge"] = _role(verdicts, "judge")
    if refinements is not None:
        found["refiner"] = _role(refinements, "judge")
    if scores is not None:
        found["reward"] = _role(scores, "reward")
        card = scores.folder / "card.json"
        if card.is_file():
            found["reward"]["name"] = json.loads(card.read_text(encoding="utf-8")).get("name")
    return found


def _role(entry: Entry, role: str) -> dict[str, Any]:
    manifest = read_manifest(entry.folder)
    named = _named(manifest["node"].get(role, {}), manifest.get("templates", {}))
    return {**named, "result": f"{entry.stage}/{entry.key}", "code": manifest["code"]}


def _named(node: Mapping[str, Any], templates: Mapping[str, Any]) -> dict[str, Any]:
    """What says which role a node describes, and the same of all that is in it: a judge's engine, the judges of a panel, parts."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            inner = _named(value, templates)
            if inner:
                found[key] = inner
        elif isinstance(value, str) and _is_template(key):
            found[key] = {"name": value, **templates.get(value, {"sha256": node.get(f"{key}_content")})}
        elif value is not None and (key in NAMING or key.endswith("_file") or _is_content(key)):
            found[CALLED.get(key, key)] = value
    return found


def _is_template(key: str) -> bool:
    return key == "template" or key.endswith("_template")


def _is_content(key: str) -> bool:
    """Whether a key is that of a hash of what stands in a file; a template's stands beside its name."""
    return key.endswith("_content") and not _is_template(key.removesuffix("_content"))
