"""The video model that a prompt is for: how much of a prompt its text encoder reads."""

import logging
import math
from functools import cached_property
from typing import Any

from vpo.checking.schema import Target
from vpo.optimize.choices import values_of
from vpo.optimize.records import Length

log = logging.getLogger(__name__)


class TargetModel:
    """A choice of `conf/target`.

    Args:
        name: of the choice.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.values = values_of("target", name, Target)

    @property
    def languages(self) -> tuple[str, ...]:
        """What its text encoder reads; empty for any."""
        return tuple(self.values.languages)

    def measure(self, text: str) -> Length:
        """How long a prompt is to its text encoder."""
        if self._tokenizer is not None:
            return Length(len(self._tokenizer(text).input_ids), self.values.tokens, "tokenizer")
        # Words of scripts that write no spaces are about as long as a character.
        words = sum(1 if word.isascii() else max(1, len(word) / 2) for word in text.split())
        return Length(math.ceil(words * self.values.tokens_per_word) + 1, self.values.tokens, "words")

    def fits(self, text: str) -> bool:
        """Whether the text encoder reads all of it."""
        return self.values.tokens is None or self.measure(text).tokens <= self.values.tokens

    @cached_property
    def _tokenizer(self) -> Any:
        """The encoder's tokenizer where its files lie here already, else None. Nothing is downloaded for it."""
        if self.values.tokenizer is None:
            return None
        from transformers import AutoTokenizer

        try:
            named = {"subfolder": self.values.subfolder} if self.values.subfolder else {}
            return AutoTokenizer.from_pretrained(self.values.tokenizer, local_files_only=True, **named)
        except Exception:  # what transformers raises for files that are missing or cannot be read varies
            log.info(
                "target %s: tokens are estimated from words; for exact counts: hf download %s --include '*tokenizer*' 'spiece.model'",
                self.name,
                self.values.tokenizer,
            )
            return None
