"""Stage `score`: a reward reads clips against the original query (VPO paper 3.3)."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vpo.interfaces import Reward
from vpo.records import Clip, Score
from vpo.stages.bench import Bench, Node
from vpo.storage.jsonio import write_json
from vpo.store import Entry


def score(bench: Bench, reward: Node, clips: Entry, label: str = "") -> Entry:
    """Write `scores.jsonl`, one a clip, and the reward's `card.json`."""

    def work(folder: Path) -> dict[str, int]:
        built = bench.build(reward)
        write_json(folder / "card.json", built.card(), indent=1)
        look = partial(_look, reward=built, folder=clips.folder / "clips")
        scores = bench.complete(
            clips.rows("clips.jsonl", Clip), look, folder / "scores.jsonl", kind=Score, label="scores"
        )
        return {"scores": len(scores), "failed": sum(one.value is None for one in scores)}

    return bench.stage("score", {"reward": reward}, {"clips": clips}, work, label)


def _look(clips: Sequence[Clip], *, reward: Reward, folder: Path) -> list[Score]:
    return reward.score([absolute(clip, folder) for clip in clips])


def absolute(clip: Clip, folder: Path) -> Clip:
    """The clip with its path made absolute."""
    return dataclasses.replace(clip, path=str((folder / clip.path).resolve()))
