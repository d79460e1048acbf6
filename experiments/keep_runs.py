"""Keep of finished runs what tables read, so that a table over seeds can be made again, and seeds can be made on several machines.

    python experiments/keep_runs.py runs/english/*                    # into experiments/kept_runs
    vpo table english paths.runs=experiments/kept_runs

Of each run: `config.yaml` and `results.json`, with the folders of this machine made relative, and `items.jsonl` with the metrics of
each query and method. Queries, prompts and answers are left out: they belong to others, and tables need the queries' ids alone. So
kept runs make tables with one another, and not with runs that hold the queries.
"""

import argparse
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FIELDS = ("query_id", "method", "metrics", "weights", "clip_counts")
DIGITS = 6


def keep(run: Path, out: Path, data: str) -> Path:
    """Copy one run. Returns its folder in `out`; raises OSError where the run is not finished."""
    folder = out / run.parent.name / re.sub(r"[^\w=,.-]", "", run.name)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.yaml", "results.json"):
        (folder / name).write_text(relative((run / name).read_text(encoding="utf-8"), data), encoding="utf-8")
    with (folder / "items.jsonl").open("w", encoding="utf-8") as file:
        for line in (run / "items.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line, parse_float=lambda text: round(float(text), DIGITS))
            kept = {name: row[name] for name in FIELDS if row.get(name)}
            file.write(json.dumps({"query": "", **kept}, separators=(",", ":")) + "\n")
    return folder


def relative(text: str, data: str) -> str:
    """A config or results without this machine's folders: data is found beside the project, a store in the working folder."""
    return re.sub(r'(["\s])/[^"\s]*/store\b', r"\1store", text.replace(data, "../shared/data"))


def main() -> int:
    """Keep the runs that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "kept_runs")
    parser.add_argument("--data", default="../shared/data", help="what paths.data was")
    asked = parser.parse_args()
    for run in asked.runs:
        print(keep(run, asked.out, asked.data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
