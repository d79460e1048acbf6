"""Stage `score`: a reward reads clips against the original query (VPO paper 3.3)."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

from vpo.build import Spec, batch_size_of
from vpo.interfaces import Reward
from vpo.records import Clip, Failure, Score
from vpo.stages.contents import with_contents
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.storage.jsonio import write_json
from vpo.storage.store import Entry

log = logging.getLogger(__name__)

FEW = 4  # of fewer clips all may have one score


@dataclass(frozen=True, kw_only=True)
class ScoreClips(Stage):
    """A reward reads clips against the original query.

    Writes `scores.jsonl`, one a clip, with its dimensions raw beside the total, and the reward's `card.json`. Warns where all clips
    have one score.
    """

    name: ClassVar[str] = "score"

    reward: Node
    clips: Entry

    def node(self) -> dict[str, Any]:
        """The node with hashes of the local model and of the files that the reward reads."""
        return super().node() | {"reward": with_contents(self.reward)}

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        done = context.complete(
            self.clips.rows("clips.jsonl", Clip), folder / "scores.jsonl", kind=Score, make=Spec(self.reward),
            call=partial(score_clips, clips_folder=self.clips.folder / "clips", card=folder / "card.json"),
            item_id=attrgetter("id"), batch_size=batch_size_of(self.reward), label=f"scores of {self.label}",
        )  # fmt: skip
        warning = constant(done.records)
        if warning is not None:
            log.warning("%s: %s", self.called, warning)
        return {
            "scores": len(done.records), "unread": sum(one.value is None for one in done.records),
            "failed": len(done.failures),
        }  # fmt: skip


def constant(scores: Sequence[Score]) -> str | None:
    """What is to be said where all clips of more than a few have one score, as a broken model gives it; None where they differ.

    VisionReward's answers are all "no" where it was loaded by another version of a library (zai-org/VisionReward, issue 26).
    """
    values = [one.value for one in scores if one.value is not None]
    if len(values) < FEW or len(set(values)) > 1:
        return None
    return (
        f"all {len(values)} clips have the score {values[0]:g}: no pair comes of that, and a reward looks so whose model was "
        "not loaded as it was trained; see card.json, and some of the clips"
    )


def score_clips(reward: Reward, clips: Sequence[Clip], *, clips_folder: Path, card: Path) -> list[Score | Failure]:
    """One score a clip; the reward's card is written by whichever worker comes first."""
    if not card.exists():
        write_json(card, reward.card(), indent=1)
    return reward.score([absolute(clip, clips_folder) for clip in clips])


def absolute(clip: Clip, folder: Path) -> Clip:
    """The clip with its path made absolute."""
    return dataclasses.replace(clip, path=str((folder / clip.path).resolve()))
