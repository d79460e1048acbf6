"""Metrics of the prompts' text that need no model: length to the text encoder, diversity over the set, copying."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from vpo.assets.models import NO_MODEL, OF_VPO
from vpo.cards import COUNT, SHARE, WEIGHTED_MEAN, EvaluatorCard, Metric, Weighted, share
from vpo.errors import UserError
from vpo.language.diversity import distinct, grams, self_similarity
from vpo.records import Prompt, Sample
from vpo.templates import template_text

COPIED_WORDS = 8  # in a row that a prompt shares with a template count as copied; by chance so many do not coincide
_LABEL = re.compile(r"^(?:[A-Z]\w*(?: \w+){0,3}):$", re.M)  # a line such as "Video Prompt:"
_FILES = ("tokenizer.json", "spiece.model", "tokenizer.model")

Values = dict[str, float | Weighted]


class TextMetrics:
    """What can be said of prompts by counting words; words and refusals by the judge stand in `alignment`.

    Diversity is the set's: it is measured on all prompts of a method together, and a prompt's own value says what the set would be
    without it (`vpo.language.diversity`).

    Args:
        templates: names of files in `vpo/templates` whose words a prompt must not repeat.
        tokens: that the video model's text encoder reads.
        tokenizer: the text encoder's: hub id or folder; None, or where it is not at hand, counts words.
        subfolder: of the tokenizer's files in there.
        tokens_per_word: for an estimate without a tokenizer.

    Raises:
        UserError: There is no such template, or no tokenizer in the folder.
    """

    def __init__(
        self,
        templates: Sequence[str],
        tokens: int,
        tokenizer: str | None,
        subfolder: str | None,
        tokens_per_word: float,
    ) -> None:
        self.templates = [template_text(name) for name in dict.fromkeys(templates)]
        self.limit, self.tokens_per_word = tokens, tokens_per_word
        self.tokenizer = load_tokenizer(tokenizer, subfolder)

    @staticmethod
    def card(
        templates: Sequence[str],
        tokens: int,
        tokenizer: str | None,
        subfolder: str | None,
        tokens_per_word: float,
    ) -> EvaluatorCard:
        """The card; its version says how tokens were counted, and of which templates copies were looked for."""
        exact = load_tokenizer(tokenizer, subfolder) is not None
        texts = "\0".join(map(template_text, dict.fromkeys(templates)))
        counted = f"by {tokenizer}'s tokenizer" if exact else f"estimated, {tokens_per_word} a word"
        return EvaluatorCard(
            name="text",
            version=f"2-{'tokenizer' if exact else 'words'}-{hashlib.sha256(texts.encode()).hexdigest()[:8]}",
            about=f"counted from the texts, without a model; tokens are {counted}, of which the text encoder reads {tokens}",
            model=f"{tokenizer}'s tokenizer alone" if exact else NO_MODEL,
            licence="that of the tokenizer" if exact else OF_VPO,
            whole=True,
            metrics=(
                Metric("tokens", "Tokens", decimals=0, range=COUNT, about=f"of the text encoder, {counted}"),
                share("cut_tokens", "Cut off", "lower", f"tokens behind the first {tokens}, of all prompts' tokens",
                      aggregate=WEIGHTED_MEAN),
                share("cut_prompts", "Prompts cut off", "lower", f"prompts of more than {tokens} tokens", main=False),
                share("unfinished", "Unfinished", "lower", "prompts in which the language model was cut off", main=False),
                Metric("distinct_1", "Distinct-1", "higher", unit="%", scale=100, decimals=1, main=False, of_set=True, range=SHARE,
                       about="different words, of all words; longer prompts have fewer"),
                Metric("distinct_2", "Distinct-2", "higher", unit="%", scale=100, decimals=1, of_set=True, range=SHARE,
                       about="different pairs of words, of all; longer prompts have fewer"),
                Metric("self_similarity", "Self-similarity", "lower", main=False, of_set=True, range=SHARE,
                       about="mean cosine of all pairs of prompts, of their counts of pairs of words"),
                share("template_copied", "Template copied", "lower",
                      f"prompts that repeat {COPIED_WORDS} words in a row, or a label, of {_either(templates)}"),
                share("unchanged", "Unchanged", None, "prompts that are the query, capitals and spaces apart", main=False),
            ),
        )  # fmt: skip

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | Weighted | None]]:
        """The metrics of each sample; what is the set's is left out where there is nothing to count or to compare with."""
        prompts = [one.prompt for one in samples if isinstance(one.prompt, Prompt)]
        texts = [one.text for one in prompts]
        rows = [self._own(one) for one in prompts]
        for name, values in (
            ("distinct_1", distinct(texts, 1)),
            ("distinct_2", distinct(texts, 2)),
            ("self_similarity", self_similarity(texts)),
        ):
            for row, value in zip(rows, values, strict=True):
                if value is not None:
                    row[name] = value
        own = iter(rows)
        return [next(own) if isinstance(one.prompt, Prompt) else {} for one in samples]

    def _own(self, prompt: Prompt) -> Values:
        """The metrics of a prompt by itself."""
        tokens = self.count(prompt.text)
        beyond = max(0, tokens - self.limit)
        return {
            "tokens": float(tokens),
            "cut_tokens": Weighted(beyond / tokens, tokens),
            "cut_prompts": float(beyond > 0),
            "unfinished": float(prompt.cut),
            "template_copied": float(any(copies(prompt.text, one, prompt.query) for one in self.templates)),
            "unchanged": float(_folded(prompt.text) == _folded(prompt.query)),
        }

    def count(self, text: str) -> int:
        """Tokens of a text to the text encoder, the one that ends it included."""
        if self.tokenizer is not None:
            return max(1, len(self.tokenizer(text).input_ids))
        return math.ceil(len(text.split()) * self.tokens_per_word) + 1


def copies(text: str, template: str, query: str) -> bool:
    """Whether a prompt repeats a template: 8 of its words in a row, or one of its labels. The query's own words are its user's."""
    asked = {*grams(query, COPIED_WORDS)}
    written = {*grams(text, COPIED_WORDS)} - asked
    parts = template.split("{}")
    if any(not written.isdisjoint(grams(part, COPIED_WORDS)) for part in parts):
        return True
    labels = {label for part in parts for label in _LABEL.findall("\n".join(map(str.strip, part.split("\n"))))}
    return any(label in text and label not in query for label in labels)


@lru_cache(maxsize=8)
def load_tokenizer(source: str | None, subfolder: str | None) -> Any:
    """The tokenizer of a folder, or of a hub id whose files lie in the hub's cache; None where there is none.

    Raises:
        UserError: The folder holds no tokenizer.
    """
    if source is None or not (Path(source).is_dir() or _is_cached(source, subfolder)):
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source, local_files_only=True, subfolder=subfolder or "")
    except Exception as error:  # what transformers raises for files that cannot be read varies
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"evaluator.text.tokenizer={source}: it cannot be loaded ({reason}); correct it, or set it to null to estimate"
        ) from error


def _is_cached(source: str, subfolder: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    prefix = f"{subfolder}/" if subfolder else ""
    try:
        return any(isinstance(try_to_load_from_cache(source, prefix + name), str) for name in _FILES)
    except HFValidationError as error:
        raise UserError(
            f"evaluator.text.tokenizer={source}: no such folder, and no hub id; set it to one, or to null to estimate"
        ) from error


def _either(templates: Sequence[str]) -> str:
    """Of which templates copies are looked for: "the template tiny", "the templates tiny or fewshot"."""
    names = list(dict.fromkeys(templates))
    return f"the template{'s' if len(names) > 1 else ''} {' or '.join(names)}"


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
