"""VisionReward-Video: its own model answers its checklist, in an environment of its own (`vpo/workers/visionreward/`).

NEVER RUN BY US on the real model. `vpo workers install visionreward` makes the environment; the model is loaded once a worker.
The weights were fitted on this model's answers (THUDM/VisionReward; VPO's `src/process_data.py` uses the same).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.records import Clip, Failure, Score
from vpo.reward.asking.checklist import Checklist
from vpo.workers.client import WorkerProcess, check_settings, model_place
from vpo.workers.visionreward import script


class VisionReward:
    """Yes/no answers of VisionReward-Video and their weighted sum; the settings are explained in the worker's script.

    `job_seconds` is how long one clip may take; null waits for ever.
    """

    not_in_key = ("job_seconds", "batch_size")
    needs_workers = ("visionreward",)

    @staticmethod
    def check(node: Mapping[str, Any]) -> None:
        """Raise UserError where the questions or the settings of a config are wrong. That their texts are there is a run's concern."""
        questions, file = node["questions"], node.get("texts_file")
        if file is not None and not Path(file).expanduser().is_file():
            questions = [{"text": "?", **one} for one in questions]
        texts = [one.text for one in Checklist(questions, node["scale"], file).questions]
        settings = _settings(node["path"], node["revision"], texts, node["frames"], node["line_end"])
        check_settings(script.VisionReward(), settings, "reward")

    def __init__(
        self,
        path: str,
        revision: str | None,
        questions: Sequence[Mapping[str, Any]],
        scale: str,
        frames: int,
        line_end: bool,
        job_seconds: float | None,
        batch_size: int,
        texts_file: str | None = None,
    ) -> None:
        """`questions` and `texts_file` are as of `Checklist`; the worker starts when the first clip is scored."""
        self.checklist = Checklist(questions, scale, texts_file)
        texts = [question.text for question in self.checklist.questions]
        settings = _settings(path, revision, texts, frames, line_end)
        self.worker = WorkerProcess(script.VisionReward(), settings, key="reward", seconds=job_seconds)

    def score(self, clips: Sequence[Clip]) -> list[Score | Failure]:
        """One score a clip (absolute path), read against `clip.query`; a clip that cannot be read has None everywhere."""
        jobs = [{"id": one.id, "path": one.path, "query": one.query} for one in clips if one.status == "ok"]
        results = {job["id"]: result for job, result in zip(jobs, self.worker.work(jobs), strict=True)}
        return [self._score(clip, results.get(clip.id)) for clip in clips]

    def card(self) -> Mapping[str, Any]:
        """What a number of this reward depends on."""
        settings = self.worker.settings
        return {
            "name": "VisionReward-Video",
            "model": {name: settings[name] for name in ("path", "revision")},
            "licence": "code Apache-2.0; weights: cogvlm2 licence and the Llama 3 licence",
            "input": "frames of a clip and each question with the original query",
            "frames": f"the one closest to each second, at most {settings['frames']}",
            "answer": "the first token, greedily: yes or no exactly",
            **self.checklist.card(),
            "cannot_see": "what happens between the seconds, sound, what comes after 24 s; safety has no weight",
            "source": "arXiv 2412.21059",
            "run_by_us": False,
        }

    def close(self) -> None:
        """End the worker, which gives its GPU memory back."""
        self.checklist.report()
        self.worker.close()

    def _score(self, clip: Clip, result: Mapping[str, Any] | Failure | None) -> Score | Failure:
        if result is None or (isinstance(result, Failure) and result.kind == "unreadable"):
            return self.checklist.unreadable(clip)
        return result if isinstance(result, Failure) else self.checklist.score(clip, result["answers"])


def _settings(path: str, revision: str | None, questions: Sequence[str], frames: int, line_end: bool) -> dict[str, Any]:
    """What the worker's script is given."""
    return {
        "path": model_place(path), "revision": revision, "questions": list(questions), "frames": frames, "line_end": line_end,
    }  # fmt: skip
