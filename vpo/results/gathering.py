"""From the entries of a run to its results: items, means with intervals, and which rows a picture shows."""

import itertools
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.cards import Metric, Weighted
from vpo.records import Clip, Failure, Prompt, Query, Score, Verdict, to_json
from vpo.results.across import summaries_across
from vpo.results.answers import answers_of
from vpo.results.derived import with_derived
from vpo.results.metrics import Metrics
from vpo.results.resampling import Interval, of_few_within
from vpo.stages.copies import copy_id, never_given
from vpo.storage.store import Entry

Made = Mapping[str, Mapping[str, Mapping[str, Entry]]]  # method -> "parts" or "evaluators" -> name -> entry
Items = list[dict[str, Any]]

# By the name of a part: its file of records, and of what its failures have the id.
_FILES = {
    "prompts": ("prompts.jsonl", "query"),
    "clips": ("clips.jsonl", "prompt"),
    "verdicts": ("verdicts.jsonl", "prompt"),
    "query_verdicts": ("verdicts.jsonl", "query"),
    "scores": ("scores.jsonl", "prompt"),
}


def gather_items(made: Made, metrics: Metrics, folder: Path) -> Items:
    """One line a (test query, method), whatever failed on it.

    It holds the prompt (None where the method failed), the clip's path relative to `folder` (with several clips a prompt those of all
    in "clips", too), every metric, "weights" of metrics where there are some, "clip_counts" of metrics of several clips
    ({name: [clips measured, clips failed]}), and "failures" by stage where there are some: {"render": failure,
    "evaluate motion": failure}; of the second clip it is "render #1". "answers" has what judge and
    reward said, and the models that evaluators asked.
    """
    items = [item for method, entries in made.items() for item in _items_of(method, entries, folder)]
    _fail_parts(items, metrics)
    return items


def summarize_items(items: Items, metrics: Metrics) -> dict[str, dict[str, dict[str, Any]]]:
    """{method: {metric: {mean, n, n_failed, ci95, low, high}}}, each by the aggregate that its card names, and what is derived from
    these.

    `n` counts the queries on which the metric was measured, `n_failed` those on which it was not though it applies to them. Of a
    metric of several clips `n_clips` and `n_clips_failed` count the same of clips. Of a derived number `n_failed` counts the queries
    on which some metric failed that it is made of, `n` the others that have such a metric; `part` is there where these are a part of a
    benchmark.
    """
    values: dict[str, dict[str, list[tuple[str, float | None, float]]]] = {}
    clips: dict[str, dict[str, list[tuple[int, int]]]] = {}
    for item in items:
        of_method = values.setdefault(item["method"], {})
        for name, value in item["metrics"].items():
            weight = item.get("weights", {}).get(name, 1.0)
            of_method.setdefault(name, []).append((item["query_id"], value, weight))
            if name in item.get("clip_counts", {}):
                measured, failed = item["clip_counts"][name]
                clips.setdefault(item["method"], {}).setdefault(name, []).append((measured, failed))
    across = summaries_across(items, metrics.listed)
    found = {
        method: {
            name: _result(metrics[name], rows) | _clip_counts(clips.get(method, {}).get(name, []))
            for name, rows in of_method.items()
        }
        | across.get(method, {})
        for method, of_method in values.items()
    }
    pairs = {one.name for one in metrics.listed if one.pairs and not one.across}
    return {
        method: with_derived(of_method, metrics.derived, values[method], pairs) for method, of_method in found.items()
    }


def contact_rows(items: Items, folder: Path, count: int) -> list[tuple[str, dict[str, str | None]]]:
    """The first `count` queries, spread evenly over the test set, with each method's clip."""
    clips: dict[str, dict[str, str | None]] = {}
    texts = {}
    for item in items:
        texts[item["query_id"]] = item["query"]
        clips.setdefault(item["query_id"], {})[item["method"]] = str(folder / item["clip"]) if item["clip"] else None
    ids = list(texts)
    shown = ids[:: max(1, len(ids) // count)][:count]
    return [(texts[one], clips[one]) for one in shown]


def _items_of(method: str, entries: Mapping[str, Mapping[str, Entry]], folder: Path) -> Iterator[dict[str, Any]]:
    parts = entries["parts"]
    prompts = {one.query_id: one for one in parts["prompts"].rows("prompts.jsonl", Prompt)}
    clips = {one.prompt_id: one for one in parts["clips"].rows("clips.jsonl", Clip)} if "clips" in parts else {}
    rows = [(one.rows("items.jsonl", dict), one.rows("failed.jsonl", dict)) for one in entries["evaluators"].values()]
    rows_of = [{row["query_id"]: row for row in [*measured, *failed]} for measured, failed in rows]
    failures = list(_failures(entries))
    clips_failed = parts["clips"].failures("clips.jsonl") if "clips" in parts else {}
    verdicts, query_verdicts, scores = (
        {one.prompt_id: one for one in parts[part].rows(_FILES[part][0], kind)} if part in parts else {}
        for part, kind in (("verdicts", Verdict), ("query_verdicts", Verdict), ("scores", Score))
    )
    for query in parts["queries"].rows("test.jsonl", Query):
        prompt = prompts.get(query.id)
        ids = _copies(prompt.id, clips.keys() | clips_failed.keys()) if prompt else []
        paths = [_usable(clips.get(one), parts, folder) for one in ids]
        failed = {
            f"{stage} #{number}" if number else stage: to_json(found[id])
            for stage, kind, found in failures
            for number, id in enumerate([query.id] if kind == "query" else ids)
            if id in found and not never_given(found[id], number)
        }
        answers = answers_of(
            verdicts.get(prompt.id) if prompt else None,
            [scores[id] for id in ids if id in scores],
            query_verdicts.get(query.id),
            {name: row[query.id].get("answers", {}) for name, row in zip(entries["evaluators"], rows_of, strict=True)},
        )
        weights, counts = (
            {name: one for row in rows_of for name, one in row[query.id].get(key, {}).items()}
            for key in ("weights", "clip_counts")
        )
        yield {
            "query_id": query.id,
            "query": query.text,
            "method": method,
            "prompt": prompt.text if prompt else None,
            "clip": next((path for path in paths if path), None),
            **({"clips": paths} if len(paths) > 1 else {}),
            "metrics": {name: value for row in rows_of for name, value in row[query.id]["metrics"].items()},
            **({"weights": weights} if weights else {}),
            **({"clip_counts": counts} if counts else {}),
            **({"answers": answers} if answers else {}),
            **({"failures": failed} if failed else {}),
        }


def _copies(prompt_id: str, known: Collection[str]) -> list[str]:
    """The ids of a prompt's clips, made or failed; its own where no clip was asked for."""
    numbered = itertools.takewhile(known.__contains__, (copy_id(prompt_id, number) for number in itertools.count()))
    return list(numbered) or [prompt_id]


def _usable(clip: Clip | None, parts: Mapping[str, Entry], folder: Path) -> str | None:
    """Where a clip lies, relative to `folder`; None where it cannot be used."""
    if clip is None or clip.status != "ok":
        return None
    return os.path.relpath(parts["clips"].folder / "clips" / clip.path, folder)


def _failures(entries: Mapping[str, Mapping[str, Entry]]) -> Iterator[tuple[str, str, Mapping[str, Failure]]]:
    """(stage, of what the ids are, failures by id) of everything that was made for a method."""
    for part, (file, kind) in _FILES.items():
        entry = entries["parts"].get(part)
        if entry is not None:
            yield entry.stage + (" queries" if part == "query_verdicts" else ""), kind, entry.failures(file)
    for name, entry in entries["evaluators"].items():
        yield f"{entry.stage} {name}", "query", entry.failures("items.jsonl")


def _fail_parts(items: Items, metrics: Metrics) -> None:
    """Where a metric failed and its item names no part of it, the parts that other items have have failed, too."""
    parts: dict[str, list[str]] = {}
    for item in items:
        for name in item["metrics"]:
            whole = metrics.whole_of(name)
            if whole is not None and name not in parts.setdefault(whole.name, []):
                parts[whole.name].append(name)
    for item in items:
        own = item["metrics"]
        for whole, names in parts.items():
            if whole in own and own[whole] is None and not own.keys() & set(names):
                own.update(dict.fromkeys(names))


def _pooled(rows: Sequence[tuple[str, float | None, float]]) -> list[tuple[float | None, float]]:
    """(value, weight) by query. Rows of one query are no independent evidence: they are drawn or left out together.

    They count by their weights; where a query has one row, that is itself. A query of which no row was measured has failed.
    """
    of_query: dict[str, list[tuple[float, float]]] = {}
    for query, value, weight in rows:
        measured = of_query.setdefault(query, [])
        if value is not None:
            measured.append((value, weight))
    return [_one_of(measured) for measured in of_query.values()]


def _one_of(measured: Sequence[tuple[float, float]]) -> tuple[float | None, float]:
    if len(measured) < 2:
        return measured[0] if measured else (None, 1.0)
    pooled = Weighted.pooled(*zip(*measured, strict=True))
    return pooled.value, pooled.weight


def _clip_counts(counts: Sequence[tuple[int, int]]) -> dict[str, int]:
    """How many clips stand behind a number, and how many more failed; nothing where each query has one clip."""
    if not counts:
        return {}
    return {"n_clips": sum(one for one, _ in counts), "n_clips_failed": sum(failed for _, failed in counts)}


def _result(metric: Metric, rows: Sequence[tuple[str, float | None, float]]) -> dict[str, Any]:
    # Here, because it imports torch, which a plan of a run can do without.
    from vpo.results.aggregates import ENDS, aggregated

    pairs = _pooled(rows)
    measured = [(value, weight) for value, weight in pairs if value is not None]
    found: dict[str, float | None] = {"mean": None}
    if measured:
        values, weights = zip(*measured, strict=True)
        found = aggregated(metric.aggregate, values, weights, share=metric.is_share)
        low, high = found["low"], found["high"]
        if metric.range is not None and low is not None and high is not None:
            ends = of_few_within(low, high, len(measured), *metric.range)
            found |= {} if ends == (low, high) else {"low": ends[0], "high": ends[1], "ci95": Interval(*ends).half}
    counts = {"n": len(measured), "n_failed": len(pairs) - len(measured)}
    return {"mean": found["mean"], **counts, **{end: found.get(end) for end in ENDS}}
