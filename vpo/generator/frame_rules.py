"""How many frames and which sizes a pipeline can make: checked before any weights are read. Pure.

diffusers itself rounds what does not fit, or makes a clip of another length, without an error. A video model's autoencoder makes
one latent of so many frames after the first, and its transformer takes latents in patches; so a clip has `step * n + 1` frames,
and height and width are multiples of the pixels of a patch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vpo.errors import UserError

Configs = Mapping[str, Mapping[str, Any]]  # by component: its config.json


@dataclass(frozen=True)
class Rule:
    """What a pipeline can make.

    Attributes:
        step: a clip has `step * n + 1` frames; None where `exact` says the number.
        pixels: height and width are multiples of it.
        exact: the only number of frames that it makes; 1 for images.
    """

    step: int | None
    pixels: int
    exact: int | None = None


# Of the released models, for a pipeline whose files are not here yet. Sources: the pipelines of diffusers 0.42.1 (`__call__`,
# `check_inputs`, `prepare_latents`), and for CogVideoX the model cards: 8N + 1, and 16N + 1 for CogVideoX1.5. CogVideoX's
# autoencoder decodes two latents of four frames at a time.
RULES = {
    "CogVideoXPipeline": Rule(8, 16),
    "WanPipeline": Rule(4, 16),
    "HunyuanVideoPipeline": Rule(4, 16),
    "HunyuanVideo15Pipeline": Rule(4, 16),
    "LTXPipeline": Rule(8, 32),
    "LTX2Pipeline": Rule(8, 32),
    "MochiPipeline": Rule(6, 16),
    "LattePipeline": Rule(None, 16, exact=16),
    "StableDiffusionXLPipeline": Rule(None, 8, exact=1),
    "FluxPipeline": Rule(None, 16, exact=1),
    "StableDiffusion3Pipeline": Rule(None, 16, exact=1),
}
ANY = Rule(1, 2)  # of a pipeline that is not listed: H.264 takes even sizes only


def rule_of(pipeline: str, configs: Configs) -> Rule:
    """The rule of a pipeline's class, with the ratios that a model's own configs name where they are at hand."""
    rule = RULES.get(pipeline, ANY)
    vae, model = configs.get("vae", {}), configs.get("transformer") or configs.get("transformer_2") or {}
    patch, patch_t = _patches(model)
    step, exact, pixels = rule.step, rule.exact, rule.pixels
    if pipeline == "CogVideoXPipeline":
        step = vae.get("temporal_compression_ratio", 4) * (2 if patch_t is None else 2 * patch_t)
        pixels = _downsampling(vae, 8) * (patch or 2)
    elif pipeline == "WanPipeline":
        step = vae.get("scale_factor_temporal", 4)
        pixels = vae.get("scale_factor_spatial", 8) * (patch or 2)
    elif pipeline in ("HunyuanVideoPipeline", "HunyuanVideo15Pipeline"):
        step = vae.get("temporal_compression_ratio") or step
        default, patches = (8, 2) if pipeline == "HunyuanVideoPipeline" else (16, 1)
        pixels = (vae.get("spatial_compression_ratio") or default) * (patch or patches)
    elif pipeline == "LattePipeline":
        exact = model.get("video_length", exact)
    return Rule(step, pixels, exact)


def check_sizes(pipeline: str, frames: int, height: int, width: int, configs: Configs | None = None) -> None:
    """Raise UserError for a number of frames or a size that the pipeline cannot make; the line names the nearest that it can.

    Args:
        pipeline: its class's name.
        frames: of a clip.
        height: in pixels.
        width: in pixels.
        configs: of its components, where they are at hand.
    """
    rule = rule_of(pipeline, configs or {})
    if rule.exact is not None and frames != rule.exact:
        made = "images: one frame" if rule.exact == 1 else f"clips of {rule.exact} frames only"
        raise UserError(
            f"config: generator.frames={frames}: {pipeline} makes {made}; set generator.frames={rule.exact}"
        )
    if rule.exact is None and rule.step is not None and (frames - 1) % rule.step:
        raise UserError(
            f"config: generator.frames={frames}: {pipeline} makes {rule.step}n + 1 frames; set generator.frames="
            f"{_nearest(frames - 1, rule.step, 0, 1)}"
        )
    for name, size in (("height", height), ("width", width)):
        if size % rule.pixels:
            raise UserError(
                f"config: generator.{name}={size}: {pipeline} makes multiples of {rule.pixels} pixels; set generator.{name}="
                f"{_nearest(size, rule.pixels, rule.pixels, 0)}"
            )


def _nearest(value: int, step: int, least: int, plus: int) -> str:
    """The multiples of a step below and above a value, as they are written in an override."""
    below, above = value // step * step, (value // step + 1) * step
    return f"{below + plus} or {above + plus}" if below >= least else f"{above + plus}"


def _patches(model: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """How many latents a patch is wide, and how many of them it takes in time; None where the config does not say."""
    patch = model.get("patch_size")
    if isinstance(patch, list | tuple):  # Wan's: time, height, width
        return int(patch[-1]), int(patch[0])
    return patch, model.get("patch_size_t")


def _downsampling(vae: Mapping[str, Any], default: int) -> int:
    """Pixels a latent, of an autoencoder whose every level but one halves the size."""
    levels = vae.get("block_out_channels")
    return int(2 ** (len(levels) - 1)) if levels else default
