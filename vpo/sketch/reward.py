"""The sketch world's reward: a checklist in VisionReward's dimensions, answered from pixels and the original query."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vpo.feedback.checklist import Question, dimension_scores, weighted_sum
from vpo.records import Clip, Score
from vpo.sketch.measures import measure
from vpo.sketch.vocabulary import find_facets
from vpo.video.clips import ClipError, check
from vpo.video.frames import FrameReader


class SketchReward:
    """Answers each question by one statistic and its bound: `measure` above `above`, or below `below`."""

    shares_frames = True  # scores clips beside evaluators that do, so that a clip is decoded once (vpo.stages.together)

    def __init__(self, questions: Sequence[Mapping[str, Any]]) -> None:
        """A question has the fields of `checklist.Question`, a `measure` (of `measures`), and `above` or `below`."""
        self.reader = FrameReader("all")
        names = list(Question.__dataclass_fields__)
        self.questions = tuple(Question(**{name: q[name] for name in names}) for q in questions)
        self.rules = tuple((str(q["measure"]), q.get("above"), q.get("below")) for q in questions)
        for question, (_, above, below) in zip(self.questions, self.rules, strict=True):
            if (above is None) == (below is None):
                raise ValueError(f"conf/reward/sketch.yaml: question {question.id} needs either 'above' or 'below'")

    def score(self, clips: Sequence[Clip]) -> list[Score]:
        """One score a clip (absolute path), read against `clip.query`; an unreadable clip has None everywhere."""
        return [self._score(clip) for clip in clips]

    def card(self) -> Mapping[str, Any]:
        """The questions with their weights and bounds, and how frames are read."""
        rules = [{"measure": m, "above": a, "below": b} for m, a, b in self.rules]
        return {
            "name": "sketch checklist",
            "questions": [asdict(q) | rule for q, rule in zip(self.questions, rules, strict=True)],
            "maximum": sum(question.weight for question in self.questions),
            "score": "R01: sum of the weights of the questions answered yes",
            "text": "the original query",
            "frames": "all, scaled to 64 x 64 by the nearest pixels",
            "rule": "a clip that is unreadable, empty or black scores None",
        }

    def close(self) -> None:
        """Free the frames."""
        self.reader.close()

    def _score(self, clip: Clip) -> Score:
        answers = self._answers(clip)
        return Score(
            clip_id=clip.id,
            prompt_id=clip.prompt_id,
            query_id=clip.query_id,
            answers=answers,
            value=weighted_sum(answers, [question.weight for question in self.questions]),
            dimensions=dimension_scores(answers, self.questions),
        )

    def _answers(self, clip: Clip) -> tuple[bool | None, ...]:
        try:
            frames = self.reader.read(clip.path).images
        except ClipError:
            return (None,) * len(self.questions)
        if check(frames) != "ok":
            return (None,) * len(self.questions)
        named = {facet: mention.concept for facet, mention in find_facets(clip.query).items()}
        seen = measure(frames, named)
        return tuple(_holds(seen[name], above, below) for name, above, below in self.rules)


def _holds(value: float, above: float | None, below: float) -> bool:
    """Whether the statistic lies beyond its bound."""
    return bool(value > above if above is not None else value < below)
