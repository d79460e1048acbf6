"""Clips to score, and rewards as their yaml builds them."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

from tests.checking.test_config import composed
from vpo.assets.tiny.vision import MODELS
from vpo.build import build
from vpo.records import Clip
from vpo.video.clips import write_mp4

_HEADS = TemporaryDirectory(prefix="head-")  # gone when the process ends


def clip(
    path: Path, query: str = "a red dog runs", seed: int = 0, count: int = 6, size: tuple[int, int] = (32, 48)
) -> Clip:
    """A clip of coloured blocks, written to `path`; its prompt is another text than its query."""
    height, width = size
    small = np.random.default_rng(seed).integers(0, 256, (count, height // 8, width // 8, 3), dtype=np.uint8)
    write_mp4(np.repeat(np.repeat(small, 8, 1), 8, 2), 8, path)
    return named(path, query, count, size)


def named(
    path: Path, query: str = "a red dog runs", count: int = 6, size: tuple[int, int] = (32, 48), **more: Any
) -> Clip:
    """The record of a clip, whatever lies at `path`."""
    name = path.stem
    return Clip(name, f"p-{name}", f"q-{name}", query, f"prompt of {name}", str(path), 0, count, 8, *size, **more)


def reward(name: str, *overrides: str) -> Any:
    """`reward=<name>` of a config with further overrides, in 32 bits on the CPU."""
    return build(node(name, *overrides))


@cache
def _head() -> Path:
    """A linear head for embeddings of 768 numbers, made once in a test run."""
    folder = Path(_HEADS.name)
    MODELS["aesthetic_head"](folder)
    return folder / "head.json"


@cache
def _composed(name: str) -> str:
    return json.dumps(composed(f"reward={name}")["reward"])  # composing takes a while


def node(name: str, *overrides: str) -> dict[str, Any]:
    """The node that the command line would compose; of overrides those that set a key of the reward's are known."""
    found = json.loads(_composed(name))
    for one in (found, *found.get("parts", {}).values()):
        if "head" in one:
            one["head"] = str(_head())  # LAION's own is not part of the repository
    for override in overrides:
        path, _, value = override.removeprefix("reward.").partition("=")
        *way, key = path.split(".")
        inner = found
        for part in way:
            inner = inner[part]
        assert key in inner, f"{override} would be refused"
        inner[key] = yaml.safe_load(value)
    return found
