"""What test-time search buys a second: every search on the same queries, in the sketch world and on real English.

    python experiments/benchmarks/search.py --sketch runs/gain/<run> --policy sft   # -> experiments/results/search.md, search.png
    python experiments/benchmarks/search.py --english                               # the small optimizer of this package

The judge that searches also says what is fine, so a measure without a part in the search stands beside it: in the sketch world the
reward of the clip that is rendered from the prompt, in English the semantic similarity of query and prompt (searches that rank by it
are run without it here). Seconds are CPU seconds of this process, with judging and without loading. What was measured stays in
--work, so that a run that was stopped goes on.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import yaml  # noqa: E402

import vpo  # noqa: E402
from vpo.build import build  # noqa: E402
from vpo.charts import GREY, new_figure, style_axis  # noqa: E402
from vpo.errors import UserError  # noqa: E402
from vpo.optimize.records import Optimized  # noqa: E402
from vpo.records import Clip, Prompt, Query  # noqa: E402
from vpo.results.intervals import paired_bootstrap, summarize  # noqa: E402
from vpo.seeding import seed_of  # noqa: E402

AS_SAMPLED = "as sampled, unchecked"
SEARCHES: dict[str, dict[str, Any]] = {
    AS_SAMPLED: {"search": "none", "resamples": 0},
    "one candidate": {"search": "none"},
    "refine, 1 round": {"search": "refine", "rounds": 1},
    "refine, 3 rounds": {"search": "refine", "rounds": 3},
    "best of 2": {"search": "best_of_n", "n": 2},
    "best of 4": {"search": "best_of_n", "n": 4},
    "best of 8": {"search": "best_of_n", "n": 8},
    "best of 4, refined": {"search": "best_of_n", "n": 4, "rounds": 1},
    "rendered, best of 4": {"search": "render", "n": 4, "generator": "sketch", "reward": "sketch"},
}
RENDERED = ("rendered, best of 4",)  # in the sketch world only, whose video model needs no GPU
BASE = "one candidate"
HELD_OUT = {"sketch": "Reward of the clip", "english": "Semantic similarity"}
HEAD = """# Test-time search

What each search brings, and what it costs, on the same queries. *Fine*: the judge finds no flaw; *aligned*: harmless and accurate; the
judge also ranks and refines, so these rise by choice alone. The last measure had no part in the search. *Gain* is the difference to
one candidate, query by query, with its 95 % interval (bootstrap). All searches but the first line refine once, and sample once more,
what the guard does not let pass, and then fall back to the query's own words. *Rendered*: of the candidates that pass, the one
whose clip has the best reward; the last measure is then the same reward, of a clip from other noise. Seconds are CPU seconds of one
thread a query on {machine}, with judging, without loading; other work ran beside. Made by `python experiments/benchmarks/search.py`;
the figure is search.png.
"""


@dataclass(frozen=True)
class Row:
    """One search on the queries of one world.

    Attributes:
        fine, aligned, helpful: by query, 1 or 0; None where the judge gave nothing.
        held_out: by query; None where there is none.
        fell_back: by query, whether the query's own words came back, or it was refused.
        tokens: written, a query.
        seconds: of the CPU, a query.
    """

    fine: dict[str, float | None]
    aligned: dict[str, float | None]
    helpful: dict[str, float | None]
    held_out: dict[str, float | None]
    fell_back: dict[str, float]
    tokens: float
    seconds: float


@dataclass(frozen=True)
class World:
    """Where searches are compared.

    Attributes:
        source, options: of the optimizer.
        queries: what is rewritten.
        held_out: the measure without a part in the search, of each record.
    """

    source: str | None
    options: Mapping[str, Any]
    queries: Sequence[Query]
    held_out: Callable[[Sequence[Query], Sequence[Optimized]], list[float | None]]


def sketch(run: Path, policy: str, count: int) -> World:
    """A run's policy on the sketch world's test queries, which all runs share."""
    node = {name: yaml.safe_load((ROOT / f"conf/{name}/sketch.yaml").read_text()) for name in ("generator", "reward")}
    dataset = yaml.safe_load((ROOT / "conf/dataset/sketch.yaml").read_text())
    generator, reward = build(node["generator"]), build(node["reward"])

    def rewards(queries: Sequence[Query], found: Sequence[Optimized]) -> list[float | None]:
        with tempfile.TemporaryDirectory() as folder:
            made = [
                Prompt(query.id, query.id, query.text, one.prompt, "search")
                for query, one in zip(queries, found, strict=True)
                if one.prompt is not None
            ]
            seeds = [seed_of("clip", 0, one.query_id, 0) for one in made]
            clips = generator.render(made, seeds, Path(folder))
            clips = [Clip(**{**vars(clip), "path": str(Path(folder) / clip.path)}) for clip in clips]
            values = {score.query_id: score.value for score in reward.score(clips)}
        return [values.get(query.id) for query in queries]

    options = {"policy": policy, "batch_size": 64}
    return World(str(run), options, build(dataset).splits()["test"][:count], rewards)


def english(source: str | None, data: Path, count: int) -> World:
    """A small real optimizer on queries of VPO's users."""
    from vpo.language.embedding import SentenceEncoder

    config = vpo.compose("experiment=english", "measured=users", f"paths.data={data}").config
    queries = build(config["dataset"]).splits()["users"][:count]
    encoder = SentenceEncoder("asset:all-minilm-l6-v2", None, 256, "cpu", 32, "search.py")

    def similarities(queries: Sequence[Query], found: Sequence[Optimized]) -> list[float | None]:
        cosines = iter(encoder.cosines([(one.query, one.prompt) for one in found if one.prompt is not None]))
        return [None if one.prompt is None else next(cosines) for one in found]

    return World(source, {"batch_size": 16, "dtype": "bfloat16"}, queries, similarities)


def measured(world: World, search: Mapping[str, Any]) -> Row:
    """One search on all queries of a world."""
    with (
        tempfile.TemporaryDirectory() as clips,
        vpo.PromptOptimizer.from_pretrained(
            world.source, **world.options, **search, semantic=False, clips=clips
        ) as optimizer,
    ):
        optimizer.optimize([world.queries[0].text])  # loads what is loaded once
        start = time.process_time()
        found = optimizer.optimize([query.text for query in world.queries])
        seconds = time.process_time() - start
    if search is SEARCHES[AS_SAMPLED]:
        found = [as_sampled(one) for one in found]
    ids = [query.id for query in world.queries]
    verdicts = [one.verdict for one in found]
    count = len(ids)
    return Row(
        fine=_shares(ids, [one and one.fine for one in verdicts]),
        aligned=_shares(ids, [one and one.alignment and one.alignment == "aligned" for one in verdicts]),
        helpful=_shares(ids, [one and one.helpful for one in verdicts]),
        held_out=dict(zip(ids, world.held_out(world.queries, found), strict=True)),
        fell_back={name: float(one.fell_back or one.prompt is None) for name, one in zip(ids, found, strict=True)},
        tokens=sum(one.tokens.tokens_out for one in found) / count,
        seconds=seconds / count,
    )


def as_sampled(record: Optimized) -> Optimized:
    """The first candidate as the prompt, whatever the guard says of it; a query in another language than the judge's has none."""
    if not record.candidates:
        return record
    first = record.candidates[0]
    return replace(record, prompt=first.text, verdict=first.verdict, how=first.how, fell_back=False)


def _shares(ids: Sequence[str], answers: Sequence[bool | None]) -> dict[str, float | None]:
    return {name: None if one is None else float(one) for name, one in zip(ids, answers, strict=True)}


def table(world: str, rows: Mapping[str, Row]) -> str:
    """The searches of one world as Markdown."""
    head = ["Search", "CPU s a query", "Tokens written", "Fine % ↑", "Aligned % ↑", "Helpful % ↑", "Fell back %",
            f"{HELD_OUT[world]} ↑", "Gain: fine", f"Gain: {HELD_OUT[world].lower()}"]  # fmt: skip
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name, row in rows.items():
        gains = [gain_of(row, rows[BASE], "fine", 100, 1), gain_of(row, rows[BASE], "held_out", 1, 3)]
        means = [summarize(list(getattr(row, one).values())).mean or 0.0 for one in ("fine", "aligned", "helpful")]
        held_out, fell_back = summarize(list(row.held_out.values())).mean, summarize(list(row.fell_back.values())).mean
        lines.append([name, f"{row.seconds:.2f}", f"{row.tokens:.0f}", *(f"{100 * one:.1f}" for one in means),
                      f"{100 * (fell_back or 0.0):.1f}", f"{held_out or 0.0:.3f}", *gains])  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def gain_of(row: Row, base: Row, field: str, scale: float, digits: int) -> str:
    """The difference of a measure between two searches, query by query, with its interval."""
    one, other = ({query: [value] for query, value in getattr(side, field).items()} for side in (row, base))
    gain = paired_bootstrap(one, other)
    if row is base or gain is None:
        return ""
    mean, low, high = (f"{value * scale:+.{digits}f}" for value in (gain.mean, gain.low, gain.high))
    return f"{mean} [{low}, {high}]"


def draw(found: Mapping[str, Mapping[str, Row]], path: Path) -> None:
    """Share without a flaw, and the measure without a part in the search, over CPU seconds."""
    figure = new_figure(9, 3.2 * len(found), 150)
    axes = figure.subplots(len(found), 2, squeeze=False)
    for line, (world, rows) in zip(axes, found.items(), strict=True):
        for axis, field, scale, label in zip(
            line, ("fine", "held_out"), (100, 1), ("fine %", HELD_OUT[world].lower()), strict=True
        ):
            style_axis(axis, f"{world}: {label}")
            for name, row in rows.items():
                result = summarize(list(getattr(row, field).values()))
                if result.mean is not None:
                    axis.errorbar(
                        row.seconds,
                        result.mean * scale,
                        yerr=(result.ci95 or 0) * scale,
                        fmt="o",
                        capsize=2,
                        label=name,
                    )
            axis.set_xlabel("CPU seconds a query", fontsize=8, color=GREY)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    figure.savefig(path)


def main() -> None:
    """Measure what is asked for, then write the table of all that was measured."""
    torch.set_num_threads(1)  # threads that wait for each other on a busy machine count as CPU seconds
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sketch", type=Path, help="run folder of the sketch world")
    parser.add_argument("--policy", default="sft", help="of that run")
    parser.add_argument("--english", nargs="?", const="", help="optimizer; without a value the one of this package")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data", help="as paths.data")
    parser.add_argument("--queries", type=int, default=96)
    parser.add_argument("--machine", default="this machine", help="how the report calls it")
    parser.add_argument("--work", type=Path, default=ROOT / "store/search", help="where measurements are kept")
    parser.add_argument("--out", type=Path, default=ROOT / "experiments/results/search.md")
    asked = parser.parse_args()
    makers = {"sketch": lambda: sketch(asked.sketch, asked.policy, asked.queries),
              "english": lambda: english(asked.english or None, asked.data, asked.queries)}  # fmt: skip
    wanted = {"sketch": asked.sketch is not None, "english": asked.english is not None}
    asked.work.mkdir(parents=True, exist_ok=True)
    for name, make in makers.items():
        world = None
        for search, options in SEARCHES.items():
            if search in RENDERED and name != "sketch":
                continue
            path = asked.work / f"{name}-{asked.queries}-{search.replace(' ', '_').replace(',', '')}.json"
            if not wanted[name] or path.exists():
                continue
            try:
                world = world or make()
                row = measured(world, options)
            except UserError as error:
                sys.exit(f"search: {error}")
            path.write_text(json.dumps({"search": search, "row": asdict(row)}))
            print(f"{name}, {search}: {row.seconds:.2f} CPU s a query", file=sys.stderr)
    found = {name: rows for name in makers if (rows := read(asked.work, name))}
    parts = [HEAD.format(machine=asked.machine)]
    for name, rows in found.items():
        queries = len(next(iter(rows.values())).fine)
        parts.append(f"## {name.capitalize()}: {queries} queries\n\n{table(name, rows)}\n")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text("\n".join(parts), encoding="utf-8")
    draw(found, asked.out.with_suffix(".png"))
    print("\n".join(parts))


def read(folder: Path, world: str) -> dict[str, Row]:
    """What was measured of a world, in the order of the searches."""
    read = [json.loads(path.read_text()) for path in folder.glob(f"{world}-*.json")]
    rows = {one["search"]: Row(**one["row"]) for one in read}
    return {name: rows[name] for name in SEARCHES if name in rows}


if __name__ == "__main__":
    main()
