"""Rows of VPO's lengths with random tokens, as ids for our trainer and as text for TRL's, and a tokenizer between the two."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def make_rows(count: int, branches: int, lengths: dict[str, Any], vocab_size: int, seed: int) -> list[Any]:
    """`vpo.training.data.TrainingRow`s: one template for all, a query each, `branches` completions that end with EOS.

    Lengths do not depend on the vocabulary: every shape is measured on the same ones.
    """
    from vpo.training.data import TrainingRow

    size, token = np.random.default_rng((seed, 0)), np.random.default_rng((seed, 1))
    eos = vocab_size - 1

    def tokens(number: int) -> tuple[int, ...]:
        return tuple(token.integers(vocab_size - 2, size=number).tolist())

    def query_length() -> int:
        spec = lengths["query"]
        return int(np.clip(size.lognormal(np.log(spec["median"]), spec["spread"]), 1, spec["most"]))

    def completion_length() -> int:
        spec = lengths["completion"]
        return int(max(spec["least"], size.normal(spec["mean"], spec["deviation"])))

    template, ending = tokens(lengths["template"]), tokens(lengths["ending"])
    return [
        TrainingRow(
            query_id=str(number),
            prompt=template + tokens(query_length()) + ending,
            completions=tuple((*tokens(completion_length() - 1), eos) for _ in range(branches)),
        )
        for number in range(count)
    ]


def make_tokenizer(vocab_size: int) -> Any:
    """A tokenizer of one word a token, so that text and ids are the same thing; the last two ids are pad and EOS."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {_word(token): token for token in range(vocab_size - 2)}
    words |= {"<pad>": vocab_size - 2, "<eos>": vocab_size - 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")


def as_text(rows: Sequence[Any]) -> list[dict[str, str]]:
    """The rows as TRL takes them; it adds the EOS itself."""
    names = ("completion",) if len(rows[0].completions) == 1 else ("chosen", "rejected")
    return [
        {"prompt": _text(row.prompt)}
        | {name: " " + _text(ids[:-1]) for name, ids in zip(names, row.completions, strict=True)}
        for row in rows
    ]


def _text(ids: Sequence[int]) -> str:
    return " ".join(map(_word, ids))


def _word(token: int) -> str:
    return f"t{token}"
