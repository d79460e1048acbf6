"""`vpo table`: a declared table over the runs that lie here."""

import sys
from pathlib import Path

from vpo.cli.arguments import Parser, as_path
from vpo.errors import UserError
from vpo.tables.comparison import compare
from vpo.tables.formats import to_text, write

USAGE = "vpo table <name or file.yaml> [paths.runs=runs] [out=folder]"


def table_command(arguments: list[str]) -> int:
    """Print a table and write it as Markdown, LaTeX, CSV and PNG. Returns the exit code."""
    parser = Parser("table", usage=USAGE, description="a table over the runs that lie here, from their results")
    parser.add_argument(
        "name", metavar="<name or file.yaml>", help="a name is experiments/tables/<name>.yaml", type=as_path
    )
    parser.option(
        "paths.runs", "where the runs lie (runs)", dest="runs", metavar="folder", type=as_path, default=Path("runs")
    )
    parser.option("out", "where the table is written (results/ beside the tables)", metavar="folder", type=as_path)
    options = parser.parse(arguments)
    declared = options.name if options.name.suffix == ".yaml" else Path(f"experiments/tables/{options.name}.yaml")
    if not declared.is_file():
        known = ", ".join(sorted(path.stem for path in declared.parent.glob("*.yaml"))) or "none here"
        raise UserError(f"table: {declared} does not exist; tables in {declared.parent}: {known}")
    runs = options.runs
    folders = sorted(path.parent for path in runs.rglob("results.json"))
    if not folders:
        raise UserError(f"table: no results under {runs}; run the experiments first, or set paths.runs")
    tables = compare(folders, declared)
    sys.stdout.write("\n".join(map(to_text, tables)))
    out = options.out or declared.parent.parent / "results"
    try:
        written = write(tables, out, declared.stem)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"table: {out}: {reason}; set out=<a folder that can be written>") from error
    sys.stdout.write(f"\nwritten: {', '.join(map(str, written))}\n")
    return 0
