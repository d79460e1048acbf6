"""Text-to-video and text-to-image pipelines of diffusers: a model is a yaml."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vpo.generator.folder import check_folder, fetch_configs, fetch_weights
from vpo.generator.options import LIBRARIES, Acceleration, Lora, Memory, Scheduler, Settings, read_options
from vpo.records import Clip, Prompt
from vpo.storage.installed import installed
from vpo.storage.names import file_name
from vpo.video import clips


class DiffusersGenerator:
    """Renders prompts by a pipeline of diffusers. Its files are fetched, and its weights loaded, when the first prompts come.

    All noise of a clip comes from its own seed, drawn on the CPU, and each prompt is a call of its own: a clip does not depend on
    its neighbours, bit for bit. Batches would gain little, since a clip fills a GPU; in diffusers 0.42.1 Latte gives a prompt other
    embeddings in a batch than alone, and HunyuanVideo 1.5 takes one prompt only.
    """

    not_in_key = ("device",)
    batch_size = 1  # so that what is finished is kept

    def __init__(
        self,
        path: str,
        revision: str | None,
        pipeline: str,
        dtype: str,
        frames: int,
        fps: float,
        height: int,
        width: int,
        steps: int,
        guidance: float | None,
        tokens: int,
        tokenizer: str = "tokenizer",
        negative_prompt: str | None = None,
        scheduler: Mapping[str, Any] | None = None,
        memory: Mapping[str, Any] | None = None,
        lora: Mapping[str, Any] | None = None,
        acceleration: Mapping[str, Any] | None = None,
        call: Mapping[str, Any] | None = None,
        dtypes: Mapping[str, str] | None = None,
        variant: str | None = None,
        device: str = "auto",
    ) -> None:
        """Check the settings. Nothing is fetched or loaded.

        Args:
            path: hub id, folder or `asset:<name>` of a pipeline.
            revision: commit of the hub; None is the newest.
            pipeline: its class in diffusers, such as "CogVideoXPipeline".
            dtype: of its weights: "bfloat16", "float16" or "float32".
            frames: of a clip; 1 for images.
            fps: frames per second of the file, and what a pipeline is told that asks for it.
            height: in pixels.
            width: in pixels.
            steps: of denoising.
            guidance: scale of classifier-free (or embedded) guidance; None is the pipeline's own.
            tokens: that the text encoder reads at most.
            tokenizer: the pipeline's component that counts them, where it has several.
            negative_prompt: what clips shall not be like; None where the authors name none.
            scheduler: see `vpo.generator.options.Scheduler`; None keeps the model's.
            memory: see `Memory`.
            lora: see `Lora`; None is none.
            acceleration: see `Acceleration`; all of it is off by default.
            call: further arguments of the pipeline's call.
            dtypes: of single components, by name, where they differ from `dtype`.
            variant: of the files on the hub, such as "fp16".
            device: "auto", "cpu" or "gpu".

        Raises:
            UserError: A value cannot be: a number of frames, a size, an unknown class.
        """
        self.settings = Settings(
            path=path, revision=revision, pipeline=pipeline, dtype=dtype, frames=frames, fps=fps, height=height, width=width,
            steps=steps, guidance=guidance, tokens=tokens, tokenizer=tokenizer, negative_prompt=negative_prompt, device=device,
            variant=variant, dtypes=dtypes or {}, call=call or {},
            scheduler=read_options(Scheduler, scheduler, "generator.scheduler"),
            memory=read_options(Memory, memory, "generator.memory"),
            lora=None if lora is None else read_options(Lora, lora, "generator.lora"),
            acceleration=read_options(Acceleration, acceleration, "generator.acceleration"),
        )  # fmt: skip
        self.settings.check()
        self._found: tuple[Path, str | None, dict[str, Any]] | None = None
        self._pipeline: Any = None

    @classmethod
    def check(cls, node: Mapping[str, Any]) -> None:
        """Raise UserError for what is wrong with a node of the config. It is asked when a config is composed."""
        made = cls(**{key: value for key, value in node.items() if not key.startswith("_")})
        if Path(made.settings.path).is_dir():
            check_folder(made.settings, Path(made.settings.path))

    def describe(self) -> dict[str, Any]:
        """What a clip depends on besides prompt and seed: model, commit, settings, versions of libraries. No weights are loaded."""
        _, commit, _ = self._place()
        settings = asdict(self.settings)
        for name in ("path", "revision", "device"):
            settings.pop(name)
        return {
            "model": self.settings.path,
            "revision": commit,
            "settings": settings,
            "libraries": installed(LIBRARIES),
        }

    def render(self, prompts: Sequence[Prompt], seeds: Sequence[int], folder: Path) -> list[Clip]:
        """One mp4 a prompt in `folder`; an image is a clip of one frame.

        What is not finite or black is not written, and the clip's `status` says so. Each clip has the number of its prompt's tokens
        that the text encoder did not read.
        """
        return [self._render(prompt, seed, folder) for prompt, seed in zip(prompts, seeds, strict=True)]

    def frames_of(self, text: str, seed: int) -> np.ndarray:
        """What the pipeline makes of a text: frames, float (T, H, W, 3) in 0..1."""
        import torch

        from vpo.generator.acceleration import forget
        from vpo.generator.loading import quiet

        pipeline = self.pipeline()
        generator = torch.Generator().manual_seed(seed)
        try:
            with quiet():
                made = pipeline(prompt=[text], generator=[generator], **self._arguments(pipeline))
        except BaseException:
            forget(pipeline)
            raise
        images = getattr(made, "images", None)
        return np.asarray(made.frames[0] if images is None else images)

    def pipeline(self) -> Any:
        """The pipeline, loaded on the first call. Raises UserError where it cannot be."""
        if self._pipeline is None:
            from vpo.generator.acceleration import accelerate
            from vpo.generator.loading import load

            _, commit, parts = self._place()
            folder = fetch_weights(self.settings, commit, parts)
            self._pipeline = load(self.settings, folder, parts, _device(self.settings.device))
            accelerate(self._pipeline, self.settings.acceleration)
        return self._pipeline

    def close(self) -> None:
        """Free the models' memory. A second call does nothing."""
        if self._pipeline is not None:
            self._pipeline.remove_all_hooks()
        self._pipeline = None

    def _render(self, prompt: Prompt, seed: int, folder: Path) -> Clip:
        from vpo.generator.loading import quiet
        from vpo.generator.prompt_tokens import truncated_tokens

        pipeline, settings = self.pipeline(), self.settings
        with quiet():
            beyond = truncated_tokens(
                pipeline, getattr(pipeline, settings.tokenizer), prompt.text, settings.tokens, settings.call
            )
        video = self.frames_of(prompt.text, seed)
        path, status = f"{file_name(prompt.id)}.mp4", _status(video, settings)
        if status == "ok":
            clips.write_mp4(_as_bytes(video), settings.fps, folder / path)
        return Clip(
            id=prompt.id, prompt_id=prompt.id, query_id=prompt.query_id, query=prompt.query, prompt=prompt.text, path=path,
            seed=seed, frames=settings.frames, fps=settings.fps, height=settings.height, width=settings.width, status=status,
            truncated_tokens=beyond,
        )  # fmt: skip

    def _place(self) -> tuple[Path, str | None, dict[str, Any]]:
        """The folder of the configs, the commit, and the components; checked once."""
        if self._found is None:
            folder, commit = fetch_configs(self.settings)
            self._found = folder, commit, check_folder(self.settings, folder)
        return self._found

    def _arguments(self, pipeline: Any) -> dict[str, Any]:
        """The arguments of the pipeline's call, under the names that its class has for them."""
        settings, known = self.settings, inspect.signature(pipeline.__call__).parameters
        given = {
            "height": settings.height, "width": settings.width, "num_inference_steps": settings.steps, "output_type": "np",
            "num_frames": settings.frames, "video_length": settings.frames, "frame_rate": settings.fps,
            "guidance_scale": settings.guidance, "max_sequence_length": settings.tokens,
            "negative_prompt": None if settings.negative_prompt is None else [settings.negative_prompt],
        }  # fmt: skip
        return {name: one for name, one in given.items() if name in known and one is not None} | dict(settings.call)


def _status(video: np.ndarray, settings: Settings) -> str:
    """'ok', or what is wrong with what a pipeline has made."""
    wanted = (settings.frames, settings.height, settings.width, 3)
    if video.shape != wanted:
        return f"the pipeline made {' x '.join(map(str, video.shape))}, not {' x '.join(map(str, wanted))}"
    return clips.check(video * 255.0)


def _as_bytes(video: np.ndarray) -> np.ndarray:
    """Frames in 0..1 as whole numbers in 0..255."""
    return (video.clip(0.0, 1.0) * 255.0).round().astype(np.uint8)


def _device(wanted: str) -> str:
    """The device of torch that a config's `device` means."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cuda" if wanted == "gpu" else wanted
