"""A Hugging Face causal language model as backbone, with item-seeded sampling."""

import json
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoTokenizer, GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.utils.logging import disable_progress_bar

from vpo.backbone.intake import fetch, fetch_and_check
from vpo.backbone.merging import Base, merge, read_base
from vpo.backbone.quantising import keep_layout, quantisation, quantise
from vpo.backbone.rendering import Renderer
from vpo.errors import UserError
from vpo.language.files import read_json
from vpo.language.weights import load_weights
from vpo.language.wording import in_short
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
        (folder / "start.json").write_text(json.dumps(pointer))

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
    """The tokenizer of a policy folder or hub id: its own, or that of the base of an adapter that has none."""
    place, _, base = locate(folder, revision)
    if base is not None and not (place / "tokenizer_config.json").exists():
        return load_tokenizer(base.source, base.revision)
    return AutoTokenizer.from_pretrained(place)


def locate(folder: Path | str, revision: str | None = None) -> tuple[Path, str, Base | None]:
    """Where the files of a policy folder or hub id lie, how that is called, and the base of an adapter."""
    source, given = str(folder), None
    if (Path(source) / "start.json").exists():
        pointer = read_json(Path(source) / "start.json", source)
        source, revision, given = pointer["model"], pointer["revision"], pointer.get("base")
    place = fetch(source, revision)[0]
    return place, source, read_base(str(place), given, source)


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
        """Token ids of one completion a query, with its EOS if it ends.

        All are one batch, left-padded; prompts of equal length each where the model would read the padding.
        """
        rows = [self.renderer.prompt_ids(query) for query in queries]
        if not reads_mask(self.model) and len(set(map(len, rows))) > 1:
            named = {"temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens}
            found: dict[int, list[int]] = {}
            for length in sorted(set(map(len, rows))):
                places = [place for place, row in enumerate(rows) if len(row) == length]
                drawn = self.sample_ids([queries[one] for one in places], [seeds[one] for one in places], **named)
                found |= dict(zip(places, drawn, strict=True))
            return [found[place] for place in range(len(rows))]
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


def reads_mask(model: Any) -> bool:
    """Whether a model leaves padding out; recurrent ones without a mask (RWKV, xLSTM) read it like any token."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.config.model_type != "rwkv" and "attention_mask" in signature(inner.forward).parameters


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
