"""How evaluators name a language model that they ask, and read what it answers: the last line, or nothing."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vpo.assets.models import licence_of, named
from vpo.language.serving.answers import without_thought
from vpo.records import Completion, Failure

_DECORATION = " \t*_`\"'."


def chosen(answer: Completion | Failure, label: str, choices: Collection[str]) -> str | None:
    """The choice of an answer whose last line is "<label>: <choice>"; None for anything else.

    There is no falling back to a word somewhere in the text: a model that quotes, or hesitates, has not chosen.
    """
    if isinstance(answer, Failure):
        return None
    lines = [line for line in without_thought(answer.text)[0].splitlines() if line.strip(_DECORATION)]
    if not lines:
        return None
    found = re.fullmatch(rf"{label}[*_]*\s*:\s*(.+)", lines[-1].strip(_DECORATION), re.IGNORECASE)
    said = found[1].strip(_DECORATION).casefold() if found else None
    return next((one for one in choices if one.casefold() == said), None)


def said(answer: Completion | Failure) -> str:
    """What is kept of an answer for people: its text, or why there is none."""
    return answer.text if isinstance(answer, Completion) else f"no answer, {answer.kind}: {answer.detail}"


def passing(answers: Sequence[Completion | Failure]) -> Failure | None:
    """A failure among the answers whose reason passes: what they are about is to be asked again as a whole, and nothing is lost."""
    return next((one for one in answers if isinstance(one, Failure) and one.retryable), None)


def asked_model(engine: Mapping[str, Any] | None) -> str:
    """How a card names the model of an engine's node, whose licence is its own; of a folder the last name alone."""
    model = str((engine or {}).get("model") or "")
    if not model or model == "???":
        return "the configured model"
    return named(model, (engine or {}).get("revision"))


def asked_licence(engine: Mapping[str, Any] | None) -> str:
    """What a card says of the licence of an engine's model."""
    return licence_of(str((engine or {}).get("model") or ""))
