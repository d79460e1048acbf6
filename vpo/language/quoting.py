"""Puts texts of strangers into an instruction so that they stay data: nothing in them ends their place or looks like a role marker."""

import json
import unicodedata
from collections.abc import Mapping
from typing import Any

# What chat formats, fences, tags and answer marks are made of: "<|im_start|>", "[INST]", "[[end]]", "```", "~~~", "<think>".
_MARKS = frozenset("<>[]`~|")
# Control, format (zero-width, direction, tag characters), surrogate, private, unassigned; line and paragraph separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def as_data(values: Mapping[str, Any]) -> str:
    """The values as a JSON object, one key a line, that any JSON reader gives back unchanged.

    In its texts what marks of any kind are made of, and characters that nobody sees, are escaped (`\\u003c` for "<"), so that a
    text cannot leave its quotes, close a fence, or become a control token of the server that renders it. All else stays readable.
    """
    lines = [f"{_quoted(name)}: {_value(value)}" for name, value in values.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(name)}: {_value(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)


def _quoted(text: str) -> str:
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    if letter in _MARKS or unicodedata.category(letter) in _UNSEEN:
        return json.dumps(letter)[1:-1] if not letter.isascii() or letter < " " else f"\\u{ord(letter):04x}"
    return json.dumps(letter, ensure_ascii=False)[1:-1]
