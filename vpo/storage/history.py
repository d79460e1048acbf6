"""What a stored result was made from: itself and its inputs, and theirs, as their manifests name them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vpo.store import Entry, read_manifest

History = list[tuple[Entry, Mapping[str, Any]]]


def history(entry: Entry) -> History:
    """The result and all that it was made from, with their manifests, inputs first; {} stands for what was pruned since."""
    found: dict[Path, tuple[Entry, Mapping[str, Any]]] = {}

    def visit(one: Entry) -> None:
        if one.folder in found:
            return
        manifest = read_manifest(one.folder) if one.done else {}
        for name in manifest.get("inputs", {}).values():
            visit(entry_at(one.folder.parent.parent / name))
        found[one.folder] = (one, manifest)

    visit(entry)
    return list(found.values())


def entry_at(folder: Path) -> Entry:
    """The result in `<store>/<stage>/<key>`."""
    return Entry(folder.parent.name, folder.name, folder)
