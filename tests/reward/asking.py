"""Tiny vision-language models and clips for tests of the rewards that ask them."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import yaml

from tests.conftest import ROOT
from vpo.assets.tiny.vlm import MODELS
from vpo.records import Clip
from vpo.video.clips import write_mp4

# VisionReward's 64 with their weights, and texts of our own: some long, some short, four with the query, as its are.
QUESTIONS = [
    {**one, "text": f'Is what "[[prompt]]" asks for shown at level {one["level"]}?' if one["id"] <= 4 else
     f"Is the {one['sub_dimension'].lower()} good, level {one['level']}?"}
    for one in yaml.safe_load((ROOT / "conf/reward/base/visionreward.yaml").read_text(encoding="utf-8"))["questions"]
]  # fmt: skip

_MODELS = TemporaryDirectory(prefix="vlm-")  # gone when the process ends
TEXTS_FILE = Path(_MODELS.name) / "texts.txt"  # in VisionReward's own form
TEXTS_FILE.write_text("".join(f"{one['text']}\n" for one in QUESTIONS), encoding="utf-8")


@cache
def model_folder(name: str) -> Path:
    """The folder of a tiny model, made once in a test run."""
    folder = Path(_MODELS.name) / name
    MODELS[name](folder)
    return folder


def moving(count: int = 9, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """A square that crosses a patterned ground, uint8 (count, height, width, 3)."""
    rows, columns = np.mgrid[:height, :width]
    ground = np.stack([rows * 3, columns * 2, (rows + columns) % 60 * 3], -1) % 256
    frames = np.repeat(ground[None], count, 0).astype(np.uint8)
    for place in range(count):
        left = 4 + place * (width - 24) // max(1, count)
        frames[place, 20:40, left : left + 16] = (220, 40 + 10 * seed, 30)
    return frames


def clip(
    folder: Path, name: str = "clip", query: str = "a dog runs", frames: np.ndarray | None = None, fps: float = 4
) -> Clip:
    """A clip that was rendered for a query, from another prompt."""
    frames = moving() if frames is None else frames
    path = folder / f"{name}.mp4"
    write_mp4(frames, fps, path)
    return Clip(
        name,
        f"p-{name}",
        f"q-{name}",
        query,
        "A LONG REWRITTEN PROMPT",
        str(path),
        0,
        len(frames),
        fps,
        *frames.shape[1:3],
    )
