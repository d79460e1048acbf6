"""What a mirror of W&B holds of a finished run: scalars, histograms, one table of all queries. Read from the run folder only.

Names are `<evaluator>/<metric>/<method>`, the evaluator by its name in the config; what no card lists stands under "other".
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.results.metrics import Metrics
from vpo.results.schema import read_results
from vpo.storage.rows import whole_lines

# Of a result, and how a scalar's name ends.
ENDS = {"low": "low", "high": "high", "n": "n", "n_failed": "failed"}
OF_CLIPS = {"n_clips": "clips", "n_clips_failed": "clips_failed"}  # where a query has several clips
PICTURES = ("contact_sheet", "rewards")  # PNG files of a run folder


def results_in(folder: Path) -> Mapping[str, Any]:
    """The content of results.json; empty while the run has none."""
    path = folder / "results.json"
    return read_results(path) if path.exists() else {}


def scalars_of(results: Mapping[str, Any]) -> dict[str, float | None]:
    """Every mean, with the ends of its 95 % interval, its number of queries and of those that failed beside it.

    "alignment/aligned/dpo", "alignment/aligned_low/dpo", ..., "alignment/aligned_failed/dpo".
    """
    metrics = Metrics(results.get("evaluators", {}))
    found: dict[str, float | None] = {}
    for method, of_method in results.get("methods", {}).items():
        for name, result in of_method.items():
            found[scalar_name(metrics, name, method)] = result["mean"]
            for field, end in ENDS.items():
                found[scalar_name(metrics, name, method, end)] = result.get(field)
            for field, end in OF_CLIPS.items():
                if result.get(field) is not None:
                    found[scalar_name(metrics, name, method, end)] = result[field]
    return found


def scalar_name(metrics: Metrics, name: str, method: str, end: str = "") -> str:
    """`<evaluator>/<metric>/<method>`; with an end, `<evaluator>/<metric>_<end>/<method>`."""
    return f"{metrics.evaluator_of(name) or 'other'}/{name}{end and f'_{end}'}/{method}"


def values_of(folder: Path) -> dict[str, list[float]]:
    """The items' values of every metric, by `histograms/<evaluator>/<metric>/<method>`.

    Metrics of two values at most are left out, as their mean says it all, and those of the whole set, which no item has by itself.
    """
    metrics = Metrics(results_in(folder).get("evaluators", {}))
    found: dict[str, dict[str, list[float]]] = {}
    for item in whole_lines(folder / "items.jsonl"):
        for name, value in item["metrics"].items():
            if value is not None and not metrics[name].of_set:
                found.setdefault(name, {}).setdefault(item["method"], []).append(value)
    return {
        f"histograms/{scalar_name(metrics, name, method)}": values
        for name, by_method in found.items()
        if len({value for values in by_method.values() for value in values}) > 2
        for method, values in by_method.items()
    }


def table_of(folder: Path, clips: int) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of the table: a row a query, side by side what each method made of it.

    Columns are "query_id", "query", and by method "<method>/prompt", "<method>/clip" (a Path, of the first `clips` queries),
    "<method>/answers", "<method>/failed" and the metrics of the run's main table. Those in which no query has anything are left out.
    """
    items = whole_lines(folder / "items.jsonl")
    metrics = Metrics(results_in(folder).get("evaluators", {}))
    main = metrics.main(list(dict.fromkeys(name for item in items for name in item["metrics"])))
    with_clips = set(list(dict.fromkeys(item["query_id"] for item in items))[:clips])
    of_query: dict[str, dict[str, Any]] = {}
    for item in items:
        row = of_query.setdefault(item["query_id"], {"query_id": item["query_id"], "query": item["query"]})
        shown = item["clip"] and item["query_id"] in with_clips
        row |= {
            f"{item['method']}/{part}": value for part, value in _parts(item, folder if shown else None, main).items()
        }
    methods = dict.fromkeys(item["method"] for item in items)
    parts = ("prompt", "clip", "answers", "failed", *main)
    wanted = ["query_id", "query", *(f"{method}/{part}" for method in methods for part in parts)]
    columns = [name for name in wanted if any(row.get(name) is not None for row in of_query.values())]
    return columns, [[row.get(name) for name in columns] for row in of_query.values()]


def _parts(item: Mapping[str, Any], folder: Path | None, main: Sequence[str]) -> dict[str, Any]:
    clip = None if folder is None else folder / item["clip"]
    return {
        "prompt": item["prompt"],
        "clip": clip if clip is not None and clip.exists() else None,
        "answers": _lines(f"{who}: {said}" for who, said in item.get("answers", {}).items()),
        "failed": ", ".join(item.get("failures", {})) or None,
        **{name: item["metrics"].get(name) for name in main},
    }


def _lines(lines: Iterable[str]) -> str | None:
    return "\n".join(lines) or None
