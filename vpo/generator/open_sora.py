"""Open-Sora 1.2, which is not in diffusers: a worker in an environment of its own renders (`vpo/workers/open_sora/`).

NEVER RUN BY US on the real model. `vpo workers install open_sora` makes the environment; the model is loaded once a worker.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.records import Clip, Failure, Prompt
from vpo.storage.names import file_name
from vpo.workers.client import WorkerProcess, check_settings, model_place
from vpo.workers.open_sora import script

OURS = ("_target_", "job_seconds", "batch_size")  # of the node; the rest are the script's settings


class OpenSora:
    """Text to video, one clip after the other; the settings are explained in `vpo/workers/open_sora/script.py`.

    `job_seconds` is how long one clip may take; null waits for ever.
    """

    not_in_key = ("job_seconds", "batch_size")
    needs_workers = ("open_sora",)

    @staticmethod
    def check(node: Mapping[str, Any]) -> None:
        """Raise UserError where the settings of a config do not fit together."""
        check_settings(script.OpenSora(), {key: one for key, one in node.items() if key not in OURS}, "generator")

    def __init__(
        self,
        path: str,
        vae: str,
        frames: int,
        fps: int,
        resolution: str,
        aspect_ratio: str,
        steps: int,
        guidance: float,
        dtype: str,
        max_tokens: int,
        aesthetic_score: float,
        append_score: bool,
        job_seconds: float | None,
        batch_size: int,
    ) -> None:
        """Raises UserError where the settings do not fit together; the worker starts when the first clip is rendered."""
        settings = {
            "path": model_place(path), "vae": model_place(vae), "frames": frames, "fps": fps, "resolution": resolution,
            "aspect_ratio": aspect_ratio, "steps": steps, "guidance": guidance, "dtype": dtype, "max_tokens": max_tokens,
            "aesthetic_score": aesthetic_score, "append_score": append_score,
        }  # fmt: skip
        self.worker = WorkerProcess(script.OpenSora(), settings, key="generator", seconds=job_seconds)

    def render(self, prompts: Sequence[Prompt], seeds: Sequence[int], folder: Path) -> list[Clip | Failure]:
        """One mp4 a prompt, `<file_name(prompt.id)>.mp4` in `folder`; what the worker cannot make is a Failure."""
        jobs = [
            {"id": prompt.id, "prompt": prompt.text, "seed": seed, "path": str(folder.absolute() / _name(prompt))}
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        results = self.worker.work(jobs)
        return [
            one if isinstance(one, Failure) else _clip(prompt, seed, one)
            for prompt, seed, one in zip(prompts, seeds, results, strict=True)
        ]

    def describe(self) -> Mapping[str, Any]:
        """What a clip's description says of the model."""
        return {"worker": self.worker.name, **self.worker.settings}

    def close(self) -> None:
        """End the worker, which gives its GPU memory back."""
        self.worker.close()


def _clip(prompt: Prompt, seed: int, made: Mapping[str, Any]) -> Clip:
    return Clip(
        id=prompt.id, prompt_id=prompt.id, query_id=prompt.query_id, query=prompt.query, prompt=prompt.text, path=_name(prompt),
        seed=seed, frames=made["frames"], fps=made["fps"], height=made["height"], width=made["width"], status=made["status"],
        truncated_tokens=made["truncated_tokens"],
    )  # fmt: skip


def _name(prompt: Prompt) -> str:
    return f"{file_name(prompt.id)}.mp4"
