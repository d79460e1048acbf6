"""From the settings of a yaml to a pipeline of diffusers that is ready to be called.

Only safetensors are read, and no code of a model's folder is run.
"""

import difflib
import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vpo.errors import DISK_ERRORS, UserError
from vpo.generator.folder import KEY
from vpo.generator.options import Lora, Scheduler, Settings
from vpo.generator.prompt_tokens import FIXED
from vpo.language.checkpoints.intake import fetch
from vpo.language.checkpoints.wording import in_short

# Arguments of a pipeline's call that have keys of their own.
ELSEWHERE = {
    "height": "height", "width": "width", "num_frames": "frames", "video_length": "frames",
    "frame_rate": "fps", "num_inference_steps": "steps", "guidance_scale": "guidance", "max_sequence_length": "tokens",
    "negative_prompt": "negative_prompt",
}  # fmt: skip

log = logging.getLogger(__name__)


def load(settings: Settings, folder: Path, parts: Mapping[str, Any], device: str) -> Any:
    """The pipeline of a checked folder, with its scheduler, adapter, memory options and acceleration, on its device.

    Raises:
        UserError: Something of it is unknown, missing or cannot be read.
    """
    import diffusers
    import torch

    where = f"{KEY}={settings.path}"
    kind = getattr(diffusers, settings.pipeline, None)
    if not (inspect.isclass(kind) and issubclass(kind, diffusers.DiffusionPipeline)):
        raise UserError(f"config: generator.pipeline={settings.pipeline} is no pipeline of the installed diffusers")
    check_call(kind, settings)
    for name in settings.dtypes:
        if name not in parts:
            raise UserError(
                f"config: generator.dtypes.{name}: the pipeline has no such component; it has {', '.join(parts)}"
            )
    options: dict[str, Any] = {} if settings.variant is None else {"variant": settings.variant}
    if settings.memory.bits is not None:
        if device == "cpu":
            raise UserError(
                f"config: generator.memory.bits={settings.memory.bits}: bitsandbytes quantises on a GPU only; set it to null"
            )
        options["quantization_config"] = quantisation(settings, parts)
    dtypes = {name: getattr(torch, one) for name, one in settings.dtypes.items()}
    try:
        with quiet():
            options |= _text_encoders(settings, folder, parts)
            pipeline = kind.from_pretrained(
                folder, dtype={**dtypes, "default": getattr(torch, settings.dtype)}, use_safetensors=True,
                local_files_only=True, **options,
            )  # fmt: skip
    except (
        Exception
    ) as error:  # diffusers, transformers, safetensors and bitsandbytes raise what they like for such files
        if getattr(error, "errno", None) in DISK_ERRORS or isinstance(error, MemoryError | torch.OutOfMemoryError):
            raise
        raise UserError(
            f"{where}: cannot be loaded ({in_short(error)}); give a whole pipeline as safetensors"
        ) from error
    _check_weights(pipeline, where)
    pipeline.set_progress_bar_config(disable=True)
    set_scheduler(pipeline, settings.scheduler)
    if settings.lora is not None:
        load_lora(pipeline, settings.lora)
    set_guidance(pipeline, settings.guidance)
    set_token_limit(pipeline, settings)
    with quiet():
        save_memory(pipeline, settings, device)
    return pipeline


@contextmanager
def quiet() -> Iterator[None]:
    """Let diffusers and transformers report errors only, and draw no bars: they write every prompt that is too long to the console."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    before = of_diffusers.get_verbosity(), of_transformers.get_verbosity()
    of_diffusers.disable_progress_bar()
    of_transformers.disable_progress_bar()
    of_diffusers.set_verbosity_error()
    of_transformers.set_verbosity_error()
    try:
        yield
    finally:
        of_diffusers.set_verbosity(before[0])
        of_transformers.set_verbosity(before[1])


def check_call(kind: type, settings: Settings) -> None:
    """Raise UserError for arguments of the call that a pipeline does not take, that stand elsewhere, or that have no effect."""
    known = inspect.signature(kind.__call__).parameters
    for name in settings.call:
        if name in ELSEWHERE:
            raise UserError(f"config: generator.call.{name}: it is set by generator.{ELSEWHERE[name]}; leave it out")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            raise UserError(f"config: generator.call.{name}: {kind.__name__} takes no such argument; {hint}")
    if settings.negative_prompt is not None:
        if "negative_prompt" not in known:
            raise UserError(f"config: generator.negative_prompt: {kind.__name__} takes none; set it to null")
        if "true_cfg_scale" in known and settings.call.get("true_cfg_scale", 1.0) <= 1.0:
            raise UserError(
                f"config: generator.negative_prompt: {kind.__name__} reads it only with a second pass; add "
                "generator.call.true_cfg_scale above 1, or set it to null"
            )


def set_scheduler(pipeline: Any, wanted: Scheduler) -> None:
    """Put another scheduler, or the same one with other settings, into a pipeline. Raises UserError for unknown arguments."""
    import diffusers

    if wanted.name is None:
        return
    kind = getattr(diffusers, wanted.name, None)
    if not (inspect.isclass(kind) and issubclass(kind, diffusers.SchedulerMixin)):
        raise UserError(f"config: generator.scheduler.name={wanted.name} is no scheduler of the installed diffusers")
    known = [name for name in inspect.signature(kind.__init__).parameters if name != "self"]
    for name in wanted.arguments:
        if name not in known:  # from_config would leave it out without a word
            raise UserError(f"config: generator.scheduler.arguments.{name}: {wanted.name} takes {', '.join(known)}")
    try:
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **wanted.arguments)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UserError(f"config: generator.scheduler: {wanted.name}: {in_short(error)}") from error


def load_lora(pipeline: Any, wanted: Lora) -> None:
    """Lay an adapter over a pipeline. Raises UserError where it cannot be read, or is another model's."""
    where = f"generator.lora.path={wanted.path}"
    if not hasattr(pipeline, "load_lora_weights"):
        raise UserError(f"config: generator.lora: {type(pipeline).__name__} takes no LoRA; set generator.lora=null")
    folder, _ = fetch(
        wanted.path, wanted.revision, "generator.lora.path", wanted=["*.safetensors", "*.json"], not_wanted=[]
    )
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    name = wanted.weight_name or (files[0] if len(files) == 1 else None)
    if name not in files:
        listed = f"it holds {', '.join(files)}" if files else "it holds no safetensors"
        raise UserError(
            f"{where}: {f'there is no {name}' if name else 'which file is meant?'}; {listed}; set generator.lora.weight_name"
        )
    try:
        pipeline.load_lora_weights(
            folder, weight_name=name, adapter_name="lora", use_safetensors=True, local_files_only=True
        )
        loaded = "lora" in {one for names in pipeline.get_list_adapters().values() for one in names}
        if loaded:
            pipeline.set_adapters(["lora"], [wanted.scale])
    except Exception as error:  # peft and diffusers raise what they like for the keys of another model
        raise UserError(f"{where}: cannot be loaded ({in_short(error)}); give a LoRA of this model") from error
    if not loaded:  # diffusers only warns
        raise UserError(f"{where}: none of its weights belongs to {type(pipeline).__name__}; give a LoRA of this model")


def set_guidance(pipeline: Any, guidance: float | None) -> None:
    """Set the strength of guidance where a component holds it and not an argument of the call (HunyuanVideo 1.5)."""
    if guidance is not None and getattr(pipeline, "guider", None) is not None:
        pipeline.guider = pipeline.guider.new(guidance_scale=guidance)


def set_token_limit(pipeline: Any, settings: Settings) -> None:
    """Set the token limit where no argument of the call does. Raises UserError where the pipeline's own cannot be changed."""
    tokenizer = getattr(pipeline, settings.tokenizer, None)
    if tokenizer is None:
        raise UserError(
            f"config: generator.tokenizer={settings.tokenizer}: {type(pipeline).__name__} has none of that name"
        )
    if "max_sequence_length" in inspect.signature(pipeline.__call__).parameters:
        return
    if hasattr(pipeline, "tokenizer_max_length"):
        pipeline.tokenizer_max_length = settings.tokens
        return
    fixed = FIXED.get(type(pipeline).__name__, tokenizer.model_max_length)
    if fixed != settings.tokens:
        raise UserError(
            f"config: generator.tokens={settings.tokens}: {type(pipeline).__name__} reads {fixed} and takes no other limit; set "
            f"generator.tokens={fixed}"
        )


def save_memory(pipeline: Any, settings: Settings, device: str) -> None:
    """Apply tiling, slicing and offloading, and bring the pipeline to its device."""
    memory, vae = settings.memory, getattr(pipeline, "vae", None)
    for name in ("tiling", "slicing"):
        if getattr(memory, f"vae_{name}"):
            if not hasattr(vae, f"enable_{name}"):
                raise UserError(
                    f"config: generator.memory.vae_{name}: {type(vae).__name__} has no {name}; set it to false"
                )
            try:
                getattr(vae, f"enable_{name}")()
            except NotImplementedError as error:
                raise UserError(f"config: generator.memory.vae_{name}: {in_short(error)}; set it to false") from error
    if memory.offload != "none" and device == "cpu":
        log.info("generator.memory.offload=%s: there is no GPU to be relieved, so nothing is offloaded", memory.offload)
    elif memory.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
        return
    elif memory.offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
        return
    pipeline.to(device)


def denoisers(pipeline: Any) -> dict[str, Any]:
    """The models that denoise, by their names: one, or two for Wan 2.2 A14B."""
    names = ("transformer", "transformer_2", "unet")
    return {name: getattr(pipeline, name) for name in names if getattr(pipeline, name, None) is not None}


def quantisation(settings: Settings, parts: Mapping[str, Any]) -> Any:
    """bitsandbytes' quantisation of some components, on loading. Raises UserError for a component that is not there."""
    import torch
    from diffusers import PipelineQuantizationConfig

    for name in settings.memory.quantised:
        if name not in parts:
            raise UserError(
                f"config: generator.memory.quantised={name}: the pipeline has no such component; it has {', '.join(parts)}"
            )
    bits = settings.memory.bits
    arguments: dict[str, Any] = {f"load_in_{bits}bit": True}
    if bits == 4:
        arguments |= {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": getattr(torch, settings.dtype)}
    return PipelineQuantizationConfig(
        quant_backend=f"bitsandbytes_{bits}bit",
        quant_kwargs=arguments,
        components_to_quantize=list(settings.memory.quantised),
    )


def _text_encoders(settings: Settings, folder: Path, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The components of transformers, loaded here, because only so it says which weights it had to fill with random numbers."""
    import torch
    import transformers

    made = {}
    for part, (library, name) in parts.items():
        kind = getattr(transformers, name, None) if library == "transformers" else None
        quantised = settings.memory.bits is not None and part in settings.memory.quantised
        if quantised or not (inspect.isclass(kind) and issubclass(kind, transformers.PreTrainedModel)):
            continue
        dtype = getattr(torch, settings.dtypes.get(part, settings.dtype))
        made[part], report = kind.from_pretrained(
            folder / part, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True,
            **({} if settings.variant is None else {"variant": settings.variant}),
        )  # fmt: skip
        lost = sorted(report["missing_keys"])
        if lost:
            raise UserError(_incomplete(f"{KEY}={settings.path}", part, lost))
        made[part].eval()
    return made


def _incomplete(where: str, part: str, lost: list[str]) -> str:
    return f"{where}: {len(lost)} weights of its {part} are missing, such as {lost[0]}; copy the whole pipeline"


def _check_weights(pipeline: Any, where: str) -> None:
    """Raise UserError where weights were in no file: diffusers leaves these without content."""
    for name, part in pipeline.components.items():
        lost = [key for key, one in part.named_parameters() if one.is_meta] if hasattr(part, "named_parameters") else []
        if lost:
            raise UserError(_incomplete(where, name, lost))
