"""Measurements of a run that were made outside of it: by VBench's own code, by people.

They lie in the run folder as `added/<name>.json`, {"evaluator": name, "card": card, "rows": [{"query_id", "method",
"metrics", "weights", "clip_counts"}], ...}, and are laid over what the run has measured whenever its results are written, so that
giving the run's command again loses none of them.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.cards import EvaluatorCard
from vpo.errors import UserError
from vpo.results.metrics import are_cards
from vpo.storage.jsonio import write_json

FOLDER = "added"
log = logging.getLogger(__name__)


def keep(folder: Path, name: str, card: EvaluatorCard, rows: Sequence[Mapping[str, Any]], **about: Any) -> Path:
    """Write one set of measurements into a run folder; one of the same name is replaced. Returns the file."""
    path = folder / FOLDER / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"evaluator": card.name, "card": card.to_json(), "rows": list(rows), **about}, indent=1)
    return path


def lay_over(
    folder: Path, cards: Mapping[str, Mapping[str, Any]], items: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Put what was added to a run folder into its items.

    Args:
        folder: the run folder.
        cards: of the run's own evaluators.
        items: one a (query, method); "metrics" and "weights" get what was added.

    Returns:
        All cards. A metric that the run measures by itself is not replaced.
    """
    found: dict[str, dict[str, Any]] = {
        name: {**card, "metrics": list(card["metrics"])} for name, card in cards.items()
    }
    own = {metric["name"] for card in found.values() for metric in card["metrics"]}
    by_id = {(item["query_id"], item["method"]): item for item in items}
    for path in sorted((folder / FOLDER).glob("*.json")):
        content = _read(path)
        taken = sorted(own & {metric["name"] for metric in content["card"]["metrics"]})
        if taken:
            log.warning("%s: the run measures %s by itself; what was added is left out", path, ", ".join(taken))
            continue
        card = found.setdefault(content["evaluator"], {**content["card"], "metrics": []})
        there = {metric["name"] for metric in card["metrics"]}
        card["metrics"] += [metric for metric in content["card"]["metrics"] if metric["name"] not in there]
        if content["card"].get("derived"):  # of which all files of an evaluator say the same
            card["derived"] = content["card"]["derived"]
        for row in content["rows"]:
            item = by_id.get((row["query_id"], row["method"]))
            if item is not None:
                item["metrics"].update(row["metrics"])
                for key in ("weights", "clip_counts"):
                    if row.get(key):
                        item.setdefault(key, {}).update(row[key])
    return found


def evaluators_added(folder: Path) -> set[str]:
    """The names of the evaluators that did not measure in the run itself."""
    return {_read(path)["evaluator"] for path in (folder / FOLDER).glob("*.json")}


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rows = all(isinstance(row["metrics"], dict) and row["query_id"] and row["method"] for row in content["rows"])
        if not rows or not are_cards({content["evaluator"]: content["card"]}):
            raise ValueError("it has other fields")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it, and add it anew") from error
    return content
