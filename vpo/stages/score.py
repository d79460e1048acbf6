"""Stage `score`: a reward reads clips against the original query (VPO paper 3.3)."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import ClassVar

from vpo.build import Spec, batch_size_of
from vpo.interfaces import Reward
from vpo.records import Clip, Failure, Score
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.storage.jsonio import write_json
from vpo.storage.store import Entry


@dataclass(frozen=True, kw_only=True)
class ScoreClips(Stage):
    """A reward reads clips against the original query.

    Writes `scores.jsonl`, one a clip, and the reward's `card.json`.
    """

    name: ClassVar[str] = "score"

    reward: Node
    clips: Entry

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        done = context.complete(
            self.clips.rows("clips.jsonl", Clip), folder / "scores.jsonl", kind=Score, make=Spec(self.reward),
            call=partial(score_clips, clips_folder=self.clips.folder / "clips", card=folder / "card.json"),
            item_id=attrgetter("id"), batch_size=batch_size_of(self.reward), label=f"scores of {self.label}",
        )  # fmt: skip
        return {
            "scores": len(done.records), "unread": sum(one.value is None for one in done.records),
            "failed": len(done.failures),
        }  # fmt: skip


def score_clips(reward: Reward, clips: Sequence[Clip], *, clips_folder: Path, card: Path) -> list[Score | Failure]:
    """One score a clip; the reward's card is written by whichever worker comes first."""
    if not card.exists():
        write_json(card, reward.card(), indent=1)
    return reward.score([absolute(clip, clips_folder) for clip in clips])


def absolute(clip: Clip, folder: Path) -> Clip:
    """The clip with its path made absolute."""
    return dataclasses.replace(clip, path=str((folder / clip.path).resolve()))
