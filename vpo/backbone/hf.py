"""A Hugging Face causal language model as backbone."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from vpo.backbone.intake import take_in
from vpo.backbone.merging import merge, read_base
from vpo.backbone.quantising import keep_layout, quantisation, quantise
from vpo.backbone.rendering import Renderer
from vpo.errors import UserError
from vpo.language.hf import HFEngine
from vpo.language.policy import TrainedPolicy
from vpo.storage.jsonio import write_json
from vpo.templates import read_template

disable_progress_bar()  # transformers' bars over the shards of a file; ours are per stage


class HFBackbone:
    """A model of the hub or of a local folder.

    Args:
        model: hub id or folder.
        revision: the hub commit, 40 hex digits for anything that is to be repeated; None for a local folder.
        template: name of the file in `vpo/templates` that renders a query.
        needs_chat_template: whether a tokenizer without a chat template is refused, or reads the template as plain text.
        dtype: torch dtype by name for sampling ("bfloat16", "float32").
        device: "cpu", or "gpu" (as the trainer's accelerator is called) or "cuda".
    """

    def __init__(
        self, model: str, revision: str | None, template: str, needs_chat_template: bool, dtype: str, device: str
    ) -> None:
        self.model, self.revision, self.template, self.dtype = model, revision, template, dtype
        self.needs_chat_template = needs_chat_template
        self.device = "cuda" if device == "gpu" else device

    def prepare(self, folder: Path) -> None:
        """Check the released files, and point to them; they are not copied."""
        text = read_template(self.template)
        pointer = take_in(self.model, self.revision, text, needs_chat_template=self.needs_chat_template)
        write_json(folder / "start.json", pointer)

    def load(self, folder: Path) -> TrainedPolicy:
        model, tokenizer = load_pretrained(folder, getattr(torch, self.dtype), device=self.device)
        engine = HFEngine(model.to(self.device).eval(), tokenizer)
        return TrainedPolicy(engine, Renderer(tokenizer, read_template(self.template)))


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
    source, chat_template = str(folder), None
    if (Path(source) / "start.json").exists():
        pointer = json.loads((Path(source) / "start.json").read_text(encoding="utf-8"))
        source, revision, chat_template = pointer["model"], pointer["revision"], pointer.get("chat_template")
    base = read_base(source)
    try:
        if base is not None:
            trained_on = dtype if base.dtype is None else getattr(torch, base.dtype)
            model, tokenizer = load_pretrained(
                base.source, trained_on, base.bits, revision=base.revision, device=device
            )
            model = merge(model, source, dtype)
            model = model if bits is None else quantise(model, bits, device)
        else:
            options = (
                {} if bits is None else {"quantization_config": quantisation(bits, dtype), "device_map": {"": device}}
            )
            model = AutoModelForCausalLM.from_pretrained(
                source, revision=revision, dtype=dtype, use_safetensors=True, **options
            )
        if base is None or (Path(source) / "tokenizer_config.json").exists():
            tokenizer = AutoTokenizer.from_pretrained(source, revision=revision)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"backbone.model={source}: cannot be loaded ({reason}); give a folder or a hub id that you can read"
        ) from error
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return keep_layout(model), tokenizer
