"""Samples, clips and nodes for tests of evaluators that ask a judge."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.checking.test_config import composed
from vpo.records import Clip, Failure, Prompt, Query, Rival, Sample
from vpo.video.clips import write_mp4


def sample(
    text: str | Failure,
    query: str = "a dog runs",
    method: str = "sft",
    clip: Any = None,
    meta: dict | None = None,
    **rivals: Any,
) -> Sample:
    """A method's prompt for a query, and those of its rivals by their names, each a text or (text, clip)."""
    others = tuple(
        Rival(name, prompt_of(one[0], query, name), _clips(one[1]))
        if isinstance(one, tuple)
        else Rival(name, prompt_of(one, query, name))
        for name, one in rivals.items()
    )
    return Sample(Query("q", query, meta=meta or {}), prompt_of(text, query, method), _clips(clip), rivals=others)


def _clips(given: Any) -> tuple:
    """One clip, several, or none."""
    return () if given is None else given if isinstance(given, tuple) else (given,)


def prompt_of(text: str | Failure, query: str, method: str) -> Prompt | Failure:
    return text if isinstance(text, Failure) else Prompt(f"q-{method}", "q", query, text, method)


def clip_of(path: Path, frames: np.ndarray, query: str = "a dog runs", status: str = "ok") -> Clip:
    """A clip at a place, written of these frames."""
    write_mp4(frames, 8, path)
    height, width = frames.shape[1:3]
    return Clip(
        path.stem, f"p-{path.stem}", "q", query, "a prompt", str(path), 0, len(frames), 8.0, height, width, status
    )


@cache
def _composed(name: str) -> str:
    (node,) = composed(f"evaluator=[{name}]")["evaluator"].values()
    return json.dumps(node)  # composing takes a while


def node_of(name: str, server: Any = None, **values: Any) -> dict[str, Any]:
    """The node of an evaluator's yaml; with a server it asks that one, without its engine is the test's."""
    node = json.loads(_composed(name)) | values
    if server is not None:
        return node | {
            "engine": {
                "_target_": "vpo.language.server.ServerEngine",
                "base_url": server.base_url,
                "model": "tiny",
                "cache": None,
            }
        }
    return {key: value for key, value in node.items() if key != "engine" or value}
