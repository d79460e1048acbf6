"""From what a model says first to yes, no or neither."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from vpo.errors import UserError

YES = ("yes", "Yes", "YES")
NO = ("no", "No", "NO")
_WORD = re.compile(r"\W*(yes|no)(?:\W*\Z|\s*[.,;:!\n])", re.IGNORECASE)


def token_ids(tokenizer: Any, words: Iterable[str], where: str) -> list[int]:
    """The tokens that are one of the words, with or without a space before it.

    Args:
        tokenizer: a transformers tokenizer.
        words: such as YES.
        where: what the message begins with.

    Raises:
        UserError: None of the words is one token.
    """
    words = tuple(words)
    spelled = [tokenizer.encode(form, add_special_tokens=False) for word in words for form in (word, f" {word}")]
    found = sorted({ids[0] for ids in spelled if len(ids) == 1})
    if not found:
        raise UserError(
            f"{where}: its tokenizer has no token for {words[0]!r}, so its answers cannot be read; use another model"
        )
    return found


def by_probability(yes: float, no: float, least: float) -> bool | None:
    """The likelier of two answers; None where both together are less likely than `least`, or no number.

    Args:
        yes: P(yes) of the first token, summed over the ways to write it.
        no: P(no), likewise.
        least: probability of both together below which the model says something else.
    """
    if not math.isfinite(yes + no) or yes + no < least:
        return None
    return yes > no


def by_first_tokens(probabilities: Mapping[str, float], least: float) -> bool | None:
    """The same of the likeliest first tokens, as servers give them by their text."""
    sums = {False: 0.0, True: 0.0}
    for token, probability in probabilities.items():
        word = token.strip(" \u0120\u2581")  # a space as byte-level and SentencePiece vocabularies write it
        if word in YES or word in NO:
            sums[word in YES] += probability
    return by_probability(sums[True], sums[False], least)


def by_text(text: str) -> bool | None:
    """A text that is yes or no, or begins with the one or the other as a word of its own ("No, it is not."); else None."""
    found = _WORD.match(text)
    return None if found is None else found[1].lower() == "yes"
