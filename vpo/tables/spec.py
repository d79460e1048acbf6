"""How a table over several runs is declared: `experiments/tables/<name>.yaml`.

    title: Which feedback trains the better optimizer?
    paper_table: Table 2           # optional: which table of the paper this one mirrors
    note: Sketch world.            # optional: printed below the table
    seeds: 5                       # optional: how many seeds every row should have; fewer are reported
    columns:                       # metrics, in order; a plain name or a name with a label
      - aligned
      - {metric: scene, label: Scene accuracy}
    rows:
      - label: DPO (both)
        method: dpo                # a method of results.json
        where:                     # optional: which runs, by values of their config.yaml (`run.seed`: of results.json)
          feedback.text: true
          feedback.video: true
        paper: {aligned: 94.8}     # optional: the paper's number as printed, shown beside the measured one
    gain:                          # optional: a second table of paired differences
      metrics: [aligned, reward, scene]
      pairs:
        - [DPO (both), SFT]        # labels of rows: the first minus the second
    command: vpo run ...           # optional: how its runs are made, printed below the table
    times: true                    # optional: a last table of the seconds that each stage of its runs took, by seed

A key that is not listed here is an error that names it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vpo.errors import UserError


@dataclass(frozen=True)
class RowSpec:
    """One row as declared: the method, and the runs that it is taken from."""

    label: str
    method: str
    where: Mapping[str, Any]
    paper: Mapping[str, float]


@dataclass(frozen=True)
class TableSpec:
    """A declared table. `columns` maps metrics to labels (None: the metric's own); `pairs` are labels of rows; `times` asks for the
    table of seconds."""

    path: Path
    title: str
    notes: Sequence[str]
    seeds: int | None
    columns: Mapping[str, str | None]
    rows: Sequence[RowSpec]
    gain_metrics: Sequence[str]
    pairs: Sequence[tuple[str, str]]
    times: bool


def read_spec(path: Path) -> TableSpec:
    """A declared table. Raises UserError naming the file and the key of what is unknown, missing or of a wrong kind."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    known = {"title": str, "columns": list, "rows": list}
    data = _keys(path, "", data, known, {
        "paper_table": str, "note": str, "seeds": int, "gain": dict, "command": str, "times": bool,
    })  # fmt: skip
    columns: dict[str, str | None] = {}
    for number, column in enumerate(data["columns"]):
        column = {"metric": column} if isinstance(column, str) else column
        column = _keys(path, f"columns[{number}]", column, {"metric": str}, {"label": str})
        columns[column["metric"]] = column["label"]
    rows = []
    for number, row in enumerate(data["rows"]):
        optional = {"where": dict, "paper": dict}
        row = _keys(path, f"rows[{number}]", row, {"label": str, "method": str}, optional)
        _check_row(path, row)
        rows.append(RowSpec(row["label"], row["method"], row["where"] or {}, row["paper"] or {}))
    gain = {"metrics": [], "pairs": []}
    if data["gain"] is not None:
        gain = _keys(path, "gain", data["gain"], {"metrics": list, "pairs": list}, {})
    paper = f"Mirrors {data['paper_table']} of the paper." if data["paper_table"] else None
    command = f"Made by: {data['command']}" if data["command"] else None
    notes = [note for note in (data["note"], paper, command) if note]
    for pair in gain["pairs"]:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(label, str) for label in pair):
            raise UserError(f"{path}: gain.pairs has {pair!r}, which are not two labels of rows, such as [DPO, SFT]")
    for name in gain["metrics"]:
        if not isinstance(name, str):
            raise UserError(f"{path}: gain.metrics has {name!r}, which is no metric's name")
    pairs = [tuple(pair) for pair in gain["pairs"]]
    times = bool(data["times"])
    spec = TableSpec(path, data["title"], notes, data["seeds"], columns, rows, gain["metrics"], pairs, times)
    _check_names(spec)
    return spec


def _keys(
    path: Path, where: str, data: Any, required: Mapping[str, type], optional: Mapping[str, type]
) -> dict[str, Any]:
    """The mapping, with None for absent optional keys. UserError on other keys and on values of other types."""
    shown = where or "the file"
    if not isinstance(data, Mapping):
        raise UserError(f"{path}: {shown} must be a mapping with the keys {', '.join(required)}")
    types = {**required, **optional}
    for key, value in data.items():
        if key not in types:
            raise UserError(f"{path}: {shown} has an unknown key {key!r}; known are {', '.join(types)}")
        if not isinstance(value, types[key]) or (isinstance(value, bool) and types[key] is not bool):
            raise UserError(f"{path}: {key} of {shown} must be a {types[key].__name__}, not {value!r}")
    for key in required:
        if key not in data:
            raise UserError(f"{path}: {shown} lacks the key {key!r}")
    return {key: data.get(key) for key in types}


def _check_row(path: Path, row: Mapping[str, Any]) -> None:
    """The keys of `where` are dotted paths, and the paper's numbers are numbers."""
    for key in row["where"] or {}:
        if not isinstance(key, str):
            raise UserError(
                f"{path}: where of row {row['label']!r} has the key {key!r}; expected a config's path, such as seed"
            )
    for key, value in (row["paper"] or {}).items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise UserError(f"{path}: paper of row {row['label']!r} has {key}: {value!r}, which is no number")


def _check_names(spec: TableSpec) -> None:
    """Labels are unique, and pairs and paper numbers name what exists."""
    labels = [row.label for row in spec.rows]
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(f"{spec.path}: two rows have the label {label!r}; give each its own")
    for pair in spec.pairs:
        if not set(pair) <= set(labels):
            raise UserError(f"{spec.path}: gain.pairs has {list(pair)}, which are not two labels of rows")
    for row in spec.rows:
        for name in row.paper.keys() - spec.columns.keys():
            raise UserError(f"{spec.path}: paper of row {row.label!r} names {name!r}, which is no column")
