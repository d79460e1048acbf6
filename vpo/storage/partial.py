"""What an unfinished result is being made from.

Before any work, `<key>.partial/made_from.json` gets a statement: the stage, its node, the stamps of its inputs and the hash of
its code, as they are before the work starts. A later start goes on with the folder only while all of this is still so. Otherwise
rows made from older inputs would meet newer ones, or half of a training would be of one code and half of another.
"""

import json
import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from vpo.storage.folders import discard
from vpo.storage.jsonio import write_json

STATEMENT = "made_from.json"
log = logging.getLogger(__name__)


def open_partial(
    folder: Path,
    statement: Mapping[str, Any],
    *,
    called: str,
    anew: bool = False,
    before_discarding: Callable[[], None] = lambda: None,
) -> None:
    """Make the partial folder of a result ready for work: with what an earlier start left if that fits, else empty.

    Args:
        folder: `<key>.partial`.
        statement: what the result is made from now: "stage", "key", "node", "inputs", "stamps", "code", "templates".
        called: the result's name for the log.
        anew: whether `recompute` asks for it: a partial result of an ordinary start is discarded, one of a recomputation is
            kept, so that a recomputation that is killed goes on.
        before_discarding: called before what was left is deleted.
    """
    found = _read(folder / STATEMENT)
    reason = _reason_to_discard(found, statement, anew)
    if reason is None:
        return
    if folder.exists() and any(folder.iterdir()):
        log.info("%s: what an unfinished start left is discarded (%s)", called, reason)
        before_discarding()
        discard(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / STATEMENT, {**statement, "anew": anew}, indent=1)


def reopen(folder: Path, names: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make a partial folder of a finished result whose failures are to be done again.

    Args:
        folder: of the result.
        names: the fields of a statement.

    Returns:
        The statement that it was made from, and its manifest. The rest of it was made by the code that the statement names, so it
        keeps saying so.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    statement = {name: manifest[name] for name in names if name in manifest}  # an older one names no templates
    write_json(folder / STATEMENT, {**statement, "anew": False}, indent=1)
    folder.rename(folder.with_name(folder.name + ".partial"))
    (folder.with_name(folder.name + ".partial") / "manifest.json").unlink()
    return statement, manifest


def _reason_to_discard(found: Mapping[str, Any] | None, statement: Mapping[str, Any], anew: bool) -> str | None:
    """Why work on this result cannot go on in a folder with the statement `found`; None if it can."""
    if found is None:
        return "it does not say what it is made from"
    for name, reason in (
        ("stage", "it is of another stage"),
        ("key", "it is of another result"),
        ("inputs", "it is of other inputs"),
        ("stamps", "its inputs were made anew"),
        ("code", "the code has changed"),
    ):
        if found.get(name) != statement[name]:
            return reason
    return "recompute" if anew and not found.get("anew") else None


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None
