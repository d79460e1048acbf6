"""Open-Sora 1.2 as a worker: text to video, by the classes of the authors' repository. NEVER RUN BY US on the real model.

Jobs, see `contract.py`:

    {"id": "a", "prompt": "a cat ...", "seed": 7, "path": "/folder/a.mp4"}
    -> {"path", "frames", "fps", "height", "width", "truncated_tokens", "status"}; status is "ok", or says why there is no file

Values are the authors' (hpcaitech/Open-Sora at v1.2.0, configs/opensora-v1-2/inference/sample.py): 240p 9:16, 51 frames at 24 fps, 30
steps of rectified flow with guidance 7, bf16, at most 300 T5 tokens, " aesthetic score: 6.5." after the prompt. As in their
scripts/inference.py the prompt is cleaned by their `text_preprocessing`. Other than there: one clip at a time, whose noise comes from
its own seed; attention and layer norms are torch's own, because flash-attn and apex are compiled against a machine (their README);
a prompt's "{" and "|0|" are text and no instructions; the mp4 is written at CRF 10 without a watermark.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Mapping

if __package__:
    from vpo.workers import contract
else:
    HERE = os.path.dirname(os.path.abspath(__file__))
    sys.path += [HERE, os.path.dirname(HERE)]
    import contract

    del sys.path[-2:]  # what else lies there is not for the model's code

# opensora/datasets/aspect.py: the VAE works on 17 frames at a time, and the model was trained on multiples of 51.
FRAMES = (51, 102, 204, 408)
T5 = "DeepFloyd/t5-v1_1-xxl"  # the only text encoder that the repository accepts


class OpenSora(contract.Script):
    """Open-Sora 1.2, text to video."""

    name = "open_sora"
    fields = ("prompt", "path")
    other_fields = ("seed",)
    defaults: Mapping[str, Any] = {
        "repository": "",
        "path": "hpcai-tech/OpenSora-STDiT-v3",
        "vae": "hpcai-tech/OpenSora-VAE-v1.2",
        "frames": 51,
        "fps": 24,
        "resolution": "240p",
        "aspect_ratio": "9:16",  # height to width, so this is 240 x 426
        "steps": 30,
        "guidance": 7.0,
        "dtype": "bf16",
        "max_tokens": 300,
        "aesthetic_score": 6.5,
        "append_score": True,
    }

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        if settings["frames"] not in FRAMES:
            allowed = ", ".join(map(str, FRAMES))
            raise contract.BadInput(f"frames={settings['frames']}: Open-Sora 1.2 makes {allowed} frames")
        if settings["dtype"] not in ("bf16", "fp16", "fp32"):
            raise contract.BadInput(f"dtype={settings['dtype']} must be bf16, fp16 or fp32")
        for name in ("fps", "steps", "max_tokens"):
            if settings[name] < 1:
                raise contract.BadInput(f"{name}={settings[name]} must be at least 1")

    def check(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        import av
        import torch

        use_repository(settings["repository"])

        return {"torch": torch.__version__, "av": av.__version__, "gpu": gpu_name(torch)}

    def load(self, settings: Mapping[str, Any]) -> None:
        use_repository(settings["repository"])
        import av  # noqa: F401 (that it is missing is found now)
        import torch
        from opensora.datasets.aspect import get_image_size
        from opensora.models.text_encoder.t5 import text_preprocessing
        from opensora.registry import MODELS, SCHEDULERS, build_module
        from opensora.utils.misc import to_torch_dtype

        torch.set_grad_enabled(False)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        self.settings, self.clean = settings, text_preprocessing
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.dtype = to_torch_dtype(settings["dtype"])
        self.height, self.width = get_image_size(settings["resolution"], settings["aspect_ratio"])
        nodes = model_nodes(settings)
        self.text_encoder = build_module(nodes["text_encoder"], MODELS, device=self.device)
        self.vae = build_module(nodes["vae"], MODELS).to(self.device, self.dtype).eval()
        self.latent = tuple(self.vae.get_latent_size((settings["frames"], self.height, self.width)))
        self.model = build_module(
            nodes["model"],
            MODELS,
            input_size=self.latent,
            in_channels=self.vae.out_channels,
            caption_channels=self.text_encoder.output_dim,
            model_max_length=self.text_encoder.model_max_length,
            enable_sequence_parallelism=False,
        )
        self.model = self.model.to(self.device, self.dtype).eval()
        self.text_encoder.y_embedder = self.model.y_embedder  # it gives the null caption of the guidance
        self.scheduler = build_module(nodes["scheduler"], SCHEDULERS)

    def work(self, job: contract.Job) -> dict[str, Any]:
        import torch

        settings = self.settings
        text = self.clean(with_score(job["prompt"], settings["aesthetic_score"] if settings["append_score"] else None))
        tokens = len(self.text_encoder.t5.tokenizer(text)["input_ids"])
        generator = torch.Generator(self.device).manual_seed(int(job["seed"]) % 2**63)
        shape = (1, self.vae.out_channels, *self.latent)
        noise = torch.randn(shape, generator=generator, device=self.device, dtype=self.dtype)
        facts = clip_facts(self.height, self.width, settings["frames"], settings["fps"])
        latents = self.scheduler.sample(
            self.model,
            self.text_encoder,
            z=noise,
            prompts=[text],
            device=self.device,
            additional_args={
                name: torch.tensor([value], device=self.device, dtype=self.dtype) for name, value in facts.items()
            },
            progress=False,
        )
        video = self.vae.decode(latents.to(self.dtype), num_frames=settings["frames"])[0]  # (3, T, H, W) in -1..1
        frames, height, width = video.shape[1], *(side // 2 * 2 for side in video.shape[2:])  # H.264 has even sides
        finite = bool(torch.isfinite(video).all())
        if finite:
            pixels = (
                ((video.float().clamp(-1, 1) + 1) * 127.5 + 0.5).clamp(0, 255).to(torch.uint8)[:, :, :height, :width]
            )
            with contract.whole_file(job["path"]) as part:
                write_clip(pixels.permute(1, 2, 3, 0).cpu().numpy(), settings["fps"], part)
        return {
            "path": job["path"],
            "frames": frames,
            "fps": settings["fps"],
            "height": height,
            "width": width,
            "truncated_tokens": max(0, tokens - settings["max_tokens"]),
            "status": "ok" if finite else "non-finite",
        }

    def is_there(self, job: contract.Job, result: Mapping[str, Any]) -> bool:
        return result["status"] != "ok" or os.path.exists(job["path"])


def with_score(prompt: str, score: float | None) -> str:
    """The prompt with the aesthetic score that the model was trained to read; a prompt that names one is kept.

    opensora/utils/inference_utils.py: " aesthetic score: 6.5." with one decimal.
    """
    if score is None or "aesthetic score:" in prompt:
        return prompt
    return f"{prompt} aesthetic score: {score:.1f}."


def model_nodes(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the repository's registries build, in their form."""
    return {
        "text_encoder": {"type": "t5", "from_pretrained": T5, "model_max_length": settings["max_tokens"]},
        "vae": {
            "type": "OpenSoraVAE_V1_2",
            "from_pretrained": settings["vae"],
            "micro_frame_size": 17,
            "micro_batch_size": 4,
        },
        "model": {
            "type": "STDiT3-XL/2",
            "from_pretrained": settings["path"],
            "qk_norm": True,
            "enable_flash_attn": False,
            "enable_layernorm_kernel": False,
        },
        "scheduler": {
            "type": "rflow",
            "use_timestep_transform": True,
            "num_sampling_steps": settings["steps"],
            "cfg_scale": settings["guidance"],
        },
    }


def clip_facts(height: int, width: int, frames: int, fps: float) -> dict[str, float]:
    """What the model is told of the clip: its size, its length, and its ratio, height to width."""
    return {"height": height, "width": width, "num_frames": frames, "ar": height / width, "fps": fps}


def write_clip(frames: Any, fps: float, path: str) -> None:
    """Write frames, uint8 (T, H, W, 3) RGB with even sides, as H.264 in mp4."""
    import av

    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=int(fps))
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        # Equal frames must give equal files. x264's threads and look-ahead do not: one file in ten differs on a busy machine.
        stream.thread_count = 1
        repeatable = "threads=1:sync-lookahead=0:rc-lookahead=0:mbtree=0"
        stream.options = {"crf": "10", "preset": "veryfast", "threads": "1", "x264-params": repeatable}
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image.copy(), format="rgb24")))
        container.mux(stream.encode())


def use_repository(folder: str) -> None:
    """Import from the repository. Raises BadInput where it is not there."""
    if not os.path.isdir(os.path.join(folder, "opensora")):
        raise contract.BadInput(
            f"repository={folder!r} holds no opensora; name the folder of a clone of Open-Sora v1.2.0"
        )
    if folder not in sys.path:
        sys.path.insert(0, folder)


def gpu_name(torch: Any) -> str:
    """The GPU that the model would run on."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"


if __name__ == "__main__":
    sys.exit(contract.main(OpenSora()))
