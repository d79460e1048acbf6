from types import SimpleNamespace

import torch

MODELS, SCHEDULERS = "models", "schedulers"


class Vae(torch.nn.Module):
    out_channels = 4

    def get_latent_size(self, size: tuple[int, int, int]) -> list[int]:
        return [size[0] // 17 * 5, size[1] // 8, size[2] // 8]

    def decode(self, latents: torch.Tensor, num_frames: int) -> torch.Tensor:
        assert latents.shape == (1, 4, 15, 4, 6)
        return torch.nn.functional.interpolate(latents[:, :3].float(), size=(num_frames, 32, 49))


class Dit(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.y_embedder = torch.nn.Identity()


class Scheduler:
    def sample(self, model, text_encoder, *, z, prompts, device, additional_args, progress):
        """Noise; NaN for a prompt that says so."""
        assert text_encoder.y_embedder is model.y_embedder
        assert prompts[0].endswith(" aesthetic score: 6.5.")
        assert prompts[0] == prompts[0].lower()
        assert {name: round(float(value), 2) for name, value in additional_args.items()} == {
            "height": 32, "width": 49, "num_frames": 51, "ar": 0.65, "fps": 24,
        }  # fmt: skip
        return z * float("nan") if "nan" in prompts[0] else z


def build_module(node: dict, registry: str, **more):
    if node["type"] == "t5":
        tokenizer = lambda text: {"input_ids": text.split()}  # noqa: E731
        return SimpleNamespace(t5=SimpleNamespace(tokenizer=tokenizer), output_dim=8, model_max_length=300)
    if node["type"] == "rflow":
        assert node["num_sampling_steps"] == 30
        return Scheduler()
    if node["type"] == "STDiT3-XL/2":
        assert tuple(more["input_size"]) == (15, 4, 6)
        return Dit()
    return Vae()
