"""The table of what each stage of the runs of a declared table took, by seed: what it costs to make the table again."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vpo.results.run_folder import Run
from vpo.tables.formats import Cell, Table, TableRow

SHORT = 1.0  # seconds; stages that took no longer in any seed share a row

SHORTER, ALL = "Stages of at most a second", "All"
NOTE = (
    "Wall clock in seconds, of the start that finished a stage: one that was interrupted took longer in all. What several runs of a "
    "seed use is counted once."
)


def stage_times(runs: Sequence[Run]) -> Table:
    """Seconds by stage and seed.

    Args:
        runs: of one or more seeds. A stored result that several runs of a seed used is counted once.

    Returns:
        A row for each stage and what it was made for, in the order of the runs; evaluations are added up by evaluator. Results of an
        older version, which do not list their stages, add nothing.
    """
    of_seed: dict[int, dict[str, Mapping[str, Any]]] = {}
    for run in runs:
        used = of_seed.setdefault(run.config["seed"], {})
        for stage in run.results.get("run", {}).get("stages", []):
            used.setdefault(stage["entry"], stage)
    seeds = sorted(of_seed)
    seconds: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for seed in seeds:
        for stage in of_seed[seed].values():
            seconds[_row_of(stage)][seed] += stage["seconds"]
    short = [label for label, by_seed in seconds.items() if max(by_seed.values()) <= SHORT]
    rows = [_row(label, by_seed, seeds) for label, by_seed in seconds.items() if label not in short]
    if short:
        rows.append(_row(SHORTER, _sum(seconds[label] for label in short), seeds))
    rows.append(_row(ALL, _sum(seconds.values()), seeds))
    headings = [f"Seed {seed}" for seed in seeds]
    keys = [f"seed_{seed}" for seed in seeds]
    return Table("Seconds of each stage", "Stage", headings, keys, rows, [NOTE], [run.source for run in runs], "times")


def _row_of(stage: Mapping[str, Any]) -> str:
    """The row that a stage belongs to: "sft sft_more"; "evaluate semantic", as an evaluation's label is "<method> <evaluator>"."""
    name, label = stage["entry"].partition("/")[0], stage["label"]
    return f"{name} {label.rpartition(' ')[2] if name == 'evaluate' else label}".rstrip()


def _sum(parts: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """The parts added up, by seed."""
    total: dict[int, float] = defaultdict(float)
    for part in parts:
        for seed, seconds in part.items():
            total[seed] += seconds
    return total


def _row(label: str, by_seed: Mapping[int, float], seeds: Sequence[int]) -> TableRow:
    """A stage's seconds; "-" for a seed that has no such stage."""
    found = [by_seed.get(seed) for seed in seeds]
    return TableRow(
        label, [Cell() if one is None else Cell(f"{one:,.0f}", {"seconds": round(one, 2)}) for one in found]
    )
