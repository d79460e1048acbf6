"""What curation costs a query, and that this does not grow with their number.

    python experiments/benchmarks/curate.py                          # 5, 20 and 80 thousand generated queries: a Markdown table
    python experiments/benchmarks/curate.py --queries 1000           # does it run?
    python experiments/benchmarks/curate.py --stream 1670000 --no-language   # a CSV file with VidProM's number of rows
    python experiments/benchmarks/curate.py --json

The values are those of `conf/curation/vpo.yaml`, except that all queries that pass are compared with one another (`pool: null`), so
that near duplicates and self-BLEU see the whole number. Each number of queries has a process of its own, whose peak memory is shown;
what must be loaded once is loaded before. The judge is `judge=rules`. CPU seconds, of one thread, are changed less by a busy machine
than seconds.

With `--stream` the queries are written to a CSV file with VidProM's columns, and a process does with it what `vpo run dataset=vidprom
stop_after=queries` does, its progress shown: the file is read, every row passes the rules, the pool of the config is compared and
dealt. No judge reads the safety queries, of which there are at most `curation.pool.safety`, whatever the number of rows. The rule of
languages takes most of the time and as much memory for one row as for a million; `--no-language` leaves it out. What is compared takes
memory by the size of the pool: `--pool 2000` is another one than the config's.

Queries are real ones of VPO's users and VBench's prompts (../shared/data; our own few where it is missing), of which a share of the
words are others: WordNet's, the first ones of its table most often, as words are in texts. Some are flagged, repeated, changed in one
word, of another language, too short, full of symbols or toxic by their label.
"""

import argparse
import csv
import gzip
import json
import logging
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from vpo.build import build  # noqa: E402
from vpo.curation.report import Report  # noqa: E402
from vpo.curation.safety import COLUMNS  # noqa: E402
from vpo.curation.selecting import Pools, compared, confirmed, dealt, screened  # noqa: E402
from vpo.dataset.reading.text import tidy  # noqa: E402
from vpo.records import Prompt, Query  # noqa: E402
from vpo.stages.context import Context  # noqa: E402
from vpo.stages.curate import CuratedQueries  # noqa: E402
from vpo.storage import progress  # noqa: E402
from vpo.storage.store import Store  # noqa: E402

SHARED = ROOT.parent / "shared/data"
FLAGS = ("-ar 16:9", "-motion 2", "-gs 14 -fps 24", "-neg blur, text", "--ar 9:16 -camera zoom in")
FOREIGN = (
    "un gato negro corre por la {} al atardecer",
    "ein Hund läuft durch den {} im Regen",
    "собака бежит по {} ночью",
)
UNSAFE = ("a man is stabbed to death", "naked people in bed", "a soldier is tortured and bleeds")
CHANGED = 0.35  # share of the longer words that are others


class Generator:
    """Queries without end, each from a random number generator of the seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.real = real_queries()
        self.words = wordnet_words()
        self.random.shuffle(self.words)

    def queries(self, count: int) -> Iterator[Query]:
        """That many, with labels."""
        recent: list[str] = []
        for number in range(count):
            text = self._text(recent)
            score = self.random.random() ** 8 * 0.5
            if self.random.random() < 0.04:
                score = self.random.uniform(0.5, 1)
                text = f"{self.random.choice(UNSAFE)}, {text}" if self.random.random() < 0.6 else text
            recent = [*recent[-999:], text]
            yield Query(f"q{number}", text, meta={**dict.fromkeys(COLUMNS, score / 2), "toxicity": score})

    def _text(self, recent: list[str]) -> str:
        kind = self.random.random()
        if recent and kind < 0.03:
            return self.random.choice(recent).upper()
        if recent and kind < 0.07:
            words = self.random.choice(recent).split()
            words[self.random.randrange(len(words))] = self._word()
            return " ".join(words)
        if kind < 0.09:
            return self.random.choice(FOREIGN).format(self._word())
        if kind < 0.11:
            return self._word()
        text = re.sub(r"[A-Za-z]{4,}", self._other, self.random.choice(self.real))
        if kind < 0.12:
            return f"☆★☆ {text} ★☆★☆★☆★☆★☆★☆★☆★"
        return f"{text} {self.random.choice(FLAGS)}" if kind > 0.75 else text

    def _other(self, word: re.Match[str]) -> str:
        return self._word() if self.random.random() < CHANGED else word.group()

    def _word(self) -> str:
        """Ranks have a distribution like Zipf's: uniform in their logarithm."""
        return self.words[int(len(self.words) ** self.random.random()) - 1]


def real_queries() -> list[str]:
    """VPO's sample of users' queries, and VBench's prompts."""
    files = [SHARED / f"vpo/{name}_queries.sample.json" for name in ("sft", "dpo")]
    if not all(file.exists() for file in files):
        files = [ROOT / "tests/data/queries.json"]
    texts = [tidy(text).text for file in files for text in json.loads(file.read_text(encoding="utf-8"))]
    prompts = SHARED / "vbench/all_dimension.txt"
    return texts + (prompts.read_text(encoding="utf-8").splitlines() if prompts.exists() else [])


def wordnet_words() -> list[str]:
    """Single words of WordNet, each once."""
    packed = resources.files("vpo.judge.rules.lexicon").joinpath("wordnet.txt.gz").read_bytes()
    return sorted(set(re.findall(r"[\t|]([a-z]{3,12})/\d", gzip.decompress(packed).decode())))


def curate(count: int) -> dict[str, Any]:
    """What each part takes, and what is left, for one number of queries."""
    node = curation() | {"pool": {"general": None, "safety": None}}
    judge = build(yaml.safe_load((ROOT / "conf/judge/rules.yaml").read_text(encoding="utf-8")))
    judge.critique([Prompt("p", "p", "a cat", "a cat", "query")])
    small = Generator(1).queries(50)
    compared(screened(small, node, (), Report(0)), node, (), Report(0))  # loads the model of languages, and scipy
    queries = list(Generator(0).queries(count))
    report, clock = Report(node["seed"]), Clock()
    with clock.part("rules"):
        pools = screened(queries, node, (), report)
    with clock.part("near"):
        pools = compared(pools, {**node, "diversity": None}, (), report)
    with clock.part("self-BLEU"):
        pools = compared(pools, {**node, "near": None}, (), report)
    with clock.part("judge and split"):
        prompts = [Prompt(one.id, one.id, one.text, one.text, "query") for one in pools.labelled]
        verdicts = {one.id: verdict for one, verdict in zip(prompts, judge.critique(prompts), strict=True)}
        pools = Pools(pools.general, confirmed(pools.labelled, verdicts, report))
        dealt(pools, node, ("sft", "dpo", "test"), report)
    left = {step.rule: step.after for step in report.steps}
    return {"queries": count, "parts": clock.parts, "left": left, "peak_mb": peak_mb()}


def curation() -> dict[str, Any]:
    """`curation=vpo` of the config."""
    node: dict[str, Any] = yaml.safe_load((ROOT / "conf/curation/vpo.yaml").read_text(encoding="utf-8"))
    return node


def write_vidprom(path: Path, count: int) -> None:
    """A CSV file with VidProM's columns and that many generated queries."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["uuid", "prompt", "time", *COLUMNS])
        for one in Generator(0).queries(count):
            scores = (f"{one.meta[name]:.6f}" for name in COLUMNS)
            writer.writerow([one.id, one.text, "Sun Sep  3 12:27:44 2023", *scores])


def curate_file(path: Path, *, language: bool, pool: int | None) -> dict[str, Any]:
    """What the stage takes on a file of VidProM's columns, and what is left."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    node, clock = curation(), Clock()
    dataset = {"_target_": "vpo.dataset.vidprom.VidProM", "path": str(path), **node["split"], "max_chars": 2000}
    if not language:
        node["language"] = None
    if pool is not None:
        node["pool"] = {**node["pool"], "general": pool}
    progress.PLAIN_SECONDS = 5.0
    stage = CuratedQueries(dataset=dataset, curation=node)
    with clock.part("stage"):
        entry = Context(Store(path.parent / "store")).make(stage)
    report = json.loads((entry.folder / "curation/report.json").read_text(encoding="utf-8"))
    left = {step["rule"]: step["after"] for step in report["steps"]}
    return {"queries": report["steps"][0]["before"], "parts": clock.parts, "left": left, "peak_mb": peak_mb()}


def peak_mb() -> int | None:
    """The highest memory of this process so far; None where the system does not say."""
    status = Path("/proc/self/status")
    if status.exists():  # of this program alone: Linux's ru_maxrss counts its parent's, from which it was started
        lines = status.read_text(encoding="utf-8").splitlines()
        return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))


class Clock:
    """Seconds and CPU seconds of each part."""

    def __init__(self) -> None:
        self.parts: dict[str, tuple[float, float]] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done within."""
        start, cpu = time.perf_counter(), time.process_time()
        yield
        self.parts[name] = time.perf_counter() - start, time.process_time() - cpu


def table(results: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    parts = list(results[0]["parts"])
    head = ["queries", "seconds", "CPU seconds", "CPU µs a query", *(f"of these {name}" for name in parts), "peak MB"]
    lines = [head, ["---:"] * len(head)]
    for one in results:
        wall, cpu = (sum(times[kind] for times in one["parts"].values()) for kind in (0, 1))
        each = [1e6 * seconds / one["queries"] for _, seconds in one["parts"].values()]
        numbers = [f"{wall:.1f}", f"{cpu:.1f}", *(f"{value:.0f}" for value in (sum(each), *each))]
        lines.append([f"{one['queries']:,}", *numbers, str(one["peak_mb"] or "-")])
    shown = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    left = [f"{one['queries']:,}: " + ", ".join(f"{rule} {n:,}" for rule, n in one["left"].items()) for one in results]
    return "\n".join([shown, "", "Left after each rule:", *left])


def main() -> None:
    """Measure each number of queries in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--queries", type=int, nargs="+", default=[5_000, 20_000, 80_000])
    parser.add_argument("--stream", type=int, nargs="+", help="numbers of rows of a CSV file with VidProM's columns")
    parser.add_argument("--no-language", dest="language", action="store_false", help="of --stream")
    parser.add_argument("--pool", type=int, help="of --stream: general queries that are compared")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one or asked.file:
        found = curate(asked.one) if asked.one else curate_file(asked.file, language=asked.language, pool=asked.pool)
        print(json.dumps(found))
        return
    if asked.stream:
        options = [*([] if asked.language else ["--no-language"]), *(["--pool", str(asked.pool)] if asked.pool else [])]
        results = [measure_file(count, options) for count in asked.stream]
    else:
        results = [measure("--one", str(count)) for count in asked.queries]
    print(json.dumps(results) if asked.json else table(results))


def measure_file(count: int, options: list[str]) -> dict[str, Any]:
    """The results of a file of that many rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        write_vidprom(path, count)
        return measure("--file", str(path), *options)


def measure(*arguments: str) -> dict[str, Any]:
    """The results of this script in a process of its own, whose log is shown."""
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    print(f"{found['queries']:,} queries done", file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
