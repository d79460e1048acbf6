"""Reads a language model's refinement: the new prompt alone, or nothing where it is of no use."""

from vpo.judge.rules.helpfulness import refusal
from vpo.language.answers import ENCLOSING, unwrap
from vpo.language.garbled import find_garbled
from vpo.language.serving.answers import without_thought
from vpo.records import Completion, Prompt


def read_refinement(completion: Completion, prompt: Prompt) -> str | None:
    """The refined prompt in one line; None for what cannot stand in its place.

    That is an answer that was cut off, that holds no text, that refuses, that gives the flawed prompt back, or that is garbled:
    looping, cut off in a sentence, in another script than the query, or echoing an instruction (`vpo.language.garbled`).
    """
    answer, _ = without_thought(completion.text)
    inner, wrappers = unwrap(answer)
    outer = "" if any(one.kind in ENCLOSING for one in wrappers) else answer  # a fence's mark is no sentence
    text = " ".join(inner.split())
    if completion.cut or not any(letter.isalnum() for letter in text):
        return None
    if refusal(outer) or refusal(text):
        return None
    if _words(text) == _words(prompt.text) or find_garbled(text, prompt.query):
        return None
    return text


def _words(text: str) -> list[str]:
    """For a comparison that forgives what nobody would call a change: case, space and signs."""
    return "".join(letter if letter.isalnum() else " " for letter in text.casefold()).split()
