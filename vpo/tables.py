"""The tables of one run: its methods against the metrics. Never imports torch; tables are rebuilt from files anywhere.

Tables over several runs are declared in YAML and built by `vpo.comparison`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vpo.metrics import Metric, in_order, metric
from vpo.table_formats import MISSING, Cell, Row, Table, write

__all__ = ["MISSING", "Cell", "Row", "Table", "bold_best", "run_tables", "value_cell", "write"]

# The columns of the main table, where a run measured them or was to. Flicker stands beside motion: frozen clips never flicker.
MAIN = ("aligned", "unsafe", "imprecise", "refusal", "safe", "reward", "scene", "flicker", "motion")
INTERVAL = "Mean over the queries ± half of its 95 % interval"

Methods = Mapping[str, Mapping[str, Mapping[str, Any]]]  # methods[method][metric] = {"mean", "n", "n_failed", "ci95"}


def run_tables(results: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> list[Table]:
    """The main table of a run, and where there are more metrics a second one: reward by dimension, scene by facet.

    Args:
        results: the content of `results.json`.
        labels: how methods are called in print; a method without a label goes by its name.
    """
    methods, run = results["methods"], results.get("run", {})
    names = {method: (labels or {}).get(method, method) for method in methods}
    measured = {name for metrics in methods.values() for name in metrics}
    # A chosen evaluator that could measure nothing (scene, without a truth) keeps its column, which bears its name.
    shown = measured | set(run.get("evaluators", ()))
    title = "Results" + (f" of {run['experiment']}" if "experiment" in run else "")
    title += f", seed {run['seed']}" if "seed" in run else ""
    main = _main_table(methods, names, [name for name in MAIN if name in shown], title)
    rest = in_order(measured - set(MAIN))
    return [main, _detail_table(methods, names, rest, title)] if rest else [main]


def value_cell(
    kind: Metric, mean: float | None, spread: float | None, fields: Mapping[str, float | int | None]
) -> Cell:
    """'94.7 ± 1.2', or '-' where nothing was measured."""
    if mean is None:
        return Cell(MISSING, fields)
    return Cell(kind.number(mean) + ("" if spread is None else f" ± {kind.number(spread)}"), fields)


def bold_best(kind: Metric, cells: Sequence[Cell]) -> list[Cell]:
    """The cells, those with the best mean in bold. Numbers that print alike are alike; where all do, none is best."""
    means = {i: float(kind.number(cell.fields["mean"])) for i, cell in enumerate(cells) if not cell.missing}
    if kind.better is None or len(set(means.values())) < 2:
        return list(cells)
    best = (max if kind.better == "higher" else min)(means.values())
    return [replace(cell, bold=means.get(i) == best) for i, cell in enumerate(cells)]


def _main_table(methods: Methods, names: Mapping[str, str], columns: Sequence[str], title: str) -> Table:
    made = [bold_best(metric(name), [_cell(metrics, name) for metrics in methods.values()]) for name in columns]
    rows = [Row(label, [column[i] for column in made]) for i, label in enumerate(names.values())]
    notes = [f"{INTERVAL}; bold: best of the column.", *_counts(methods, names, columns)]
    return Table(title, "Method", [metric(name).heading for name in columns], list(columns), rows, notes)


def _detail_table(methods: Methods, names: Mapping[str, str], listed: Sequence[str], title: str) -> Table:
    """The metrics down the side and the methods across: there are many metrics and few methods."""
    rows = [
        Row(metric(name).heading, bold_best(metric(name), [_cell(metrics, name) for metrics in methods.values()]))
        for name in listed
    ]
    notes = [f"{INTERVAL}; bold: best of the row.", *_counts(methods, names, listed)]
    return Table(f"{title}: in detail", "Metric", list(names.values()), list(methods), rows, notes, suffix="detail")


def _cell(metrics: Mapping[str, Mapping[str, Any]], name: str) -> Cell:
    result = metrics.get(name)
    return Cell() if result is None else value_cell(metric(name), result["mean"], result["ci95"], result)


def _counts(methods: Methods, names: Mapping[str, str], columns: Sequence[str]) -> list[str]:
    """Two notes: how many measurements stand behind the means, and which failed."""
    counts = {name: _span([metrics[name]["n"] for metrics in methods.values() if name in metrics]) for name in columns}
    usual = max(counts.values(), key=list(counts.values()).count, default="0")
    others = ", ".join(f"{metric(name).label} {count}" for name, count in counts.items() if count != usual)
    failed = [
        f"{metric(name).label} of {label} {metrics[name]['n_failed']}"
        for name in columns
        for label, metrics in zip(names.values(), methods.values(), strict=True)
        if name in metrics and metrics[name]["n_failed"]
    ]
    measured = f"n = {usual} ({others})." if others else f"n = {usual}."
    return [measured, f"Failed measurements: {', '.join(failed) or 'none'}."]


def _span(numbers: Sequence[int]) -> str:
    if not numbers:
        return "0"
    return str(min(numbers)) if min(numbers) == max(numbers) else f"{min(numbers)}-{max(numbers)}"
