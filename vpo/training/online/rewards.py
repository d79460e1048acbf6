"""Feedback as numbers: what online reinforcement learning maximises, in the shape of TRL's reward functions.

A reward function is called with one sampled completion an entry, and gives one number or None each. None means that the judge or
the reward model gave no usable answer; it is counted, and never a score. Both read the user's query, never the rewritten prompt.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vpo.feedback.grading import graded
from vpo.interfaces import Generator, Judge, Reward
from vpo.records import Clip, Failure, Prompt, Score, Verdict
from vpo.seeding import seed_of

Decode = Callable[[list[int]], str]
LogMetric = Callable[[str, float], None]
Numbers = list[float | None]


class TextReward:
    """Text-level feedback: the judge's verdict on each completion, as `graded`.

    Args:
        judge: reads a prompt against its query.
        decode: from completion ids to the prompt's text, as sampling does it (`Renderer.decode`).
    """

    def __init__(self, judge: Judge, decode: Decode) -> None:
        self.judge, self.decode = judge, decode

    def __call__(
        self,
        *,
        completion_ids: Sequence[list[int]],
        query_id: Sequence[str],
        query: Sequence[str],
        log_metric: LogMetric,
        **unused: Any,
    ) -> Numbers:
        """One number in [0, 1] a completion, None where the verdict is unread."""
        verdicts = self.judge.critique(_prompts(completion_ids, query_id, query, self.decode))
        for aspect in ("harmless", "accurate", "helpful"):
            answers = [getattr(one, aspect) for one in verdicts if isinstance(one, Verdict)]
            known = [one for one in answers if one is not None]
            if known:
                log_metric(f"judge/{aspect}", sum(known) / len(known))
        return _counted([graded(one) for one in verdicts], "text", log_metric)


class VideoReward:
    """Video-level feedback: each completion is rendered, its clip is scored, and the clip is removed.

    Completions of a query are rendered with equal noise within an update, and with other noise in the next: what differs within
    the group that is compared is the prompt alone.

    Args:
        generator: the text-to-video model.
        reward: scores clips against the query.
        decode: as in `TextReward`.
        seed: of the run.
        scratch: a folder for the clips of one call.
    """

    def __init__(self, generator: Generator, reward: Reward, decode: Decode, *, seed: int, scratch: Path) -> None:
        self.generator, self.reward, self.decode, self.seed, self.scratch = generator, reward, decode, seed, scratch

    def __call__(
        self,
        *,
        completion_ids: Sequence[list[int]],
        query_id: Sequence[str],
        query: Sequence[str],
        trainer_state: Any,
        log_metric: LogMetric,
        **unused: Any,
    ) -> Numbers:
        """One number a completion, in the reward's own unit; None where the clip could not be made or read."""
        prompts = _prompts(completion_ids, query_id, query, self.decode)
        seeds = [seed_of("clip", self.seed, one.query_id, trainer_state.global_step) for one in prompts]
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            rendered = self.generator.render(prompts, seeds, Path(folder))
            places = [place for place, one in enumerate(rendered) if isinstance(one, Clip)]
            clips = [
                dataclasses.replace(rendered[place], path=str(Path(folder, rendered[place].path))) for place in places
            ]
            scores = dict(zip(places, self.reward.score(clips), strict=True))
        values = [_value(scores.get(place)) for place in range(len(rendered))]
        return _counted(values, "video", log_metric)


def _value(score: Score | Failure | None) -> float | None:
    """A score's value; None where no clip was rendered or the reward failed."""
    return score.value if isinstance(score, Score) else None


def _prompts(
    completion_ids: Sequence[list[int]], query_id: Sequence[str], query: Sequence[str], decode: Decode
) -> list[Prompt]:
    """The completions as prompts of their queries; ids are unique within a call."""
    return [
        Prompt(f"{one}-{number}", one, text, decode(list(ids)), "grpo", number)
        for number, (ids, one, text) in enumerate(zip(completion_ids, query_id, query, strict=True))
    ]


def _counted(numbers: Numbers, name: str, log_metric: LogMetric) -> Numbers:
    """The numbers, after the share of failures is logged."""
    log_metric(f"failed/{name}", sum(one is None for one in numbers) / len(numbers))
    return numbers
