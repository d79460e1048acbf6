"""A causal language model in this process as engine."""

from collections.abc import Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList

from vpo.errors import UserError
from vpo.language.chat.messages import message_ids
from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.intake import fetch_and_check
from vpo.language.checkpoints.limits import positions_of
from vpo.language.checkpoints.loading import load_pretrained
from vpo.language.checkpoints.quantising import check_bits
from vpo.language.decoding import decode
from vpo.language.prefill import inner_model, left_padded, prefill, shares_prefill
from vpo.language.sampling import Forced, Sampler
from vpo.records import Completion, Failure, Request, Sampling, Usage
from vpo.storage.jsonio import write_json

Pending = list[tuple[int, list[int], int]]  # place among the requests, ids of the prompt, seed


class HFEngine:
    """Generates with a transformers model; see `vpo.interfaces.Engine`.

    Args:
        model: in eval mode, on its device.
        tokenizer: the model's.
        batch_size: how many requests are generated at once; None for all that come together.
    """

    def __init__(self, model: Any, tokenizer: Any, batch_size: int | None = None) -> None:
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self._renderer = Renderer(tokenizer, "{}")

    def generate(self, requests: Sequence[Request]) -> list[Completion | Failure]:
        """One completion a request. A completion is cut where the model's positions end; a prompt that fills them is a Failure."""
        if self.model is None:
            raise RuntimeError("the engine is closed")
        results: dict[int, Completion | Failure] = {}
        groups: dict[tuple[Sampling, int], Pending] = {}
        masked = reads_mask(self.model)
        for place, request in enumerate(requests):
            ids = self._prompt(request)
            if isinstance(ids, Failure):
                results[place] = ids
                continue
            # What is generated together ends together, so that no row runs beyond the positions that the model knows.
            longest = min(request.sampling.max_new_tokens, self.positions - len(ids))
            sampling = replace(request.sampling, max_new_tokens=longest)
            # A model that would read the padding gets prompts of equal length only.
            groups.setdefault((sampling, 0 if masked else len(ids)), []).append((place, ids, request.seed))
        for (sampling, _), rows in groups.items():
            rows.sort(key=lambda row: (len(row[1]), row[1]))  # equal prompts, and prompts of like length, come together
            size = self.batch_size or len(rows)
            for start in range(0, len(rows), size):
                results |= self._generate(rows[start : start + size], sampling)
        return [results[place] for place in range(len(requests))]

    def close(self) -> None:
        """Free the model's memory."""
        self.model = None
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    @property
    def positions(self) -> int:
        """Tokens of prompt and completion together that the model can read."""
        return positions_of(self.model.config) or 2**62

    def _prompt(self, request: Request) -> list[int] | Failure:
        """The ids that the model reads."""
        try:
            ids = list(request.prompt_ids) or message_ids(self.tokenizer, request.messages)
        except ValueError as error:
            return Failure("not_rendered", str(error))
        if len(ids) >= self.positions:
            return Failure(
                "too_long", f"the prompt has {len(ids)} tokens, the model reads {self.positions} with its completion"
            )
        return ids

    @torch.inference_mode()
    def _generate(self, rows: Pending, sampling: Sampling) -> dict[int, Completion]:
        """Completions by their place; the rows are one batch."""
        sampler = Sampler([seed for _, _, seed in rows], sampling.temperature, sampling.top_p, self.model.device)
        prompts = [ids for _, ids, _ in rows]
        if shares_prefill(self.model):
            batch = prefill(self.model, prompts, self._renderer.pad_id)
            written = decode(batch, sampler, self._renderer.stop_ids, sampling.max_new_tokens)
        else:
            written = self._row_by_row(prompts, sampler, sampling.max_new_tokens)
        return {place: self._completion(ids, row) for (place, ids, _), row in zip(rows, written, strict=True)}

    def _row_by_row(self, prompts: list[list[int]], sampler: Sampler, limit: int) -> list[list[int]]:
        """What transformers' `generate` writes to each prompt, which it reads whole; filled up behind a row's end."""
        plain = GenerationConfig(
            do_sample=False,  # the sampler has drawn
            max_new_tokens=limit,
            pad_token_id=self._renderer.pad_id,
            eos_token_id=self._renderer.stop_ids,
        )
        forced = LogitsProcessorList([Forced(sampler, len(prompts))])
        return continuations(self.model, prompts, plain, logits_processor=forced)

    def _completion(self, prompt: list[int], row: list[int]) -> Completion:
        ids = self._renderer.until_stop(row)
        ended = bool(ids) and ids[-1] in self._renderer.stop_ids
        return Completion(self._renderer.decode(ids), "stop" if ended else "length", Usage(len(prompt), len(ids)))


def continuations(
    model: Any, prompts: Sequence[Sequence[int]], plain: GenerationConfig, **more: Any
) -> list[list[int]]:
    """What transformers' `generate` writes behind prompts by a config alone: the ids of each row, filled up behind its end.

    Args:
        model: in eval mode.
        prompts: token ids.
        plain: all of the config. The model's own would fill what is not set: a repetition penalty, say, which punishes copying the
            query's words.
        more: further arguments of `generate`.
    """
    ids, mask = left_padded(prompts, plain.pad_token_id, model.device)
    own, model.generation_config = model.generation_config, plain
    try:
        output = model.generate(input_ids=ids, attention_mask=mask, **more)
    finally:
        model.generation_config = own
    rows: list[list[int]] = output[:, ids.shape[1] :].tolist()
    return rows


def reads_mask(model: Any) -> bool:
    """Whether a model leaves padding out; recurrent ones without a mask (RWKV, xLSTM) read it like any token."""
    inner = inner_model(model)
    return inner.config.model_type != "rwkv" and "attention_mask" in signature(inner.forward).parameters


class PretrainedEngine(HFEngine):
    """The engine of a model of the hub or of a folder, fetched and checked as a backbone is.

    Args:
        model: hub id or folder.
        revision: the hub commit; None for a local folder, or for the newest.
        dtype: torch dtype by name ("bfloat16", "float32").
        device: "cpu", or "gpu" (as the trainer's accelerator is called) or "cuda".
        bits: quantise linear layers to 4 or 8 bits; None keeps them as they are.
        batch_size: how many requests are generated at once.

    Raises:
        UserError: What is missing, and the cure.
    """

    def __init__(
        self, model: str, revision: str | None, dtype: str, device: str, bits: int | None, batch_size: int
    ) -> None:
        check_bits(bits, "engine.bits")
        device = "cuda" if device == "gpu" else device
        try:
            with TemporaryDirectory() as folder:
                pointer = fetch_and_check(model, revision, "{}", needs_chat_template=False)
                write_json(Path(folder) / "start.json", pointer)
                loaded, tokenizer = load_pretrained(folder, getattr(torch, dtype), bits, device=device)
        except UserError as error:
            raise UserError(str(error).replace("backbone.", "engine.")) from error  # whose keys the user has written
        super().__init__((loaded if bits else loaded.to(device)).eval(), tokenizer, batch_size)
        named = Path(model).name if Path(model).is_dir() else model  # where a folder lies is nobody's business
        self.model_name = named + (f"@{revision[:8]}" if revision else "") + (f", {bits} bits" if bits else "")
