"""Tables over several runs: rows averaged over seeds, and paired differences. Reads run folders only; no torch, no W&B.

A row averages over seeds: each cell is the mean over the seeds of the runs' means. Rows are compared only where they
were measured alike, by the same judge, reward and evaluators on the same queries; anything else is refused.
"""

import difflib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from vpo.cards import Metric
from vpo.checking.choices import files_of
from vpo.errors import UserError
from vpo.results.gains import FEWER, Items, Sides, gain_between
from vpo.results.intervals import RESAMPLES, Gain, holm, mean_and_deviation
from vpo.results.metrics import Metrics
from vpo.results.run_folder import ABSENT, Run
from vpo.tables.marks import ALIKE, ALPHA, TrainedOn, marked_heading, trained_notes, trained_on
from vpo.tables.run_tables import Cell, Table, TableRow, bold_best, doubt_notes, ends_notes, failed_counts, value_cell
from vpo.tables.spec import RowSpec, TableSpec, read_spec
from vpo.tables.stage_times import stage_times

log = logging.getLogger(__name__)


def compare(folders: Iterable[Path], declared: Path) -> list[Table]:
    """The declared table over these runs and, where `gain` is declared, the table of paired differences; where `times` is, that of
    the stages' seconds.

    Runs that no row asks for are left out, damaged ones with a warning. Raises UserError on a malformed declaration, an
    unfinished or damaged run that a row takes, two runs of one row with the same seed, runs that were not measured alike,
    and names of methods or metrics that nothing here has.
    """
    spec = read_spec(declared)
    runs = [Run(Path(folder)) for folder in folders]
    readable = _readable(spec, runs)
    _check_methods(spec, readable)
    chosen = {row.label: _runs_of(row, readable, spec) for row in spec.rows}
    used = list({run.folder: run for of_seed in chosen.values() for run in of_seed.values()}.values())
    metrics = Metrics.of_all(run.cards for run in used or readable)
    _check_metrics(spec, readable, used, metrics)
    _check_alike(used)
    _check_counts(spec, used)
    comparison = Comparison(spec, chosen, used, metrics)
    tables = [_main_table(comparison)]
    if spec.pairs:
        tables.append(_gain_table(comparison))
    if spec.times:
        tables.append(stage_times(used))
    return tables


@dataclass(frozen=True)
class Comparison:
    """A declared table with its runs: by label of the row and seed, and all that are used; and what their metrics are."""

    spec: TableSpec
    chosen: Mapping[str, Mapping[int, Run]]
    used: Sequence[Run]
    metrics: Metrics

    def heading(self, name: str) -> str:
        """How a column is headed, by the label that the declaration gives it, with the mark of what rows were trained on."""
        return marked_heading(self.shown(name).heading, name, self.trained)

    def shown(self, name: str) -> Metric:
        """The metric with the label that the declaration gives it."""
        metric = self.metrics[name]
        return replace(metric, label=self.spec.columns.get(name) or metric.label)

    @cached_property
    def trained(self) -> TrainedOn:
        """By metric, the labels of the rows that were trained on what judges it, in any of their runs."""
        found: dict[str, list[str]] = {}
        for row in self.spec.rows:
            for run in self.chosen[row.label].values():
                of_run = trained_on(
                    self.metrics, {*self.spec.columns, *self.spec.gain_metrics}, run.results.get("run", {})
                )
                for name in (name for name, methods in of_run.items() if row.method in methods):
                    found.setdefault(name, []).append(row.label)
        return found

    def trained_notes(self, names: Collection[str]) -> list[str]:
        """What the mark means, for a table of these metrics."""
        trained = {name: labels for name, labels in self.trained.items() if name in names}
        labels = {row.label: row.label for row in self.spec.rows}
        return trained_notes([self.shown(name) for name in names], trained, labels)


def _readable(spec: TableSpec, runs: Sequence[Run]) -> list[Run]:
    """The runs without those that are damaged and that no row takes. Raises UserError for a damaged one that a row takes."""
    found = []
    for run in runs:
        if run.damage is None:
            found.append(run)
        elif any(run.may_fit(row) for row in spec.rows):
            raise run.damage
        else:
            log.warning("%s; no row takes it, so it is left out", run.damage)
    return found


def _check_methods(spec: TableSpec, runs: Sequence[Run]) -> None:
    """A row's method is that of a run, or of a config (then its runs may still be made). Raises UserError on others."""
    made = {name for run in runs for name in run.results["methods"]}
    for row in spec.rows:
        if row.method not in made | configured_methods():
            known = made or configured_methods()
            raise UserError(
                f"{spec.path}: no run has the method {row.method!r} of row {row.label!r}; {_hint(row.method, known)}"
            )


def configured_methods() -> set[str]:
    """The methods that `vpo run method=[...]` knows, ours and those of the user's own conf/, by their rows' names."""
    lines = [file.read_text(encoding="utf-8").partition("\n")[0] for file in files_of("method")]
    return {line.rpartition("method.")[2].strip() for line in lines if line.startswith("# @package method.")}


def _check_metrics(spec: TableSpec, runs: Sequence[Run], used: Sequence[Run], metrics: Metrics) -> None:
    """Once rows have runs, a metric is one that some run has, or one that a card lists (a run may lack it); and a gain is a
    difference of means. UserError on others.
    """
    known = {name for run in runs for metrics in run.results["methods"].values() for name in metrics}
    for name in [*spec.columns, *spec.gain_metrics]:
        if used and name not in known and name not in metrics:
            raise UserError(f"{spec.path}: no run has the metric {name!r}; {_hint(name, known)}")
    for name in spec.gain_metrics:
        if not metrics.can_be_compared(name):
            raise UserError(
                f"{spec.path}: gain.metrics has {name!r}, which is no mean over the queries but {metrics[name].aggregate}'s; no "
                "interval of its paired differences is defined, so leave it out"
            )


def _hint(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"{f'did you mean {near[0]}? ' if near else ''}known are {', '.join(sorted(known))}"


def _runs_of(row: RowSpec, runs: Sequence[Run], spec: TableSpec) -> dict[int, Run]:
    """The runs of a row, by seed."""
    for path in row.where:
        if runs and all(run.value(path) is ABSENT for run in runs):
            raise UserError(f"{spec.path}: where of row {row.label!r} names {path!r}, which no run's config has")
    found: dict[int, Run] = {}
    for run in runs:
        fits = all(run.value(path) == value for path, value in row.where.items())
        if not fits or row.method not in run.results["methods"]:
            continue
        seed = run.config["seed"]
        if seed in found:
            both = f"{found[seed].folder} and {run.folder}"
            raise UserError(
                f"{spec.path}: row {row.label!r} fits two runs with seed {seed}, {both}; narrow its `where`"
            )
        found[seed] = run
    return dict(sorted(found.items()))


def _check_alike(runs: Sequence[Run]) -> None:
    """Refuse to put numbers beside one another that were not measured in the same way."""
    measured = [run.measured_by() for run in runs]
    for name in measured[0] if measured else ():
        # Of prompts and clips that others made the queries are compared, and not the files that they came from.
        alike = [
            (run, by[name]) for run, by in zip(runs, measured, strict=True) if name != "dataset" or not run.of_others
        ]
        for run, by in alike[1:]:
            if by != alike[0][1]:
                raise UserError(
                    f"{alike[0][0].folder} and {run.folder} differ in {name}; such runs cannot share a table"
                )


def _check_counts(spec: TableSpec, runs: Sequence[Run]) -> None:
    """Every row of a column must have tried the metric on as many queries as the others."""
    methods = {row.method for row in spec.rows}
    for name in spec.columns:
        found: dict[int, Run] = {}
        for run in runs:
            for method in methods & run.results["methods"].keys():
                result = run.results["methods"][method].get(name)
                if result is not None:
                    found.setdefault(result["n"] + result["n_failed"], run)
        if len(found) > 1:
            (first, run), (second, other) = list(found.items())[:2]
            where = f"{first} queries ({run.folder}) and {second} ({other.folder})"
            raise UserError(f"{spec.path}: {name} was measured on {where}; such numbers cannot share a column")


def _main_table(comparison: Comparison) -> Table:
    spec, chosen, metrics = comparison.spec, comparison.chosen, comparison.metrics
    single = all(len(of_seed) <= 1 for of_seed in chosen.values())
    columns = []
    for name in spec.columns:
        cells = [_cell(metrics[name], row, chosen[row.label].values(), single) for row in spec.rows]
        columns.append(_marked(comparison, metrics[name], bold_best(metrics[name], cells)))
    rows = []
    for number, row in enumerate(spec.rows):
        seeds = len(chosen[row.label])
        rows.append(TableRow(row.label, [*(column[number] for column in columns), Cell(str(seeds), {"n": seeds})]))
    meaning = (
        "Mean over the queries ± half of its 95 % interval" if single else "Mean ± standard deviation over the seeds"
    )
    notes = [
        f"{meaning}; bold: best of the column.",
        *ends_notes(rows),
        *spec.notes,
        *_shortfall(spec, chosen),
        *doubt_notes(rows),
    ]
    notes += comparison.trained_notes(spec.columns)
    if any(ALIKE in cell.text for row in rows for cell in row.cells):
        notes.append(
            f"{ALIKE}: not distinguishable from the best of its column, p ≥ {ALPHA} (as in the table of gains; Holm over the column)."
        )
    failed = [
        f"{spec.columns[name] or metrics[name].label} of {row.label} {count}"
        for number, name in enumerate(spec.columns)
        for row in rows
        if (count := failed_counts(row.cells[number].fields))
    ]
    notes += [f"Failed measurements, over all seeds: {', '.join(failed)}."] if failed else []
    if any(row.paper for row in spec.rows):
        notes.append("In brackets: the paper's number.")
    headings, keys = [*map(comparison.heading, spec.columns), "Seeds"], [*spec.columns, "seeds"]
    return Table(spec.title, "Method", headings, keys, rows, notes, [run.source for run in comparison.used])


def _marked(comparison: Comparison, metric: Metric, cells: Sequence[Cell]) -> list[Cell]:
    """The cells of a column, marked where the queries do not tell them from the best one."""
    rows = comparison.spec.rows
    best = next((place for place, cell in enumerate(cells) if cell.bold), None)
    if best is None or not comparison.metrics.can_be_compared(metric.name):
        return list(cells)
    p_values: dict[int, float] = {}
    for place, cell in enumerate(cells):
        if cell.bold or cell.missing:
            continue
        gain = _gain(comparison.metrics, metric.name, _sides(comparison, rows[best], rows[place]), resamples=FEWER)
        if gain is not None:
            p_values[place] = gain.p
    alike = {place for place, p in zip(p_values, holm(list(p_values.values())), strict=True) if p >= ALPHA}
    return [replace(cell, text=f"{cell.text} {ALIKE}") if i in alike else cell for i, cell in enumerate(cells)]


def _cell(metric: Metric, row: RowSpec, runs: Iterable[Run], single: bool) -> Cell:
    """The mean over the seeds, ± their standard deviation (or, with one seed everywhere, the interval over queries)."""
    results = [run.results["methods"][row.method].get(metric.name) for run in runs]
    tried = [result for result in results if result is not None]
    measured = [result for result in tried if result["mean"] is not None]
    paper = row.paper.get(metric.name)
    mean, spread = mean_and_deviation([one["mean"] for one in measured]) if measured else (None, None)
    if single and measured:
        spread = measured[0]["ci95"]
    counts = {count: sum(one[count] for one in tried) for count in ("n", "n_failed")}
    of_clips = [count for count in ("n_clips", "n_clips_failed") if any(one.get(count) is not None for one in tried)]
    counts |= {count: sum(one.get(count) or 0 for one in tried) for count in of_clips}
    fields = {"mean": mean, "spread": spread, "seeds": len(measured), **counts}
    parts = [one["part"] for one in measured if one.get("part") is not None]
    fields |= {"part": min(parts)} if parts else {}
    if single and measured and measured[0].get("low") is not None:
        fields |= {end: measured[0][end] for end in ("low", "high")}
    if paper is None:
        return value_cell(metric, mean, spread, fields)
    cell = value_cell(metric, mean, spread, {**fields, "paper": paper})
    return Cell(f"{cell.text} ({paper:.{metric.decimals}f})", cell.fields)


def _shortfall(spec: TableSpec, chosen: Mapping[str, Mapping[int, Run]]) -> list[str]:
    """A note on the rows with fewer seeds than declared."""
    wanted = spec.seeds or 0
    short = [f"{label} has {len(of_seed)}" for label, of_seed in chosen.items() if len(of_seed) < wanted]
    return [f"Incomplete: {wanted} seeds are due, {', '.join(short)}."] if short else []


def _gain_table(comparison: Comparison) -> Table:
    spec, metrics, names = comparison.spec, comparison.metrics, list(comparison.spec.gain_metrics)
    row_of = {row.label: row for row in spec.rows}
    compared = [_sides(comparison, row_of[better], row_of[worse]) for better, worse in spec.pairs]
    gains = [[_gain(metrics, name, sides) for name in names] for sides in compared]
    p_values = [gain.p for of_pair in gains for gain in of_pair if gain is not None]
    corrected, count = iter(holm(p_values)), len(p_values)
    rows, failed = [], []
    for (better, worse), sides, of_pair in zip(spec.pairs, compared, gains, strict=True):
        label, cells = f"{better} − {worse}", []
        for name, gain in zip(names, of_pair, strict=True):
            lost = len(set().union(*(_failed(items, method, name) for items, method in sides)))
            cells.append(Cell() if gain is None else _gain_cell(metrics[name], gain, next(corrected), lost))
            failed += [f"{metrics[name].label} of {label} {lost}"] if lost else []
        rows.append(TableRow(label, cells))
    notes = [
        "Mean difference [95 % interval], and in how many seeds it has this sign; bold: the interval excludes 0.",
        "Per query the mean over the seeds; paired bootstrap over the queries, 10,000 resamples.",
        f"{ALIKE}: not distinguishable, p ≥ {ALPHA} (paired permutation test, corrected after Holm over the {count} differences).",
    ]
    notes += [f"Left out, as a measurement failed on either side: {', '.join(failed)}."] if failed else []
    notes += comparison.trained_notes(names)
    headings = [comparison.heading(name) for name in names]
    sources = [run.source for run in comparison.used]
    return Table(f"{spec.title}: gains", "Difference", headings, names, rows, notes, sources, "gain")


def _sides(comparison: Comparison, one: RowSpec, other: RowSpec) -> Sides:
    """Two rows as they are compared: the items of the seeds that both have, and their methods."""
    chosen = comparison.chosen
    seeds = sorted(chosen[one.label].keys() & chosen[other.label].keys())
    return [([chosen[row.label][seed].items for seed in seeds], row.method) for row in (one, other)]


def _gain(metrics: Metrics, name: str, sides: Sides, resamples: int = RESAMPLES) -> Gain | None:
    return gain_between(metrics[name], metrics.derived_of(name), sides, resamples)


def _failed(runs: Sequence[Items], method: str, name: str) -> set[tuple[int, str]]:
    """(number of the run, query id) wherever the metric applies and failed."""
    return {
        (number, item["query_id"])
        for number, items in enumerate(runs)
        for item in items
        if item["method"] == method and item["metrics"].get(name, 0) is None
    }


def _gain_cell(metric: Metric, gain: Gain, corrected: float, failed: int) -> Cell:
    mean, low, high = (metric.number(value, sign=True) for value in (gain.mean, gain.low, gain.high))
    fields = {"mean": gain.mean, "low": gain.low, "high": gain.high, "n": gain.n, "n_failed": failed}
    fields |= {"seeds": gain.seeds, "same_sign": gain.same_sign, "p": gain.p, "p_holm": corrected}
    text = f"{mean} [{low}, {high}] {gain.same_sign}/{gain.seeds}"
    return Cell(f"{text} {ALIKE}" if corrected >= ALPHA else text, fields, bold=gain.clear)
