"""How fast and how large an optimizer step is: ours (shared-prefix packing and padded) against TRL, on rows of VPO's lengths.

    python experiments/benchmarks/train_step.py                     # a Markdown table; an hour on two quiet cores
    python experiments/benchmarks/train_step.py --json              # {"dpo": ratios, "sft": ratios, "rows": [...]}
    python experiments/benchmarks/train_step.py --shape tiny --rounds 1 --steps 1 --sizes 2    # does it run?
    python experiments/benchmarks/train_step.py --shape llama3_8b --tuning lora                # on a CUDA GPU

Every measurement is a fresh process (`trainers.py`) that trains with full optimizer steps: forward, backward,
clipping, AdamW, and all that the trainer does around them. First every trainer runs once with each of its sizes (rows a
forward pass); then, interleaved, `--rounds` more runs of each trainer's fastest size, whose median counts. The runs
that chose a size do not count, or a trainer with more sizes would have an advantage: the fastest of more noisy runs. Memory is
compared between runs of equal rows a forward pass, the most that both have.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
Result = dict[str, Any]


def main() -> None:
    """Measure, then print the table or the JSON."""
    spec = yaml.safe_load((HERE / "train_step.yaml").read_text())
    arguments = parse(spec)
    rows = [row for task in arguments.tasks for row in measure(task, spec, arguments)]
    if arguments.json:
        print(json.dumps({**{task: ratios(task, rows) for task in arguments.tasks}, "rows": rows}))
    else:
        print(table(rows), *(f"{task}: {in_words(ratios(task, rows))}" for task in arguments.tasks), sep="\n")


def parse(spec: dict[str, Any]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--shape", choices=list(spec["shapes"]), default="llama_18m")
    parser.add_argument("--tasks", nargs="+", choices=list(spec["tasks"]), default=list(spec["tasks"]))
    parser.add_argument(
        "--trainers", nargs="+", help="only these of train_step.yaml's; ratios to the others are unknown then"
    )
    parser.add_argument("--tuning", choices=["full", "lora"], default="full")
    parser.add_argument(
        "--rounds", type=int, default=3, help="counted runs of each trainer's fastest size; 0: the choosing runs"
    )
    parser.add_argument("--steps", type=int, default=3, help="timed optimizer steps a run")
    parser.add_argument("--warmup", type=int, default=1, help="optimizer steps before them")
    parser.add_argument(
        "--sizes", type=int, nargs="+", help="rows a forward pass for all, instead of train_step.yaml's"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def measure(task: str, spec: dict[str, Any], arguments: argparse.Namespace) -> list[Result]:
    """All metrics of a task: one row a trainer and size, the fastest size of each marked `best`."""
    known: dict[tuple[str, int], list[Result]] = {}

    def run(trainer: str, size: int) -> Result:
        found = run_child(task, trainer, size, spec, arguments)
        known.setdefault((trainer, size), []).append(found)
        return found

    best: dict[str, int] = {}
    trainers = [one for one in spec["tasks"][task]["sizes"] if one in (arguments.trainers or [one])]
    sizes = {trainer: list(sizes_of(task, trainer, spec, arguments)) for trainer in trainers}
    for trainer, choices in sizes.items():
        speeds = {size: run(trainer, size).get("rows_per_second", 0.0) for size in choices}
        best[trainer] = max(speeds, key=speeds.__getitem__)
    choosing = dict(known)
    known = {}
    for _ in range(arguments.rounds):
        for trainer, size in best.items():
            if "error" not in choosing[trainer, size][0]:
                run(trainer, size)
    return [
        {
            "task": task,
            "trainer": trainer,
            "size": size,
            "best": best[trainer] == size,
            **median(known.get((trainer, size), runs)),
        }
        for (trainer, size), runs in choosing.items()
    ]


def sizes_of(task: str, trainer: str, spec: dict[str, Any], arguments: argparse.Namespace) -> Iterator[int]:
    """The sizes to try. Packs of TRL are measured in tokens, so `--sizes`, in rows, leaves them only the first."""
    declared = spec["tasks"][task]["sizes"][trainer]
    if arguments.sizes is None:
        yield from declared
    else:
        yield from declared[:1] if trainer == "trl_packing" else arguments.sizes


def run_child(task: str, trainer: str, size: int, spec: dict[str, Any], arguments: argparse.Namespace) -> Result:
    """The metrics of one run in a process of its own, or its error (out of memory, on a GPU)."""
    print(f"{task} {trainer} {size} ...", end=" ", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "metrics.json"
        job = {
            "task": task,
            "trainer": trainer,
            "size": size,
            "batch": spec["tasks"][task]["batch"],
            "steps": arguments.steps,
            "warmup": arguments.warmup,
            "seed": arguments.seed,
            "tuning": arguments.tuning,
            "shape": spec["shapes"][arguments.shape],
            **{name: spec[name] for name in ("lengths", "lora")},
            "folder": folder,
            "out": str(out),
        }
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "OMP_NUM_THREADS": str(arguments.threads),
            "HF_HUB_OFFLINE": "1",
            "TQDM_DISABLE": "1",
        }
        done = subprocess.run(
            [sys.executable, str(HERE / "trainers.py"), str(path)], env=environment, capture_output=True, text=True
        )
        if out.exists():
            metrics = json.loads(out.read_text())
            print(f"{metrics['rows_per_second']:.2f} rows/s", file=sys.stderr, flush=True)
            return metrics
        error = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        print(error, file=sys.stderr, flush=True)
        return {"error": error}


def median(runs: list[Result]) -> Result:
    """Each metric's median over runs; what is no number is taken from the first."""
    return {
        name: statistics.median(run[name] for run in runs) if isinstance(value, float) else value
        for name, value in runs[0].items()
    }


def ratios(task: str, rows: list[Result]) -> dict[str, float | None]:
    """Ours (packed) against the fastest of TRL's trainers and against our padding in rows a second; memory against TRL's."""
    measured = [row for row in rows if row["task"] == task and "error" not in row]

    def fastest(*trainers: str) -> float | None:
        return max(
            (row["rows_per_second"] for row in measured if row["trainer"] in trainers and row["best"]), default=None
        )

    ours, padded, trl = fastest("packed"), fastest("padded"), fastest("trl", "trl_packing")
    peaks = {(row["trainer"], row["size"]): row["peak_mib"] for row in measured if row["peak_mib"]}
    common = [size for trainer, size in peaks if trainer == "packed" and ("trl", size) in peaks]
    memory = peaks["packed", max(common)] / peaks["trl", max(common)] if common else None
    return {
        "vs_trl": ours / trl if ours and trl else None,
        "vs_padded": ours / padded if ours and padded else None,
        "memory_vs_trl": memory,
    }


def in_words(found: dict[str, float | None]) -> str:
    """The ratios as a sentence."""
    texts = {name: "unknown" if value is None else f"{value:.2f}" for name, value in found.items()}
    return (
        f"{texts['vs_trl']} times TRL's rows a second at its best, {texts['vs_padded']} times our padding's; "
        f"{texts['memory_vs_trl']} of TRL's peak memory at equal rows a forward pass."
    )


def table(rows: list[Result]) -> str:
    """A Markdown table; the fastest size of each trainer is bold."""
    lines = [
        "| task | trainer | rows a forward pass | rows/s | rows/CPU s | s/step | peak MiB above the start | MFU |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        size = f"{row['size']} tokens" if row["trainer"] == "trl_packing" else str(row["size"])
        if "error" in row:
            lines.append(f"| {row['task']} | {row['trainer']} | {size} | {row['error'][:60]} | | | | |")
            continue
        speed = f"{row['rows_per_second']:.2f}"
        mfu = "" if row["mfu"] is None else f"{row['mfu']:.1%}"
        peak = "" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
        lines.append(
            f"| {row['task']} | {row['trainer']} | {size} | {f'**{speed}**' if row['best'] else speed} "
            f"| {row['rows_per_cpu_second']:.2f} | {row['step_seconds']:.2f} | {peak} | {mfu} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
