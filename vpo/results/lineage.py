"""The history of a stored policy, from the manifests of its inputs: the base model, the trainings, the sources of feedback."""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from vpo.results.schema import Base
from vpo.storage.store import Entry, read_manifest

FEEDBACK_ROLES = ("judge", "reward")
# The input of controls that gives only the number of updates: no training signal comes from it.
NUMBER_OF_UPDATES = "updates_of"


History = list[tuple[Entry, Mapping[str, Any]]]  # results with their manifests


def lineage(entry: Entry) -> History:
    """The policy and all results that its training signal comes from, with their manifests, inputs first."""
    return history(entry, leave_out=(NUMBER_OF_UPDATES,))


def trainings_of(entry: Entry) -> list[Entry]:
    """The trainings that made a policy, in order: each starts from the policy of the one before. Empty for an untrained one."""
    chain: list[Entry] = []
    while entry.done and "start" in (inputs := read_manifest(entry.folder)["inputs"]):
        chain.append(entry)
        entry = entry_at(entry.folder.parent.parent / inputs["start"])
    return chain[::-1]


def base_of(past: History) -> Base | None:
    """The model that a policy's training started from; None where the start was pruned.

    A revision is a commit of the hub. What was loaded from a local folder and weights made at random have none.
    """
    for entry, manifest in past:
        backbone = manifest.get("node", {}).get("backbone")
        if entry.stage == "start" and backbone is not None:
            model = backbone.get("model")
            return Base(target=backbone["_target_"], model=model, revision=_revision(entry.folder, backbone))
    return None


def _revision(start: Path, backbone: Mapping[str, Any]) -> str | None:
    """Of the files that were really loaded, which the start points to."""
    pointer = start / "policy" / "start.json"
    named = json.loads(pointer.read_text(encoding="utf-8")) if pointer.is_file() else backbone
    return named.get("revision")


def feedback_roles_of(past: History) -> list[str]:
    """Which of judge and reward the training signal of a policy comes from, by the nodes of the stages in its history."""
    nodes = [manifest.get("node", {}) for _, manifest in past]
    return [role for role in FEEDBACK_ROLES if any(role in node for node in nodes)]


def history(entry: Entry, leave_out: Collection[str] = ()) -> History:
    """The result and all that it was made from, with their manifests, inputs first; {} stands for what was pruned since.

    Inputs of the names in `leave_out` (and `<name>_2`, ...) are not followed.
    """
    found: dict[Path, tuple[Entry, Mapping[str, Any]]] = {}

    def visit(one: Entry) -> None:
        if one.folder in found:
            return
        manifest = read_manifest(one.folder) if one.done else {}
        for name, made in manifest.get("inputs", {}).items():
            if re.sub(r"_\d+$", "", name) not in leave_out:
                visit(entry_at(one.folder.parent.parent / made))
        found[one.folder] = (one, manifest)

    visit(entry)
    return list(found.values())


def entry_at(folder: Path) -> Entry:
    """The result in `<store>/<stage>/<key>`."""
    return Entry(folder.parent.name, folder.name, folder)


def file_hash(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
