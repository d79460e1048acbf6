"""What five rewards on the same clips cost beside one decode of each clip and each distinct forward pass once.

    python experiments/benchmarks/score.py                    # 16 clips of 49 x 480 x 720, as CogVideoX makes them
    python experiments/benchmarks/score.py --clips 2          # does it run?
    python experiments/benchmarks/score.py --json

The rewards are an ensemble: CLIP similarity twice (B/32; L/14), aesthetic score (the same L/14, which runs once), MPS and VideoScore,
of true classes with small random weights (`vpo/assets/tiny/vision.py`), on the CPU. So decoding and resizing weigh what they do, and
the models next to nothing: what is measured is what the rewards spend beside the models.

    decode     one decode of each clip, which keeps the frames that any of the five reads
    features   resizing and the vision model, once for each distinct model
    heads      the rest: texts, cosines, linear heads

`ratio` is the wall time of the ensemble over decode + features + heads, each measured alone, with what comes before it done already;
`one by one` is what five rewards cost that share nothing. CPU seconds are changed less by a busy machine than seconds.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from transformers.utils.logging import disable_progress_bar  # noqa: E402

from vpo.assets.tiny import vision  # noqa: E402
from vpo.build import build  # noqa: E402
from vpo.records import Clip  # noqa: E402
from vpo.video.clips import write_mp4  # noqa: E402
from vpo.video.frames import CACHE, decode  # noqa: E402

QUERIES = (
    "a dog runs on the beach",
    "a red car in the rain at night",
    "waves",
    "an old man reads a book by the window",
)


def write_clips(folder: Path, count: int, frames: int, size: tuple[int, int]) -> list[Clip]:
    """Clips of a picture that moves under a little noise, so that decoding has work as with real ones."""
    height, width = size
    found = []
    for number in range(count):
        random = np.random.default_rng(number)
        coarse = random.integers(0, 256, (height // 16 + 8, width // 16 + 8, 3)).astype(np.uint8)
        picture = np.repeat(np.repeat(coarse, 16, 0), 16, 1)
        noise = random.integers(0, 12, (height, width, 3), dtype=np.uint8)
        images = np.stack([picture[t : height + t, 2 * t : width + 2 * t] // 2 + noise for t in range(frames)])
        path = folder / f"{number}.mp4"
        write_mp4(images, 8, path)
        query = QUERIES[number % len(QUERIES)]
        found.append(Clip(str(number), str(number), str(number), query, query, str(path), 0, frames, 8, *size))
    return found


def nodes(models: Path) -> dict[str, dict[str, Any]]:
    """The nodes of the five rewards, from their yaml, on small models."""

    def of(name: str, model: str, **more: Any) -> dict[str, Any]:
        node = yaml.safe_load((ROOT / f"conf/reward/{name}.yaml").read_text(encoding="utf-8"))
        values = {"path": str(models / model), "revision": None, "dtype": "float32", "device": "cpu", **more}
        return node | values

    return {
        "clip B/32": of("clip", "clip_b32"),
        "clip L/14": of("clip", "clip_l14", frames="arange 4"),
        "aesthetic": of("aesthetic", "clip_l14", head=str(models / "aesthetic_head/head.json")),
        "mps": of("mps", "mps", checkpoint=str(models / "mps/mps.safetensors")),
        "videoscore": of("videoscore", "videoscore", frames="steps 16"),
    }


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds and CPU seconds of some work."""
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cpu


def measure(clips: Sequence[Clip], models: Path) -> dict[str, Any]:
    """Seconds and CPU seconds of each part, of the ensemble, and of the rewards one by one."""
    paths = [clip.path for clip in clips]
    parts = {name: build(node) for name, node in nodes(models).items()}
    weights = {"clip B/32": 1.0, "clip L/14": 1.0, "aesthetic": 1.0, "mps": 1.0, "VQ": 1.0}
    ensemble = build(
        {"_target_": "vpo.reward.ensemble.EnsembleReward", "weights": weights, "batch_size": 8, "parts": nodes(models)}
    )
    ensemble.score(clips[:1])  # loads what is loaded once
    encoders = [parts[name].encoder for name in ("clip B/32", "clip L/14")]
    for part in parts.values():
        part.score(clips[:1])
    forget(encoders)

    whole = timed(lambda: ensemble.score(clips))
    decodes = CACHE.decodes
    forget(encoders)
    needed = {index for part in parts.values() for index in part.reader.indices(paths[0])}  # clips are of one length
    decoded = timed(lambda: [decode(Path(path), needed) for path in paths])
    for path in paths:
        parts["clip B/32"].reader.read(path)  # now all frames are there
    pooled = [
        timed(lambda name=name: parts[name].encoder.images(paths, parts[name].reader))
        for name in ("clip B/32", "clip L/14")
    ]
    others = [
        timed(lambda name=name: parts[name].score(clips)) for name in ("mps", "videoscore")
    ]  # forward and head are one
    heads = [timed(lambda name=name: parts[name].score(clips)) for name in ("clip B/32", "clip L/14", "aesthetic")]
    alone = []
    for name in parts:
        forget(encoders)
        alone.append(timed(lambda name=name: parts[name].score(clips)))
    for one in (*parts.values(), ensemble):
        one.close()
    features = total([*pooled, *others])
    return {
        "clips": len(clips), "decode": decoded, "features": features, "heads": total(heads), "ensemble": whole,
        "one_by_one": total(alone), "ratio": whole[0] / total([decoded, features, total(heads)])[0],
        "cpu_ratio": whole[1] / total([decoded, features, total(heads)])[1], "decodes": decodes,
    }  # fmt: skip


def forget(encoders: Sequence[Any]) -> None:
    """Drop all frames and features."""
    CACHE.clear()
    CACHE.decodes = 0
    for encoder in encoders:
        encoder.shared.features.clear()


def total(times: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Seconds and CPU seconds of several."""
    return sum(one[0] for one in times), sum(one[1] for one in times)


def table(found: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    names = {
        "decode": "decode", "features": "features", "heads": "heads", "ensemble": "five rewards as an ensemble",
        "one_by_one": "the five one by one",
    }  # fmt: skip
    lines = ["| | seconds | CPU seconds | CPU ms a clip |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {found[key][0]:.2f} | {found[key][1]:.2f} | {1000 * found[key][1] / found['clips']:.0f} |"
        for key, name in names.items()
    ]
    return "\n".join([
        *lines, "",
        f"{found['clips']} clips, {found['decodes']} decodes by the ensemble. Ensemble over decode + features + heads: "
        f"{found['ratio']:.2f} of seconds, {found['cpu_ratio']:.2f} of CPU seconds.",
    ])  # fmt: skip


def main() -> None:
    """Write clips and models into a folder that goes again, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--frames", type=int, default=49)
    parser.add_argument("--size", type=int, nargs=2, default=[480, 720], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in ("clip_b32", "clip_l14", "aesthetic_head", "mps", "videoscore"):
            (folder / name).mkdir()
            vision.MODELS[name](folder / name)
        found = measure(write_clips(folder, asked.clips, asked.frames, tuple(asked.size)), folder)
    print(json.dumps(found) if asked.json else table(found))


if __name__ == "__main__":
    main()
