"""From a query to token ids and back: the one function that training, sampling and judging all use.

A chat template, BOS and EOS enter here and nowhere else; prompt and completion are tokenised apart and their ids joined, so
that no boundary token can merge, vanish or appear twice (users' most frequent silent error).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vpo.errors import UserError


@dataclass(frozen=True)
class Renderer:
    """Renders queries for one tokenizer and one template.

    Args:
        tokenizer: a transformers tokenizer. Its chat template is used if it has one; else the plain text with the
            tokenizer's own special tokens.
        template: text with one slot `{}` for the query.
    """

    tokenizer: Any
    template: str

    def __post_init__(self) -> None:
        if self.tokenizer.eos_token_id is None:
            raise UserError(
                f"{self.tokenizer.name_or_path}: the tokenizer has no EOS token; set tokenizer.eos_token and save it"
            )

    def prompt_ids(self, query: str) -> list[int]:
        """The ids that the model reads before it writes: template with the stripped query, ready for the completion."""
        prompt = self.prompt(query)
        if isinstance(prompt, str):
            return list(self.tokenizer(prompt).input_ids)
        return list(self.tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False))

    def prompt(self, query: str) -> str | list[dict[str, str]]:
        """What is tokenised: a chat of one turn where the tokenizer has a chat template, else plain text.

        For trainers that tokenise themselves (TRL's), which tell the two apart in the same way.
        """
        text = self.template.replace("{}", query.strip(), 1)
        return [{"role": "user", "content": text}] if self.tokenizer.chat_template else text

    def completion_ids(self, completion: str) -> list[int]:
        """The ids that the model should write, with the token that ends its turn."""
        separator = "" if self.tokenizer.chat_template else " "
        ids = self.tokenizer(separator + completion.strip(), add_special_tokens=False).input_ids
        return [*ids, self.end_id]

    def decode(self, ids: list[int]) -> str:
        """The text of a sampled completion, up to the end of its turn, stripped."""
        kept = self.until_stop(ids)
        if kept and kept[-1] in self.stop_ids:
            kept.pop()
        return self.tokenizer.decode(kept, skip_special_tokens=True).strip()

    def until_stop(self, ids: list[int]) -> list[int]:
        """The ids up to and with the first at which sampling stops."""
        stops = set(self.stop_ids)
        return ids[: next((place + 1 for place, one in enumerate(ids) if one in stops), len(ids))]

    @cached_property
    def end_id(self) -> int:
        """The token that ends the model's turn: what its chat template writes behind an answer, or else EOS.

        They differ for models whose EOS ends the whole text (`<|end_of_text|>` and `<|eot_id|>` of Llama 3): trained with
        the former, such a model would not stop where its chat format does.
        """
        if not self.tokenizer.chat_template:
            return self.tokenizer.eos_token_id
        answer = "an answer"
        turns = [{"role": "user", "content": "a query"}, {"role": "assistant", "content": answer}]
        behind = self.tokenizer.apply_chat_template(turns, tokenize=False).rpartition(answer)[2]
        first = self.tokenizer(behind.strip(), add_special_tokens=False).input_ids[:1]
        special = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
        return first[0] if first and first[0] in special else self.tokenizer.eos_token_id

    @property
    def stop_ids(self) -> list[int]:
        """The tokens at which sampling stops."""
        return sorted({self.end_id, self.tokenizer.eos_token_id})

    @property
    def pad_id(self) -> int:
        """The id that fills short rows. It is always masked, so EOS serves where a tokenizer has no pad token."""
        pad = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad is None else pad
