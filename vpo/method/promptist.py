"""Promptist: a language model that was trained to continue "<query> Rephrase:" with a better prompt, read out by beam search."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from vpo.errors import UserError
from vpo.language.chat.rendering import Renderer
from vpo.language.hf import PretrainedEngine, continuations
from vpo.records import Completion, Failure, Query, Usage
from vpo.templates import read_template


class Promptist:
    """Continues each query by beam search; see microsoft/LMOps, promptist/README.md.

    The best beam is the prompt. With the released length penalty of -1 a beam that ends at once can win, and the released code then
    gives an empty prompt; here the best beam that says something is taken, and it is a Failure where all are empty.

    A search draws nothing at random, so seeds do not matter. `Engine` has no beams, so the model is asked directly.

    Args:
        model: hub id or folder of a causal language model as safetensors.
        revision: the hub commit; None for a folder.
        dtype: torch dtype by name ("bfloat16", "float32").
        device: "cpu", or "gpu" (as the trainer's accelerator is called) or "cuda".
        template: name of the file in `vpo/templates` that puts the query, as plain text even where the tokenizer has a chat template.
        num_beams: beams a query, and how many of them are looked at.
        length_penalty: a beam's log-probability is divided by its length to this power.
        max_new_tokens: longest completion.

    Raises:
        UserError: The model cannot be loaded, or a value is out of its bounds.
    """

    def __init__(
        self,
        model: str,
        revision: str | None,
        dtype: str,
        device: str,
        template: str,
        num_beams: int,
        length_penalty: float,
        max_new_tokens: int,
    ) -> None:
        for name, value in (("num_beams", num_beams), ("max_new_tokens", max_new_tokens)):
            if value < 1:
                raise UserError(f"method: promptist: {name}={value} must be at least 1")
        try:
            self.engine = PretrainedEngine(model, revision, dtype, device, None, 1)
        except UserError as error:
            raise UserError(str(error).replace("engine.", "method.promptist.")) from error
        self.engine.tokenizer.chat_template = None
        self._renderer = Renderer(self.engine.tokenizer, read_template(template))
        self.beams, self.length_penalty, self.max_new_tokens = num_beams, length_penalty, max_new_tokens

    def optimize(self, queries: Sequence[Query], seed: int) -> list[Completion | Failure]:
        """The best continuation of each query; a Failure where there is no room for one, or none says anything."""
        prompts = [self._renderer.prompt_ids(query.text) for query in queries]
        room = self.engine.positions - self.max_new_tokens
        found: list[Completion | Failure] = [
            Failure("too_long", f"the query has {len(ids)} tokens, the model reads {room} before its prompt")
            for ids in prompts
        ]
        fitting = [place for place, ids in enumerate(prompts) if len(ids) <= room]
        if fitting:
            chosen = [prompts[place] for place in fitting]
            for place, beams in zip(fitting, self._search(chosen), strict=True):
                found[place] = self._best(len(prompts[place]), beams)
        return found

    def close(self) -> None:
        """Free the language model's memory."""
        self.engine.close()

    @torch.inference_mode()
    def _search(self, prompts: Sequence[Sequence[int]]) -> list[list[list[int]]]:
        """The ids of each prompt's beams, best first; filled up behind a beam's end."""
        model: Any = self.engine.model
        if model is None:
            raise RuntimeError("the method is closed")
        plain = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False,
            num_beams=self.beams,
            num_return_sequences=self.beams,
            length_penalty=self.length_penalty,
            max_new_tokens=self.max_new_tokens,
            pad_token_id=self._renderer.pad_id,
            eos_token_id=self._renderer.stop_ids,
        )
        rows = continuations(model, prompts, plain)
        return [rows[start : start + self.beams] for start in range(0, len(rows), self.beams)]

    def _best(self, read: int, beams: Sequence[Sequence[int]]) -> Completion | Failure:
        """The first beam that says something."""
        for beam in beams:
            ids = self._renderer.until_stop(list(beam))
            text = " ".join(self._renderer.decode(ids).split())
            if text:
                ended = ids[-1] in self._renderer.stop_ids
                return Completion(text, "stop" if ended else "length", Usage(read, len(ids)))
        return Failure("no_prompt", f"all {self.beams} beams are empty")
