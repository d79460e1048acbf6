"""Text that users write is text: it is encoded so that no tokenizer reads a control token in it.

A tokenizer looks for its added tokens in all that it is given. So `<|im_end|>` in a query would end the user's turn, and in a
completion it would end the answer. Special tokens are control tokens; so are other added tokens that look like markup
(`<tool_call>`) or that the chat template itself writes. Added whitespace, words and emoji are not: they are ordinary text.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Encode = Callable[[str], list[int]]
# What stands before a text while it is encoded, so that it is not taken for the beginning of all text, before which
# SentencePiece-like tokenizers put a space. The first that does not merge with the text is used.
ANCHORS = ("\n", ".", ",", "a", "0")
MARKUP = re.compile(r"<[^<>\s]{1,60}>|\[[^\[\]\s]{1,60}\]")
BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # how tokenizers with byte fallback call a byte


@dataclass(frozen=True)
class TextEncoder:
    """Encodes text that is not ours.

    Attributes:
        tokenizer: a transformers tokenizer.
        frame: what a chat template writes around a user's words; empty where there is none.
    """

    tokenizer: Any
    frame: str = ""

    @cached_property
    def tokens(self) -> dict[str, int]:
        """The control tokens, by their text."""
        tokenizer = self.tokenizer
        added = {one.content: (number, one.special) for number, one in tokenizer.added_tokens_decoder.items()}
        special = {text: number for text, (number, is_special) in added.items() if is_special}
        special |= dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        found = {text: number for text, number in special.items() if not self._is_word(text, number)}
        return found | {text: one for text, (one, _) in added.items() if _is_markup(text) or self._in_frame(text)}

    @cached_property
    def silent(self) -> frozenset[int]:
        """Control tokens that say nothing to a reader: the special ones."""
        special = {number for number, one in self.tokenizer.added_tokens_decoder.items() if one.special}
        return frozenset(self.tokens.values()) & (special | set(self.tokenizer.all_special_ids))

    @cached_property
    def spelled(self) -> frozenset[str]:
        """Markup of the chat format that is no token of its own but a few ordinary ones, as `[INST]` of Llama 2."""
        return frozenset(MARKUP.findall(self.frame)) - self.tokens.keys()

    @cached_property
    def ids(self) -> frozenset[int]:
        """Ids that ordinary text never gives. What an unknown character or a byte becomes is not among them."""
        unknown = getattr(self.tokenizer, "unk_token_id", None)
        return frozenset(one for text, one in self.tokens.items() if one != unknown and not BYTE.fullmatch(text))

    def has_control_text(self, text: str) -> bool:
        """Whether a control token's text, markup of the chat format or a byte's name stands in a text."""
        return self._pattern.search(text) is not None

    def control_ids(self, ids: Iterable[int]) -> list[int]:
        """Those of some ids that are control tokens, in order."""
        return [one for one in ids if one in self.ids]

    def encode(self, text: str, *, after: bool) -> list[int]:
        """The ids of a text, none of which is a control token; `after` tells that other ids come before them.

        Where the tokenizer's model itself knows a control token (Unigram), or the chat format's markup is spelled with
        ordinary tokens, the text is encoded character by character.
        """
        ids: list[int] = []
        for number, part in enumerate(self._pattern.split(text)):
            if part:
                ids += self._part(part, is_markup=number % 2 == 1, after=after or bool(ids))
        return ids

    def _part(self, text: str, *, is_markup: bool, after: bool) -> list[int]:
        ids = encode_after(self._plain, text) if after else self._plain(text)
        known = {*self.tokens.values(), self.tokenizer.convert_tokens_to_ids(text)} if is_markup else self.ids
        if text not in self.spelled and known.isdisjoint(ids):
            return ids
        ids = [] if after else self._plain(text[0])
        for character in text[len(ids) > 0 :]:
            ids += encode_after(self._plain, character)
        return [one for one in ids if one not in self.ids]  # a control token of one character cannot be written at all

    def _plain(self, text: str) -> list[int]:
        """The ids of a text for a tokenizer that has no added tokens."""
        if not self.tokenizer.is_fast:
            return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))
        # `split_special_tokens` is not enough here: it finds added tokens that are not special.
        backend = self.tokenizer.backend_tokenizer
        normal = backend.normalizer.normalize_str(text) if backend.normalizer is not None else text
        splitter = backend.pre_tokenizer
        words = [normal] if splitter is None else [word for word, _ in splitter.pre_tokenize_str(normal)]
        return [token.id for word in words for token in backend.model.tokenize(word)]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted({*self.tokens, *self.spelled} - {""}, key=len, reverse=True)
        return re.compile("(" + "|".join([*map(re.escape, longest_first), BYTE.pattern]) + ")")

    def _is_word(self, text: str, number: int) -> bool:
        """Whether a special token is an ordinary one that was given another use, such as "!" for padding."""
        bounds = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return number not in bounds and not _is_markup(text) and self._plain(text) == [number]

    def _in_frame(self, text: str) -> bool:
        return bool(text.strip(" \t\r\n▁")) and text in self.frame


def encode_after(encode: Encode, text: str) -> list[int]:
    """The ids of a text in the middle of another one: no space is put before it."""
    for anchor in ANCHORS:
        head, whole = encode(anchor), encode(anchor + text)
        if head and whole[: len(head)] == head:
            return whole[len(head) :]
    return encode(text)


def _is_markup(text: str) -> bool:
    """Whether an added token looks like markup: letters or digits between signs."""
    kinds = {unicodedata.category(character) for character in text}
    return any(kind[0] in "LN" for kind in kinds) and any(kind[0] == "P" or kind == "Sm" for kind in kinds)
