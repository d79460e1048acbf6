"""Stage `evaluate`: one evaluator on one method's prompts and clips."""

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vpo.build import target_class
from vpo.interfaces import Evaluator
from vpo.records import Clip, Prompt, Query, Sample
from vpo.stages.bench import Bench, Node
from vpo.stages.score import absolute
from vpo.store import Entry


def evaluate(
    bench: Bench,
    name: str,
    evaluator: Node,
    shared: Mapping[str, Node],
    queries: Entry,
    prompts: Entry,
    clips: Entry,
    *,
    label: str,
) -> Entry:
    """Write `items.jsonl`: query_id and this evaluator's metrics, one line a test query.

    An evaluator whose constructor takes `judge` or `reward` gets the one of the config, built once and shared. `label` is the
    method's name.
    """
    kind = target_class(evaluator)
    wanted = {role: node for role, node in shared.items() if role in inspect.signature(kind).parameters}
    inputs = {"queries": queries, "prompts": prompts} | ({"clips": clips} if kind.needs_clips else {})

    def work(folder: Path) -> dict[str, int]:
        built = bench.build(evaluator, **{role: bench.build(node) for role, node in wanted.items()})
        samples = _samples(queries, prompts, clips if kind.needs_clips else None)
        measure = partial(_measure, evaluator=built)
        rows = bench.complete(samples, measure, folder / "items.jsonl", kind=dict, label=f"{name} of {label}")
        return _counts(rows)

    return bench.stage("evaluate", {"name": name, "evaluator": evaluator, **wanted}, inputs, work, f"{label} {name}")


def _counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many queries were measured, how many have no such metric ("n/a"), and at how many something failed."""
    failed = sum(None in row["metrics"].values() for row in rows)
    missing = sum(not row["metrics"] for row in rows)
    return {"measured": len(rows) - failed - missing} | ({"n/a": missing} if missing else {}) | {"failed": failed}


def _samples(queries: Entry, prompts: Entry, clips: Entry | None) -> list[Sample]:
    query_of = {query.id: query for query in queries.rows("test.jsonl", Query)}
    clip_of = {}
    if clips is not None:
        clip_of = {clip.prompt_id: absolute(clip, clips.folder / "clips") for clip in clips.rows("clips.jsonl", Clip)}
    return [Sample(query_of[one.query_id], one, clip_of.get(one.id)) for one in prompts.rows("prompts.jsonl", Prompt)]


def _measure(samples: Sequence[Sample], *, evaluator: Evaluator) -> list[dict[str, Any]]:
    measured = evaluator.measure(samples)
    return [
        {"query_id": one.query.id, "metrics": dict(metrics)} for one, metrics in zip(samples, measured, strict=True)
    ]
