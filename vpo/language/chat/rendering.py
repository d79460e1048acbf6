"""From a query to token ids and back: the one function that training, sampling and judging all use.

A chat template, BOS and EOS enter here and nowhere else; prompt and completion are tokenised apart and their ids joined, so
that no boundary token can merge, vanish or appear twice (users' most frequent silent error).

Queries and completions are text, whatever stands in them. Where tokenising the rendered query as usual gives no other control
tokens than the chat format's own, these ids are used: they are what released models were trained with. Where it does, and where
the query names a control token, the ids of the chat format and those of the query are made apart (`vpo.language.chat.control_tokens`).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vpo.errors import UserError
from vpo.language.chat.control_tokens import TextEncoder, encode_after
from vpo.language.chat.inside import bare

# Words that no chat template writes by itself: where they stand in a rendered chat, a query or an answer would stand.
QUERY, ANSWER = "Qxzvj", "Jvzxq"


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
        """The ids that the model reads before it writes: template with the stripped query, ready for the completion.

        A query that is given in the template, as a client of a released model writes it, is taken out of it first.
        """
        query = bare(query, self.template)
        if self._encoder.has_control_text(query):
            return self._joined(query)
        ids = self._tokenised(query)
        return ids if self._encoder.control_ids(ids) == self._frame_control_ids else self._joined(query)

    def text(self, query: str) -> str:
        """The rendered chat of a query as text; without a chat template the plain text, without special tokens."""
        content = self.template.replace("{}", query, 1)
        return self._chat([_turn("user", content)]) if self.tokenizer.chat_template else content

    def completion_ids(self, completion: str) -> list[int]:
        """The ids that the model should write, with the token that ends its turn."""
        text = ("" if self.tokenizer.chat_template else " ") + completion.strip()
        ids = list(self.tokenizer(text, add_special_tokens=False).input_ids)
        if self._encoder.has_control_text(text) or self._encoder.control_ids(ids):
            ids = self._encoder.encode(text, after=False)
        return [*ids, self.end_id]

    def decode(self, ids: list[int]) -> str:
        """The text of a sampled completion, up to the end of its turn, stripped."""
        kept = self.until_stop(ids)
        if kept and kept[-1] in self.stop_ids:
            kept.pop()
        kept = [one for one in kept if one not in self._encoder.silent]
        # What a tokenizer may "clean up" are spaces before punctuation, which were in the text.
        return self.tokenizer.decode(kept, clean_up_tokenization_spaces=False).strip()

    def until_stop(self, ids: list[int]) -> list[int]:
        """The ids up to and with the first at which sampling stops."""
        stops = set(self.stop_ids)
        return ids[: next((place + 1 for place, one in enumerate(ids) if one in stops), len(ids))]

    @property
    def control_texts(self) -> list[str]:
        """What a query may not hold where it is encoded together with the chat format: the texts that would be read as markup."""
        bytes_of = ["<0x"] if self.tokenizer.get_vocab().get("<0x0A>") is not None else []
        return [*self._encoder.tokens, *self._encoder.spelled, *bytes_of]

    @cached_property
    def end_id(self) -> int:
        """The token that ends the model's turn: what its chat template writes behind an answer, or else EOS.

        They differ for models whose EOS ends the whole text (`<|end_of_text|>` and `<|eot_id|>` of Llama 3): trained with
        the former, such a model would not stop where its chat format does.
        """
        eos = self.tokenizer.eos_token_id
        first = self.tokenizer((self.behind_answer or "").strip(), add_special_tokens=False).input_ids[:1]
        special = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder} - {
            self.tokenizer.bos_token_id
        }
        return first[0] if first and first[0] in special else eos

    @cached_property
    def behind_answer(self) -> str | None:
        """What the chat template writes behind an answer; None where there is no template, or it does not write answers."""
        if not self.tokenizer.chat_template:
            return None
        turns = [_turn("user", QUERY), _turn("assistant", ANSWER)]
        try:
            _, answer, behind = self._chat(turns, prompt=False).rpartition(ANSWER)
        except Exception:  # a chat template is a program of the model's authors
            return None
        return behind if answer else None

    @property
    def stop_ids(self) -> list[int]:
        """The tokens at which sampling stops."""
        return sorted({self.end_id, self.tokenizer.eos_token_id})

    @property
    def pad_id(self) -> int:
        """The id that fills short rows. It is always masked, so EOS serves where a tokenizer has no pad token."""
        pad = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad is None else pad

    def _tokenised(self, query: str) -> list[int]:
        """The ids of the rendered query as the tokenizer gives them, whatever it finds in the query."""
        if not self.tokenizer.chat_template:
            return list(self.tokenizer(self.text(query)).input_ids)
        return list(self.tokenizer(self.text(query), add_special_tokens=False).input_ids)

    def _joined(self, query: str) -> list[int]:
        """The ids of the chat format and of the query, made apart."""
        first, *rest = self.text(QUERY).split(QUERY)
        special = not self.tokenizer.chat_template  # a chat template writes BOS itself
        ids = list(self.tokenizer(first, add_special_tokens=special).input_ids)
        for part in rest:
            ids += self._encoder.encode(query, after=bool(first))
            ids += encode_after(lambda text: self.tokenizer(text, add_special_tokens=False).input_ids, part)
        return ids

    def _chat(self, turns: list[dict[str, str]], *, prompt: bool = True) -> str:
        return self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)

    @cached_property
    def _encoder(self) -> TextEncoder:
        frame = self._chat([_turn("user", QUERY)]) if self.tokenizer.chat_template else ""
        return TextEncoder(self.tokenizer, frame)

    @cached_property
    def _frame_control_ids(self) -> list[int]:
        return self._encoder.control_ids(self._tokenised(QUERY))


def _turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}
