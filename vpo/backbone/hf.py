"""A Hugging Face causal language model as backbone, with item-seeded sampling."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.utils.logging import disable_progress_bar

from vpo.backbone.intake import take_in
from vpo.backbone.merging import merge, read_base
from vpo.backbone.quantising import keep_layout, quantisation, quantise
from vpo.backbone.rendering import Renderer
from vpo.errors import UserError
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
        (folder / "start.json").write_text(json.dumps(pointer), encoding="utf-8")

    def load(self, folder: Path, bits: int | None = None) -> "HFLanguageModel":
        model, tokenizer = load_pretrained(folder, getattr(torch, self.dtype), bits, device=self.device)
        return HFLanguageModel(model.to(self.device).eval(), Renderer(tokenizer, read_template(self.template)))


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


class HFLanguageModel:
    """A loaded causal language model that samples; see `vpo.interfaces.LanguageModel`."""

    def __init__(self, model: Any, renderer: Renderer) -> None:
        self.model, self.renderer = model, renderer

    def sample(
        self, queries: Sequence[str], seeds: Sequence[int], *, temperature: float, top_p: float, max_new_tokens: int
    ) -> list[str]:
        """One completion a query."""
        ids = self.sample_ids(queries, seeds, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens)
        return [self.renderer.decode(row) for row in ids]

    @torch.inference_mode()
    def sample_ids(
        self, queries: Sequence[str], seeds: Sequence[int], *, temperature: float, top_p: float, max_new_tokens: int
    ) -> list[list[int]]:
        """Token ids of one completion a query, with its EOS if it ends; the whole sequence is one batch, left-padded."""
        rows = [self.renderer.prompt_ids(query) for query in queries]
        width = max(map(len, rows))
        pad = self.renderer.pad_id
        device = self.model.device
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
        noise = [GumbelNoise(seeds, temperature, top_p, device)] if temperature > 0 else []
        plain = GenerationConfig(
            do_sample=False,  # the argmax of the noised logits is the sample
            max_new_tokens=max_new_tokens,
            pad_token_id=pad,
            eos_token_id=self.renderer.stop_ids,
        )
        # The model's own would fill what is not set here: a repetition penalty, say, which punishes copying the query's words.
        own, self.model.generation_config = self.model.generation_config, plain
        try:
            output = self.model.generate(
                input_ids=ids, attention_mask=mask, logits_processor=LogitsProcessorList(noise)
            )
        finally:
            self.model.generation_config = own
        return [self.renderer.until_stop(row) for row in output[:, width:].tolist()]


class GumbelNoise(LogitsProcessor):
    """Samples by the Gumbel-max trick: argmax(logits / T + g) is a draw from softmax(logits / T).

    Each item draws its own g from its own generator, so a sample depends on its seed and not on its batch. Nucleus (top_p)
    filtering comes first, as in Holtzman et al. 2020.

    Args:
        seeds: one seed an item, (B,).
        temperature: above 0.
        top_p: mass of the nucleus, in (0, 1].
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float, device: torch.device) -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.temperature, self.top_p = temperature, top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Noised logits, (B, V), from logits (B, V)."""
        scores = scores.float() / self.temperature
        if self.top_p < 1:
            scores = _keep_nucleus(scores, self.top_p)
        uniform = torch.stack(
            [torch.rand(scores.shape[-1], generator=one, device=scores.device) for one in self.generators]
        )
        return scores - torch.log(-torch.log(uniform.clamp_min(torch.finfo(torch.float32).tiny)))


def _keep_nucleus(scores: Tensor, top_p: float, few: int = 64) -> Tensor:
    """Logits (B, V) with -inf outside the smallest set of tokens whose probabilities sum to at least top_p.

    A nucleus rarely holds more than a few tokens, so the largest `few` are tried before all V are sorted.
    """
    count = min(few, scores.shape[-1])
    while True:
        ordered, order = scores.topk(count, dim=-1)
        probability = (ordered - scores.logsumexp(-1, keepdim=True)).exp()
        upto = probability.cumsum(-1)
        if count == scores.shape[-1] or bool((upto[:, -1] >= top_p).all()):
            keep = upto - probability < top_p
            return torch.full_like(scores, float("-inf")).scatter(-1, order, ordered.masked_fill(~keep, float("-inf")))
        count = scores.shape[-1]
