"""What a pipeline's files say of themselves, checked before any weights are read, and getting them from the hub.

The folder is a pipeline of the named class, with components of diffusers and transformers only, whose ratios fit the clip.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vpo.errors import UserError
from vpo.generator.frame_rules import check_sizes
from vpo.generator.options import Settings, not_a_pipeline
from vpo.language.checkpoints.files import read_json

KEY = "generator.path"
TEXTS = ("json", "txt", "model", "jinja")  # of tokenizers and configs
OTHER_VARIANTS = ("fp16", "bf16", "non_ema")  # the same weights once more


def fetch_configs(settings: Settings) -> tuple[Path, str | None]:
    """The folder of a pipeline's JSON files, and its commit where it comes from the hub. No weights are fetched."""
    from vpo.language.checkpoints.intake import fetch  # which imports transformers

    return fetch(settings.path, settings.revision, KEY, wanted=["*.json"], not_wanted=[])


def fetch_weights(settings: Settings, commit: str | None, parts: Mapping[str, Any]) -> Path:
    """The folder of a pipeline with all its files; of a hub's repository those of its components only, in one variant."""
    from vpo.language.checkpoints.intake import fetch

    end = f".{settings.variant}" if settings.variant else ""
    wanted = ["model_index.json", *(f"{part}/*.{kind}" for part in parts for kind in TEXTS)]
    wanted += [f"{part}/*{end}*.safetensors" for part in parts]
    if end:  # tokenizers and small components have no variants
        wanted += [f"{part}/*.safetensors" for part in parts if part not in ("transformer", "transformer_2", "unet")]
    not_wanted = [] if end else [f"*.{one}*" for one in OTHER_VARIANTS]
    return fetch(settings.path, commit, KEY, wanted=wanted, not_wanted=not_wanted)[0]


def check_folder(settings: Settings, folder: Path) -> dict[str, Any]:
    """Check what a pipeline's folder says of itself.

    Returns:
        Its components: (library, class) by name.

    Raises:
        UserError: It is no pipeline, one of another class, needs code of its own, or cannot make such clips.
    """
    where = f"{KEY}={settings.path}"
    if not (folder / "model_index.json").is_file():
        raise UserError(not_a_pipeline(settings.path))
    index = read_json(folder / "model_index.json", where)
    name = index.get("_class_name")
    if name != settings.pipeline:
        raise UserError(
            f"{where}: it is a {name}, not a {settings.pipeline}; set generator.pipeline, or choose its own yaml"
        )
    parts = {
        key: tuple(value) for key, value in index.items()
        if isinstance(value, list) and len(value) == 2 and value[0] is not None and value[1] is not None
    }  # fmt: skip
    for part, (library, kind) in parts.items():
        if library not in ("diffusers", "transformers") and not _is_diffusers_own(library):
            raise UserError(
                f"{where}: its {part}, {library}.{kind}, needs code from the model's folder, which is never run; use a model of "
                "diffusers' own classes"
            )
        if not (folder / part).is_dir():
            raise UserError(
                f"{where}: model_index.json names {part}, and there is no such folder; copy the whole pipeline"
            )
    _check_tokenizers(folder, parts, where)
    configs = {
        part: read_json(folder / part / "config.json", where)
        for part in parts
        if (folder / part / "config.json").is_file()
    }
    check_sizes(settings.pipeline, settings.frames, settings.height, settings.width, configs)
    tokens = configs.get("transformer", {}).get("max_text_seq_length")
    if tokens is not None and tokens != settings.tokens:
        raise UserError(
            f"config: generator.tokens={settings.tokens}: this model reads {tokens}; set generator.tokens={tokens}"
        )
    return parts


def _is_diffusers_own(library: object) -> bool:
    """Whether a component's library is the module of one of diffusers' pipelines, as of LTX-2's connectors."""
    return (
        isinstance(library, str) and library.isidentifier() and find_spec(f"diffusers.pipelines.{library}") is not None
    )


def _check_tokenizers(folder: Path, parts: Mapping[str, Any], where: str) -> None:
    """transformers reads `spiece.model` by sentencepiece, and without it gives a reason that leads astray."""
    for part in parts:
        lone = (folder / part / "spiece.model").is_file() and not (folder / part / "tokenizer.json").is_file()
        if lone and find_spec("sentencepiece") is None:
            raise UserError(
                f"{where}: its {part} needs the package sentencepiece, which is not installed; `pip install sentencepiece`"
            )
