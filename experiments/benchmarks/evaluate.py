"""What VBench's dimensions cost together beside one decode of each clip and each distinct forward pass once.

    python experiments/benchmarks/evaluate.py                         # 16 clips of 49 x 480 x 720, as CogVideoX makes them
    python experiments/benchmarks/evaluate.py --clips 2               # does it run?
    python experiments/benchmarks/evaluate.py --clips 1000 --grow 10 100 1000
    python experiments/benchmarks/evaluate.py --json

The dimensions are subject consistency (DINO), background consistency and appearance style (CLIP B/32, whose frames are resized in two
ways), aesthetic quality (CLIP L/14) and flicker, on true classes with small random weights (`vpo/assets/tiny/vision.py`), on the CPU.
So decoding and resizing weigh what they do, and the models next to nothing: what is measured is what the evaluator spends beside them.

    decode     one decode of each clip
    features   resizing and the encoder, once for each distinct encoder
    heads      the rest: cosines, the linear head, texts, flicker's differences of pixels

`ratio` is the wall time of the evaluator over decode + features + heads, each measured alone with what comes before it done already,
the quickest of three rounds each.
`one by one` is one dimension after the other with nothing shared, as the official code works. `again` is a second run, which finds the
features in the store. Then four stages of a run read the same clips (these dimensions, flicker, motion, a reward by CLIP): `alone`,
each for itself, and `together`, as a run does (`vpo.stages.together`), with how often a clip was decoded. With --grow the evaluator
measures the first clips, so many, and says what one clip costs and how far the memory of the process went: both should stay. CPU
seconds are changed less by a busy machine than seconds.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from meter import peak_of  # noqa: E402
from score import QUERIES, write_clips  # noqa: E402
from transformers.utils.logging import disable_progress_bar  # noqa: E402

from vpo.assets.tiny import vision  # noqa: E402
from vpo.build import build  # noqa: E402
from vpo.evaluator.vbench.jobs import Job  # noqa: E402
from vpo.evaluator.vbench.measures import GROUP_BYTES  # noqa: E402
from vpo.records import Clip, Prompt, Query, Sample  # noqa: E402
from vpo.stages.context import Context  # noqa: E402
from vpo.stages.evaluate import Evaluate  # noqa: E402
from vpo.stages.score import ScoreClips  # noqa: E402
from vpo.stages.stage import Stage  # noqa: E402
from vpo.stages.together import read_together  # noqa: E402
from vpo.storage.rows import write_rows  # noqa: E402
from vpo.storage.store import Entry, Store  # noqa: E402
from vpo.video.frames import CACHE, decode, groups  # noqa: E402

ROUNDS, BATCH = 3, 16  # of each measurement, of which the quickest counts; prompts at once
MODELS = ("clip_b32", "clip_l14", "dino", "aesthetic_head")
FEATURES = ("subject_consistency", "background_consistency", "aesthetic_quality", "appearance_style")
DIMENSIONS = (*FEATURES, "flicker_unfiltered")


def node(models: Path, cache: Path | None, dimensions: Sequence[str] = DIMENSIONS) -> dict[str, Any]:
    """The node of conf/evaluator/vbench.yaml on small models."""
    own = yaml.safe_load((ROOT / "conf/evaluator/vbench.yaml").read_text(encoding="utf-8"))
    named: dict[str, Any] = {name: {"path": str(models / name), "revision": None} for name in MODELS[:3]}
    named |= {"head_file": str(models / "aesthetic_head/head.json"), "raft_file": None, "viclip_file": None}
    folder = None if cache is None else str(cache)
    changed = {"models": named, "cache": {"folder": folder, "gigabytes": 8.0}, "below_seconds": None, "device": "cpu"}
    return own | changed | {"dimensions": list(dimensions)}


def samples_of(clips: Sequence[Clip]) -> list[Sample]:
    """Queries that VBench measures on all of these dimensions."""
    labels = {"appearance_style": {"appearance_style": "Van Gogh style"}}
    meta = {"dimension": list(FEATURES), "auxiliary_info": labels}
    found = []
    for number, clip in enumerate(clips):
        query = Query(clip.id, QUERIES[number % len(QUERIES)], meta=meta)
        found.append(Sample(query, Prompt(clip.id, clip.id, query.text, query.text, "m"), (clip,)))
    return found


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds and CPU seconds of some work."""
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cpu


def run(evaluator: Any, samples: Sequence[Sample]) -> None:
    """All samples in batches, as the stage has them."""
    for start in range(0, len(samples), BATCH):
        evaluator.measure(samples[start : start + BATCH])


def fresh(evaluator: Any, samples: Sequence[Sample]) -> None:
    """The same of clips that nobody has seen."""
    for start in range(0, len(samples), BATCH):
        forget(evaluator)
        evaluator.measure(samples[start : start + BATCH])


def forget(evaluator: Any) -> None:
    """Drop all frames and features of the process."""
    measures = evaluator.measures
    measures.reader.cache.clear()
    for encoder in (measures.dino, measures.frames_of_b32, measures.frames_of_l14):
        encoder.forget()


def measure(clips: Sequence[Clip], models: Path, scratch: Path) -> dict[str, Any]:
    """Seconds and CPU seconds of each part, of the evaluator, and of its dimensions one by one."""
    samples = samples_of(clips)
    alone = {name: build(node(models, None, [name])) for name in DIMENSIONS}
    evaluator = build(node(models, None))
    for one in (*alone.values(), evaluator):
        one.measure(samples[:1])  # loads what is loaded once
    forget(evaluator)
    cache = evaluator.measures.reader.cache
    run(evaluator, samples)  # takes the memory that all later rounds use again
    cache.decodes = 0
    fresh(evaluator, samples)
    decodes = cache.decodes
    everything = set(range(clips[0].frames))
    rounds = []
    for _ in range(ROUNDS):
        one = {"evaluator": timed(lambda: fresh(evaluator, samples))}
        one["decode"] = timed(lambda: [decode(Path(clip.path), everything) for clip in clips])
        rounds.append(one | parts_of(evaluator, samples))
    best = {name: min((one[name] for one in rounds), key=lambda times: times[1]) for name in rounds[0]}
    one_by_one = [timed(lambda name=name: fresh(alone[name], samples)) for name in DIMENSIONS]
    for one in (*alone.values(), evaluator):
        one.close()
    kept = build(node(models, scratch / "features"))
    run(kept, samples)
    forget(kept)
    again = timed(lambda: run(kept, samples))
    kept.close()
    whole, sum_of_parts = best["evaluator"], total([best[name] for name in ("decode", "features", "heads")])
    return {
        "clips": len(clips), **best, "one_by_one": total(one_by_one), "again": again, "decodes": decodes,
        "ratio": whole[0] / sum_of_parts[0], "cpu_ratio": whole[1] / sum_of_parts[1], "shared": total(one_by_one)[1] / whole[1],
    }  # fmt: skip


def parts_of(evaluator: Any, samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    """Seconds of the distinct encoders, frames being decoded already, and of what is computed of features and frames."""
    measures = evaluator.measures
    encoders = (measures.dino, measures.frames_of_b32, measures.images_of_b32, measures.frames_of_l14)
    features, heads = [], []
    forget(evaluator)
    jobs = [Job(place, one.query, one.clips[0], DIMENSIONS) for place, one in enumerate(samples)]
    for group in groups([job.size for job in jobs], GROUP_BYTES):
        together = [jobs[number] for number in group]
        own = [job.path for job in together]
        measures.reader.cache.clear()
        for path in own:
            for _ in measures.reader.windows(path):  # now its frames are there
                pass
        features += [timed(lambda one=one, own=own: one.images(own, measures.reader)) for one in encoders]
        heads.append(timed(lambda together=together: measures.measure(together)))
    return {"features": total(features), "heads": total(heads)}


def stages(clips: Sequence[Clip], models: Path, scratch: Path) -> dict[str, Any]:
    """Seconds, CPU seconds and decodes of four stages of a run on the same clips: one after the other, and together."""
    samples = samples_of(clips)
    clip = {"_target_": "vpo.reward.clip.ClipReward", "path": str(models / "clip_b32"), "revision": None}
    reward = clip | {"frames": "middle 8", "dtype": "float32", "device": "cpu", "batch_size": BATCH}
    pixels = {name: {"_target_": f"vpo.evaluator.{name}.{name.title()}"} for name in ("flicker", "motion")}
    found = {}
    for way in ("alone", "together"):
        context = Context(Store(scratch / way))
        made = {
            name: context.store.get(name, {}, {}, partial(_write, f"{file}.jsonl", records))
            for name, file, records in (
                ("queries", "test", [one.query for one in samples]),
                ("optimize", "prompts", [one.prompt for one in samples]),
                ("render", "clips", clips),
            )
        }
        parts = {"queries": made["queries"], "prompts": made["optimize"], "clips": made["render"]}
        todo: list[Stage] = [
            Evaluate(evaluator_name=name, evaluator=one, label=name, **parts)
            for name, one in {"vbench": node(models, None), **pixels}.items()
        ]
        todo.append(ScoreClips(reward=reward, clips=parts["clips"], label="clip"))
        before = CACHE.decodes
        times = timed(partial(_make, context, todo, parts["clips"] if way == "together" else None))
        found[way] = {"seconds": times, "decodes": CACHE.decodes - before}
    return found


def _write(name: str, records: Sequence[Any], folder: Path) -> dict[str, int]:
    write_rows(folder / name, records)
    return {}


def _make(context: Context, todo: Sequence[Stage], clips: Entry | None) -> None:
    if clips is not None:
        read_together(context, clips, todo)
    for stage in todo:
        context.make(stage)


def growth(clips: Sequence[Clip], models: Path, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Cost and memory of more and more clips: those that were written, again and again under other names."""
    found = []
    for count in counts:
        evaluator = build(node(models, None))
        samples = samples_of([named(clips[number % len(clips)], number) for number in range(count)])
        evaluator.measure(samples[:1])
        with peak_of() as memory:
            seconds = timed(partial(fresh, evaluator, samples))
        evaluator.close()
        found.append({"clips": count, "seconds": seconds, "peak_bytes": memory.bytes})
    return found


def named(clip: Clip, number: int) -> Clip:
    """The clip under a name of its own, by which nobody knows it."""
    path = Path(clip.path).with_name(f"as-{number}.mp4")
    path.unlink(missing_ok=True)
    os.link(clip.path, path)
    return replace(clip, id=str(number), path=str(path))


def total(times: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Seconds and CPU seconds of several."""
    return sum(one[0] for one in times), sum(one[1] for one in times)


def table(found: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    names = {
        "decode": "decode", "features": "features", "heads": "heads", "evaluator": "five dimensions together",
        "one_by_one": "the five one by one", "again": "again, with features from the store",
    }  # fmt: skip
    lines = ["| | seconds | CPU seconds | CPU ms a clip |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {found[key][0]:.2f} | {found[key][1]:.2f} | {1000 * found[key][1] / found['clips']:.0f} |"
        for key, name in names.items()
    ]
    lines += [
        "",
        f"{found['clips']} clips, {found['decodes']} decodes by the evaluator. Together over decode + features + heads: "
        f"{found['ratio']:.2f} of seconds, {found['cpu_ratio']:.2f} of CPU seconds. One by one: {found['shared']:.1f} times the CPU "
        "seconds.",
    ]
    for way, one in found["stages"].items():
        seconds, cpu = one["seconds"]
        lines += ["", f"Four stages of a run, {way}: {seconds:.2f} s, {cpu:.2f} CPU s, {one['decodes']} decodes."]
    if found.get("growth"):
        lines += ["", "| clips | ms a clip | CPU ms a clip | peak MB above the start |", "|---:|---:|---:|---:|"]
        lines += [
            f"| {one['clips']} | {1000 * one['seconds'][0] / one['clips']:.0f} | {1000 * one['seconds'][1] / one['clips']:.0f} | "
            f"{'-' if one['peak_bytes'] is None else round(one['peak_bytes'] / 1e6)} |"
            for one in found["growth"]
        ]
    return "\n".join(lines)


def main() -> None:
    """Write clips and models into a folder that goes again, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=16, help="that are written")
    parser.add_argument("--frames", type=int, default=49)
    parser.add_argument("--size", type=int, nargs=2, default=[480, 720], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument(
        "--grow", type=int, nargs="*", default=[], metavar="CLIPS", help="10 100 1000: what so many cost"
    )
    parser.add_argument("--json", action="store_true", help="the numbers as JSON")
    asked = parser.parse_args()
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in MODELS:
            (folder / name).mkdir()
            vision.MODELS[name](folder / name)
        clips = write_clips(folder, asked.clips, asked.frames, tuple(asked.size))
        found = measure(clips, folder, folder)
        found["stages"] = stages(clips, folder, folder)
        found["growth"] = growth(clips, folder, asked.grow)
    print(json.dumps(found) if asked.json else table(found))


if __name__ == "__main__":
    main()
