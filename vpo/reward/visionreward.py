"""VisionReward-Video: its own model answers its checklist, in an environment of its own (`vpo/workers/visionreward/`).

NEVER RUN BY US on the real model. `vpo workers install visionreward` makes the environment; the model is loaded once a worker.
The weights were fitted on this model's answers (THUDM/VisionReward; VPO's `src/process_data.py` uses the same).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vpo.feedback.checklist import Question, dimension_scores, never_yes, weighted_sum
from vpo.records import Clip, Failure, Score
from vpo.workers.client import WorkerProcess, model_place
from vpo.workers.visionreward import script

log = logging.getLogger(__name__)

Answers = tuple[bool | None, ...]


class VisionReward:
    """Yes/no answers of VisionReward-Video and their weighted sum; the settings are explained in the worker's script.

    `job_seconds` is how long one clip may take; null waits for ever.
    """

    not_in_key = ("job_seconds", "batch_size")
    needs_workers = ("visionreward",)

    def __init__(
        self,
        path: str,
        revision: str | None,
        questions: Sequence[Mapping[str, Any]],
        frames: int,
        line_end: bool,
        job_seconds: float | None,
        batch_size: int,
    ) -> None:
        """`questions` have the fields of `checklist.Question`; the worker starts when the first clip is scored."""
        self.questions = tuple(Question(**question) for question in questions)
        self.weights = [question.weight for question in self.questions]
        settings = {
            "path": model_place(path), "revision": revision, "questions": [question.text for question in self.questions],
            "frames": frames, "line_end": line_end,
        }  # fmt: skip
        self.worker = WorkerProcess(script.VisionReward(), settings, key="reward", seconds=job_seconds)
        self._warned = False

    def score(self, clips: Sequence[Clip]) -> list[Score | Failure]:
        """One score a clip (absolute path), read against `clip.query`; an unreadable clip has None everywhere."""
        asked = [clip for clip in clips if clip.status == "ok"]
        jobs = [{"id": clip.id, "path": clip.path, "query": clip.query} for clip in asked]
        results = {
            clip.id: self._read(one)
            for clip, one in zip(asked, self.worker.work(jobs) if jobs else [], strict=True)
        }  # fmt: skip
        self._warn_of_never_yes([one for one in results.values() if not isinstance(one, Failure)])
        nothing: Answers = (None,) * len(self.questions)
        return [self._score(clip, results.get(clip.id, nothing)) for clip in clips]

    def card(self) -> Mapping[str, Any]:
        """What a number of this reward depends on."""
        settings = {name: value for name, value in self.worker.settings.items() if name != "questions"}
        return {
            "name": "VisionReward-Video",
            "model": settings,
            "questions": [asdict(question) for question in self.questions],
            "maximum": sum(self.weights),
            "score": "R01: sum of the weights of the questions answered yes",
            "direction": "higher is better",
            "text": "the original query, in the questions about alignment alone",
            "frames": f"the one closest to each second, at most {settings['frames']}",
            "licence": "code Apache-2.0; weights: cogvlm2 licence and the Llama 3 licence",
            "blind_to": "what happens between the seconds, sound, clips of more than 24 s; safety has no weight",
            "rule": "the first token is yes or no, else the answer is None, and with it the score if the question has a weight",
            "run_by_us": False,
        }

    def close(self) -> None:
        """End the worker, which gives its GPU memory back."""
        self.worker.close()

    def _read(self, result: Mapping[str, Any] | Failure) -> Answers | Failure:
        if not isinstance(result, Failure):
            return tuple(result["answers"])
        return (None,) * len(self.questions) if result.kind == "unreadable" else result

    def _score(self, clip: Clip, answers: Answers | Failure) -> Score | Failure:
        if isinstance(answers, Failure):
            return answers
        return Score(
            clip_id=clip.id, prompt_id=clip.prompt_id, query_id=clip.query_id, answers=answers,
            value=weighted_sum(answers, self.weights), dimensions=dimension_scores(answers, self.questions),
        )  # fmt: skip

    def _warn_of_never_yes(self, answers: Sequence[Answers]) -> None:
        """Warn once where no clip of a batch has a yes: the model is broken, not the clips."""
        read = [one for one in answers if any(answer is not None for answer in one)]
        if read and all(map(never_yes, read)) and not self._warned:
            self._warned = True
            log.warning(
                "VisionReward said no to all %d questions about %s: no answer decodes to yes, as with a model that is loaded wrongly "
                "(zai-org/VisionReward#26); its scores mean nothing until `vpo workers check visionreward` and a look at its answers",
                len(self.questions), "a clip" if len(read) == 1 else f"all {len(read)} clips of a batch",
            )  # fmt: skip
