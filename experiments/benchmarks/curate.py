"""What curation costs a query, and that this does not grow with their number.

    python experiments/benchmarks/curate.py                          # 5, 20 and 80 thousand generated queries: a Markdown table
    python experiments/benchmarks/curate.py --queries 1000           # does it run?
    python experiments/benchmarks/curate.py --stream 1670000         # VidProM's number through the rules that read one query each
    python experiments/benchmarks/curate.py --json

The values are those of `conf/curation/vpo.yaml`, except that all queries that pass are compared with one another (`pool: null`), so
that near duplicates and self-BLEU see the whole number. With `--stream` the pool is the file's and nothing is compared. Each number of
queries has a process of its own, whose peak memory is shown; what must be loaded once is loaded before. The judge is `judge=rules`.
CPU seconds, of one thread, are changed less by a busy machine than seconds.

Queries are real ones of VPO's users and VBench's prompts (../shared/data; our own few where it is missing), of which a share of the
words are others: WordNet's, the first ones of its table most often, as words are in texts. Some are flagged, repeated, changed in one
word, of another language, too short, full of symbols or toxic by their label.
"""

import argparse
import gzip
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
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


def curate(count: int, *, stream: bool) -> dict[str, Any]:
    """What each part takes, and what is left, for one number of queries."""
    node = yaml.safe_load((ROOT / "conf/curation/vpo.yaml").read_text(encoding="utf-8"))
    if not stream:
        node["pool"] = {"general": None, "safety": None}
    judge = build(yaml.safe_load((ROOT / "conf/judge/rules.yaml").read_text(encoding="utf-8")))
    judge.critique([Prompt("p", "p", "a cat", "a cat", "query")])
    small = Generator(1).queries(50)
    compared(screened(small, node, (), Report(0)), node, (), Report(0))  # loads the model of languages, and scipy
    queries: Iterable[Query] = Generator(0).queries(count)
    report, clock = Report(node["seed"]), Clock()
    if not stream:
        queries = list(queries)
    with clock.part("rules"):  # with --stream it makes the queries, too
        pools = screened(queries, node, (), report)
    if not stream:
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


def peak_mb() -> int | None:
    """The highest memory of this process so far; None where the system does not say."""
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
    parser.add_argument(
        "--stream", type=int, help="so many queries through the rules that read one each, and nothing else"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(curate(asked.one, stream=asked.stream is not None)))
        return
    results = []
    for count in [asked.stream] if asked.stream else asked.queries:
        command = [sys.executable, __file__, "--one", str(count), *(["--stream", "1"] if asked.stream else [])]
        results.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        print(f"{count:,} queries done", file=sys.stderr)
    print(json.dumps(results) if asked.json else table(results))


if __name__ == "__main__":
    main()
