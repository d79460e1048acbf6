"""A Hugging Face causal language model as backbone."""

from pathlib import Path

import torch

from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.intake import fetch_and_check
from vpo.language.checkpoints.loading import load_pretrained
from vpo.language.hf import HFEngine
from vpo.language.policy import TrainedPolicy
from vpo.storage.jsonio import write_json
from vpo.templates import read_template


class HFBackbone:
    """A model of the hub or of a local folder.

    Args:
        model: hub id or folder.
        revision: the hub commit, 40 hex digits for anything that is to be repeated; None for a local folder.
        template: name of the file in `vpo/templates` that renders a query.
        needs_chat_template: whether a tokenizer without a chat template is refused, or reads the template as plain text.
        dtype: torch dtype by name for sampling ("bfloat16", "float32").
        device: "cpu", or "gpu" (as the trainer's accelerator is called) or "cuda".
        base: where `model` is an adapter, the hub id or folder of what it stands on; None is what its own files name.
    """

    def __init__(
        self,
        model: str,
        revision: str | None,
        template: str,
        needs_chat_template: bool,
        dtype: str,
        device: str,
        base: str | None = None,
    ) -> None:
        self.model, self.revision, self.template, self.dtype = model, revision, template, dtype
        self.needs_chat_template, self.base = needs_chat_template, base
        self.device = "cuda" if device == "gpu" else device

    def prepare(self, folder: Path) -> None:
        """Check the released files, and point to them; they are not copied."""
        pointer = fetch_and_check(
            self.model,
            self.revision,
            read_template(self.template),
            needs_chat_template=self.needs_chat_template,
            base=self.base,
        )
        write_json(folder / "start.json", pointer)

    def load(self, folder: Path) -> TrainedPolicy:
        model, tokenizer = load_pretrained(folder, getattr(torch, self.dtype), device=self.device)
        engine = HFEngine(model.to(self.device).eval(), tokenizer)
        return TrainedPolicy(engine, Renderer(tokenizer, read_template(self.template)))
