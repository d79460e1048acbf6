"""`vpo table`: a declared table over the runs that lie here."""

import sys
from pathlib import Path

from vpo.arguments import parse
from vpo.comparison import compare
from vpo.errors import UserError
from vpo.table_formats import to_text, write

USAGE = (
    "`vpo table <name or file.yaml> [paths.runs=runs] [out=folder]`; a name stands for experiments/tables/<name>.yaml"
)


def table_command(arguments: list[str]) -> int:
    """Print a table and write it as Markdown, LaTeX, CSV and PNG. Returns the exit code."""
    names, options = parse("table", arguments, names=1, options=("paths.runs", "out"), usage=USAGE)
    declared = Path(names[0] if names[0].endswith(".yaml") else f"experiments/tables/{names[0]}.yaml")
    if not declared.is_file():
        known = ", ".join(sorted(path.stem for path in declared.parent.glob("*.yaml"))) or "none here"
        raise UserError(f"table: {declared} does not exist; tables in {declared.parent}: {known}")
    runs = Path(options.get("paths.runs", "runs"))
    folders = sorted(path.parent for path in runs.rglob("results.json"))
    if not folders:
        raise UserError(f"table: no results under {runs}; run the experiments first, or set paths.runs")
    tables = compare(folders, declared)
    sys.stdout.write("\n".join(map(to_text, tables)))
    out = Path(options.get("out", declared.parent.parent / "results"))
    try:
        written = write(tables, out, declared.stem)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"table: {out}: {reason}; set out=<a folder that can be written>") from error
    sys.stdout.write(f"\nwritten: {', '.join(map(str, written))}\n")
    return 0
