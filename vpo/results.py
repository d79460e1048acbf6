"""From the entries of a run to its results: items, means with intervals, and which rows a picture shows."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vpo.records import Clip, Prompt, to_json
from vpo.statistics import summarize
from vpo.store import Entry

Made = Mapping[str, Mapping[str, Entry]]  # method -> part ("prompts", "clips", evaluator) -> entry


def gather_items(made: Made, evaluators: list[str], folder: Path) -> list[dict[str, Any]]:
    """One line a (query, method): the prompt, the clip's path relative to `folder`, and every metric."""
    items = []
    for method, entries in made.items():
        metrics: dict[str, dict[str, float | None]] = {}
        for evaluator in evaluators:
            for row in entries[evaluator].rows("items.jsonl", dict):
                metrics.setdefault(row["query_id"], {}).update(row["metrics"])
        clips = entries.get("clips")
        clip_of = {clip.prompt_id: clip for clip in clips.rows("clips.jsonl", Clip)} if clips else {}
        for prompt in entries["prompts"].rows("prompts.jsonl", Prompt):
            clip = clip_of.get(prompt.id)
            shown = clip is not None and clip.status == "ok"
            path = os.path.relpath(clips.folder / "clips" / clip.path, folder) if shown else None
            items.append(
                {
                    "query_id": prompt.query_id,
                    "query": prompt.query,
                    "method": method,
                    "prompt": prompt.text,
                    "clip": path,
                    "metrics": metrics.get(prompt.query_id, {}),
                }
            )
    return items


def summarize_items(items: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """{method: {metric: {mean, n, n_failed, ci95}}}; a metric counts the queries it applies to."""
    values: dict[str, dict[str, list[float | None]]] = {}
    for item in items:
        of_method = values.setdefault(item["method"], {})
        for name, value in item["metrics"].items():
            of_method.setdefault(name, []).append(value)
    return {
        method: {name: to_json(summarize(numbers)) for name, numbers in metrics.items()}
        for method, metrics in values.items()
    }


def contact_rows(items: list[dict[str, Any]], folder: Path, count: int) -> list[tuple[str, dict[str, str | None]]]:
    """The first `count` queries, spread evenly over the test set, with each method's clip."""
    clips: dict[str, dict[str, str | None]] = {}
    texts = {}
    for item in items:
        texts[item["query_id"]] = item["query"]
        clips.setdefault(item["query_id"], {})[item["method"]] = str(folder / item["clip"]) if item["clip"] else None
    ids = list(texts)
    shown = ids[:: max(1, len(ids) // count)][:count]
    return [(texts[one], clips[one]) for one in shown]
