"""What a stored result was made from: itself and its inputs, and theirs, as their manifests name them."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from vpo.store import Entry, read_manifest

History = list[tuple[Entry, Mapping[str, Any]]]


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
