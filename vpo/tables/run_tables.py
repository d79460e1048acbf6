"""The tables of one run: its methods against the metrics. Never imports torch; tables are rebuilt from files anywhere.

Tables over several runs are declared in YAML and built by `vpo.tables.comparison`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vpo.cards import Metric
from vpo.results.metrics import Metrics
from vpo.tables.formats import ENDS, MISSING, Cell, Table, TableRow, write
from vpo.tables.marks import ALIKE, ALPHA, PARTIAL, TrainedOn, marked_heading, trained_notes, trained_on

__all__ = [
    "MISSING",
    "Cell",
    "Table",
    "TableRow",
    "bold_best",
    "doubt_notes",
    "ends_notes",
    "run_tables",
    "value_cell",
    "write",
]

DOUBTFUL, DOUBTFUL_SHARE = "†", 0.02  # a mean is marked where a greater share of its measurements failed
INTERVAL = "Mean over the queries ± half of its 95 % interval"
UNEVEN = 1.5  # times that one side of an interval is longer than the other, from which both ends are printed

Methods = Mapping[str, Mapping[str, Mapping[str, Any]]]  # methods[method][metric] = {"mean", "n", "n_failed", "ci95"}


def run_tables(results: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> list[Table]:
    """The main table of a run; where there are several methods that of their paired differences from the first one; and where there
    are more metrics a last one: reward by dimension, scene by facet.

    Args:
        results: the content of `results.json`. Where it holds no cards of evaluators (those of an older version do not), all metrics
            stand in the main table under their plain names.
        labels: how methods are called in print; a method without a label goes by its name.
    """
    methods, run = results["methods"], results.get("run", {})
    names = {method: (labels or {}).get(method, method) for method in methods}
    metrics = Metrics(results.get("evaluators", {}))
    measured = list(dict.fromkeys(name for of_method in methods.values() for name in of_method))
    title = "Results" + (f" of {run['experiment']}" if "experiment" in run else "")
    title += f", seed {run['seed']}" if "seed" in run else ""
    columns = metrics.main(measured)
    trained = trained_on(metrics, {*columns, *measured}, run)
    gains = results.get("gains") or {}
    tables = [_main_table(methods, names, [metrics[name] for name in columns], title, trained, gains)]
    if gains.get("differences"):
        compared = [metrics[name] for name in columns if name in gains["differences"]]
        tables.append(_gain_table(gains, names, compared, title, trained))
    rest = [metrics[name] for name in metrics.in_order(set(measured) - set(columns))]
    return [*tables, _detail_table(methods, names, rest, title, trained)] if rest else tables


def value_cell(
    kind: Metric, mean: float | None, spread: float | None, fields: Mapping[str, float | int | None]
) -> Cell:
    """'94.7 ± 1.2', or '-' where nothing was measured; '94.7† ± 1.2' where too many measurements failed, '94.7§' of a part of a
    benchmark.

    '100.0 [96.3, 100.0]' where `fields` hold the ends of the interval ("low", "high") and these lie unevenly about the mean.
    """
    if mean is None:
        return Cell(MISSING, fields)
    number = kind.number(mean) + (DOUBTFUL if _doubtful(fields) else "") + (PARTIAL if fields.get("part") else "")
    low, high = fields.get("low"), fields.get("high")
    if low is not None and high is not None and max(high - mean, mean - low) > UNEVEN * min(high - mean, mean - low):
        return Cell(f"{number} [{kind.number(low)}, {kind.number(high)}]", fields)
    return Cell(number + ("" if spread is None else f" ± {kind.number(spread)}"), fields)


def ends_notes(rows: Sequence[TableRow]) -> list[str]:
    """What a cell with two ends means, where there is one."""
    return [ENDS] if any(" [" in cell.text for row in rows for cell in row.cells) else []


def doubt_notes(rows: Sequence[TableRow]) -> list[str]:
    """What the marks of a mean mean, where a cell has them."""
    cells = [cell for row in rows for cell in row.cells]
    marked = any(DOUBTFUL in cell.text for cell in cells)
    parts = [part for cell in cells if (part := cell.fields.get("part")) is not None]
    notes = [f"{DOUBTFUL}: over {DOUBTFUL_SHARE:.0%} of the measurements failed."] if marked else []
    if parts:
        notes.append(
            f"{PARTIAL}: of a part of the benchmark ({min(parts):.1%} of its measurements), so no number of it."
        )
    return notes


def _doubtful(fields: Mapping[str, float | int | None]) -> bool:
    """Whether too many queries failed, or too many clips of a metric of several clips a query."""
    counts = [(fields.get(of) or 0, fields.get(f"{of}_failed") or 0) for of in ("n", "n_clips")]
    return any(failed > DOUBTFUL_SHARE * (measured + failed) for measured, failed in counts)


def failed_counts(fields: Mapping[str, float | int | None]) -> str:
    """How many measurements failed, for people: "3", "3 (of clips 14)", or "0 (of clips 2)"; nothing where none did."""
    failed, clips = fields.get("n_failed") or 0, fields.get("n_clips_failed") or 0
    return f"{failed} (of clips {clips})" if clips else str(failed or "")


def bold_best(kind: Metric, cells: Sequence[Cell]) -> list[Cell]:
    """The cells, those with the best mean in bold. Numbers that print alike are alike; where all do, none is best."""
    means = {i: float(kind.number(cell.fields["mean"])) for i, cell in enumerate(cells) if not cell.missing}
    if kind.better is None or len(set(means.values())) < 2:
        return list(cells)
    best = (max if kind.better == "higher" else min)(means.values())
    return [replace(cell, bold=means.get(i) == best) for i, cell in enumerate(cells)]


def _main_table(
    methods: Methods,
    names: Mapping[str, str],
    columns: Sequence[Metric],
    title: str,
    trained: TrainedOn,
    gains: Mapping[str, Any],
) -> Table:
    made = [
        _marked(bold_best(metric, [_cell(results, metric) for results in methods.values()]), metric, methods, gains)
        for metric in columns
    ]
    rows = [TableRow(label, [column[i] for column in made]) for i, label in enumerate(names.values())]
    notes = [
        f"{INTERVAL}; bold: best of the column.",
        *ends_notes(rows),
        *_counts(methods, names, columns),
        *doubt_notes(rows),
        *_alike_notes(rows, names, gains),
    ]
    shown = {one.name: one for one in columns}
    notes += trained_notes(columns, {name: of for name, of in trained.items() if name in shown}, names)
    headings, keys = [marked_heading(one.heading, name, trained) for name, one in shown.items()], list(shown)
    return Table(title, "Method", headings, keys, rows, notes)


def _marked(cells: Sequence[Cell], metric: Metric, methods: Methods, gains: Mapping[str, Any]) -> list[Cell]:
    """The cells of a column, marked where the queries do not tell a method from the reference."""
    differences = gains.get("differences", {}).get(metric.name, {})
    alike = {method for method, one in differences.items() if one["p_holm"] >= ALPHA}
    return [
        replace(cell, text=f"{cell.text} {ALIKE}") if method in alike else cell
        for method, cell in zip(methods, cells, strict=True)
    ]


def _alike_notes(rows: Sequence[TableRow], names: Mapping[str, str], gains: Mapping[str, Any]) -> list[str]:
    """What the mark means, where a cell has it."""
    if not any(ALIKE in cell.text for row in rows for cell in row.cells):
        return []
    count = sum(map(len, gains["differences"].values()))
    return [
        f"{ALIKE}: not distinguishable from {names[gains['reference']]}, p ≥ {ALPHA} (paired permutation test by query, Holm over the "
        f"{count} differences)."
    ]


def _gain_table(
    gains: Mapping[str, Any], names: Mapping[str, str], columns: Sequence[Metric], title: str, trained: TrainedOn
) -> Table:
    """Each method less the reference, on the same queries."""
    reference, differences = names[gains["reference"]], gains["differences"]
    others = [name for name in names if any(name in of_metric for of_metric in differences.values())]
    rows = [
        TableRow(
            f"{names[name]} − {reference}",
            [_gain_cell(metric, differences[metric.name].get(name)) for metric in columns],
        )
        for name in others
    ]
    here = {one.name for one in columns}
    notes = [
        "Mean difference [95 % interval]; bold: the interval excludes 0.",
        f"Paired bootstrap over the queries, {gains['resamples']:,} resamples; all clips of a query together.",
        *_alike_notes(rows, names, gains),
        *trained_notes(columns, {name: of for name, of in trained.items() if name in here}, names),
    ]
    headings = [marked_heading(one.heading, one.name, trained) for one in columns]
    return Table(f"{title}: gains", "Difference", headings, [one.name for one in columns], rows, notes, suffix="gain")


def _gain_cell(metric: Metric, gain: Mapping[str, float | int] | None) -> Cell:
    if gain is None:
        return Cell()
    mean, low, high = (metric.number(gain[end], sign=True) for end in ("mean", "low", "high"))
    text = f"{mean} [{low}, {high}]" + (f" {ALIKE}" if gain["p_holm"] >= ALPHA else "")
    return Cell(text, gain, bold=gain["low"] > 0 or gain["high"] < 0)


def _detail_table(
    methods: Methods, names: Mapping[str, str], listed: Sequence[Metric], title: str, trained: TrainedOn
) -> Table:
    """The metrics down the side and the methods across: there are many metrics and few methods."""
    rows = [
        TableRow(
            marked_heading(metric.heading, metric.name, trained),
            bold_best(metric, [_cell(results, metric) for results in methods.values()]),
        )
        for metric in listed
    ]
    notes = [
        f"{INTERVAL}; bold: best of the row.",
        *ends_notes(rows),
        *_counts(methods, names, listed),
        *doubt_notes(rows),
    ]
    here = {one.name for one in listed}
    notes += trained_notes(listed, {name: of for name, of in trained.items() if name in here}, names)
    return Table(f"{title}: in detail", "Metric", list(names.values()), list(methods), rows, notes, suffix="detail")


def _cell(results: Mapping[str, Mapping[str, Any]], metric: Metric) -> Cell:
    result = results.get(metric.name)
    return Cell() if result is None else value_cell(metric, result["mean"], result["ci95"], result)


def _counts(methods: Methods, names: Mapping[str, str], columns: Sequence[Metric]) -> list[str]:
    """Two notes: how many measurements stand behind the means, and which failed."""
    counts = {
        metric.label: _span([results[metric.name]["n"] for results in methods.values() if metric.name in results])
        for metric in columns
    }
    usual = max(counts.values(), key=list(counts.values()).count, default="0")
    others = ", ".join(f"{label} {count}" for label, count in counts.items() if count != usual)
    failed = [
        f"{metric.label} of {label} {count}"
        for metric in columns
        for label, results in zip(names.values(), methods.values(), strict=True)
        if (count := failed_counts(results.get(metric.name, {})))
    ]
    measured = f"n = {usual} ({others})." if others else f"n = {usual}."
    return [measured, f"Failed measurements: {', '.join(failed) or 'none'}."]


def _span(numbers: Sequence[int]) -> str:
    if not numbers:
        return "0"
    return str(min(numbers)) if min(numbers) == max(numbers) else f"{min(numbers)}-{max(numbers)}"
