"""The results of a run as CSV files, for spreadsheets."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.results.metrics import Metric, Metrics
from vpo.results.schema import read_results
from vpo.storage.rows import whole_lines


class CsvLogger:
    """Writes results.csv, items.csv and curves.csv beside the files that they repeat."""

    def mirror(self, folder: Path) -> None:
        """Write the three files from what the folder holds so far."""
        results = read_results(folder / "results.json")
        metrics = Metrics(results.get("evaluators", {}))
        means = [
            {"method": method, "metric": name, **result, **(_described(metrics[name]) if metrics else {})}
            for method, of_method in results["methods"].items()
            for name, result in of_method.items()
        ]
        items = [_flat(item) for item in whole_lines(folder / "items.jsonl")]
        curves = [
            {"policy": file.stem, **metrics_of_step}
            for file in sorted((folder / "training").glob("*.jsonl"))
            for metrics_of_step in whole_lines(file)
        ]
        for name, lines in (("results", means), ("items", items), ("curves", curves)):
            _write_csv(folder / f"{name}.csv", lines)


def _described(metric: Metric) -> dict[str, Any]:
    """What a reader of a mean must know of the metric. The mean is unscaled: times `scale` it has the unit."""
    return {"label": metric.label, "better": metric.better, "unit": metric.unit, "scale": metric.scale}


def _flat(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as one line of a table: a column a metric, `<metric>_weight` where it has one, answers, and what failed."""
    line = {key: value for key, value in item.items() if key not in ("metrics", "weights", "answers", "failures")}
    line |= item["metrics"] | {f"{name}_weight": weight for name, weight in item.get("weights", {}).items()}
    line |= {f"{who}_answers": said for who, said in item.get("answers", {}).items()}
    failures = "; ".join(f"{stage}: {one['kind']} ({one['detail']})" for stage, one in item.get("failures", {}).items())
    return line | ({"failures": failures} if failures else {})


def _write_csv(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """One column per key that any line has, in order of appearance."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
