"""A vision-language model of a folder or of the hub: model, tokenizer with its chat template, colours. No code of a folder is run."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from vpo.errors import UserError
from vpo.language.checkpoints.files import check_folder, read_json, weight_files
from vpo.language.checkpoints.intake import fetch
from vpo.reward.asking.families import FAMILIES
from vpo.video.vlm import Colours

# Where a folder says how frames are normalised, the first that is there: (file, key of a part of it).
_PREPROCESSORS = (
    ("processor_config.json", "video_processor"), ("video_preprocessor_config.json", None),
    ("processor_config.json", "image_processor"), ("preprocessor_config.json", None),
)  # fmt: skip


def load_vlm(path: str, revision: str | None, dtype: str, device: str, key: str) -> tuple[Any, Any, Colours]:
    """Model in eval mode on its device, tokenizer, and colours.

    Args:
        path: `asset:<name>`, folder or hub id.
        revision: of the hub.
        dtype: torch dtype by name.
        device: "cpu", or "gpu" (as the trainer's accelerator is called) or "cuda".
        key: who names the model, for messages: "reward.path".

    Raises:
        UserError: The model is not there, is no such model, or lacks weights.
    """
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise UserError(
            f"{key.rpartition('.')[0]}.dtype={dtype} is no number format; choose bfloat16, float16 or float32"
        )
    folder, _ = fetch(path, revision, key)
    where = f"{key}={path}"
    check_folder(folder, where)
    if not (folder / "config.json").exists():
        raise UserError(f"{where}: no config.json in it; give the folder of a vision-language model")
    weight_files(folder, where)
    _check_kind(folder, where)
    tokenizer = _tokenizer(folder, where)
    colours = colours_of(folder, where)
    model = _model(folder, kind, where).to("cuda" if device == "gpu" else device).eval()
    return model, tokenizer, colours


def colours_of(folder: Path, where: str) -> Colours:
    """How the model of a folder wants its frames normalised. Raises UserError where the folder does not say."""
    for name, part in _PREPROCESSORS:
        if (folder / name).exists():
            content = read_json(folder / name, where)
            values = content.get(part) if part else content
            if isinstance(values, dict) and _three(values.get("image_mean")) and _three(values.get("image_std")):
                return Colours(tuple(values["image_mean"]), tuple(values["image_std"]))
    raise UserError(
        f"{where}: no file of it says how pictures are normalised; copy preprocessor_config.json and "
        "video_preprocessor_config.json of the model"
    )


def _three(values: Any) -> bool:
    return isinstance(values, list) and len(values) == 3 and all(isinstance(one, int | float) for one in values)


def _check_kind(folder: Path, where: str) -> None:
    kind = read_json(folder / "config.json", where).get("model_type")
    if kind not in FAMILIES:
        hint = (
            "; of InternVL take the version for transformers, whose name ends in -hf" if "intern" in str(kind) else ""
        )
        raise UserError(
            f"{where}: model_type {kind} cannot be asked about clips here; known are {', '.join(FAMILIES)}{hint}"
        )


def _tokenizer(folder: Path, where: str) -> Any:
    """With the chat template that writes videos, which older folders keep in a file of its own."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # what the libraries raise for files that they cannot read varies
        raise UserError(f"{where}: its tokenizer cannot be read ({_short(error)}); copy it beside the model") from error
    if (folder / "chat_template.json").exists():
        tokenizer.chat_template = read_json(folder / "chat_template.json", where).get("chat_template")
    if not tokenizer.chat_template:
        raise UserError(
            f"{where}: it has no chat template; copy chat_template.jinja or chat_template.json of the model"
        )
    return tokenizer


def _model(folder: Path, dtype: torch.dtype, where: str) -> Any:
    disable_progress_bar()  # type: ignore[no-untyped-call]  # ours are per stage
    try:
        config = AutoConfig.from_pretrained(folder)
        # Questions that share a clip's keys and values are told apart by a mask, which flash attention does not take.
        model, report = AutoModelForImageTextToText.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            attn_implementation="sdpa",
            output_loading_info=True,
        )
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"{where}: cannot be loaded ({_short(error)}); give a whole model as safetensors") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(f"{where}: {len(missing)} weights are missing, such as {missing[0]}; give a whole model")
    layers = set(getattr(config.get_text_config(), "layer_types", None) or ())
    if layers - {"full_attention"}:
        raise UserError(
            f"{where}: has layers of {sorted(layers - {'full_attention'})[0]}, and keys and values are shared between layers of full "
            "attention only; use another model"
        )
    return model


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
