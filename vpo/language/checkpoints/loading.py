"""From the files of a policy folder, or of a model folder or hub id, to a model and its tokenizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from vpo.errors import UserError
from vpo.language.chat.inside import without_instruction
from vpo.language.checkpoints.files import read_json
from vpo.language.checkpoints.intake import fetch
from vpo.language.checkpoints.merging import Base, merge, read_base
from vpo.language.checkpoints.quantising import keep_layout, quantisation, quantise
from vpo.language.checkpoints.weights import load_weights
from vpo.language.checkpoints.wording import in_short

disable_progress_bar()  # transformers' bars over the shards of a file; ours are per stage


def load_pretrained(
    folder: Path | str, dtype: torch.dtype, bits: int | None = None, *, revision: str | None = None, device: str = "cpu"
) -> tuple[Any, Any]:
    """Model and tokenizer of a policy folder (safetensors only).

    Args:
        folder: holds a pointer written by `prepare`, whole weights, or an adapter on a base; a hub id will do, too.
        dtype: of the weights.
        bits: quantise linear layers to 4 or 8 bits, as a QLoRA training of this policy reads it.
        revision: of a hub id.
        device: where weights are quantised; others are loaded on the CPU.

    Returns:
        The model, an adapter merged into it, and its tokenizer.

    Raises:
        UserError: If it cannot be loaded.
    """
    place, source, base = locate(folder, revision)
    where = source if source == str(folder) else f"backbone.model={source}"
    try:
        if base is not None:
            trained_on = dtype if base.dtype is None else getattr(torch, base.dtype)
            model, _ = load_pretrained(base.source, trained_on, base.bits, revision=base.revision, device=device)
            model = merge(model, str(place), dtype)
            model = model if bits is None else quantise(model, bits, device)
        else:
            options = (
                {} if bits is None else {"quantization_config": quantisation(bits, dtype), "device_map": {"": device}}
            )
            model = load_weights(place, where, dtype=dtype, **options)
            model.config._name_or_path = model.name_or_path = source  # a hub id, not its place in the cache
        tokenizer = load_tokenizer(folder, revision)
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        raise UserError(
            f"{where}: cannot be loaded ({in_short(error)}); give a folder or a hub id that you can read"
        ) from error
    return keep_layout(model), tokenizer


def load_tokenizer(folder: Path | str, revision: str | None = None) -> Any:
    """The tokenizer of a policy folder or hub id: its own, or that of the base of an adapter that has none.

    Its chat template is the one that the policy's pointer names, where it had to be changed; of an exported one that holds the
    optimizer's instruction, the model's own.
    """
    place, _, base = locate(folder, revision)
    if base is not None and not (place / "tokenizer_config.json").exists():
        tokenizer = load_tokenizer(base.source, base.revision)
    else:
        tokenizer = without_instruction(AutoTokenizer.from_pretrained(place))
    adapted = pointer_of(folder).get("chat_template")
    if adapted is not None:
        tokenizer.chat_template = adapted
    return tokenizer


def locate(folder: Path | str, revision: str | None = None) -> tuple[Path, str, Base | None]:
    """Where the files of a policy folder or hub id lie, how that is called, and the base of an adapter."""
    source, given, pointer = str(folder), None, pointer_of(folder)
    if pointer:
        source, revision, given = pointer["model"], pointer["revision"], pointer.get("base")
    place = fetch(source, revision)[0]
    return place, source, read_base(str(place), given, source)


def pointer_of(folder: Path | str) -> Mapping[str, Any]:
    """What `prepare` wrote into a policy folder; empty where the folder holds a model itself, or is a hub id."""
    path = Path(folder) / "start.json"
    return read_json(path, str(folder)) if path.exists() else {}
