"""Puts texts of strangers into an instruction so that they stay data: nothing in them ends their place or looks like a role marker."""

import unicodedata
from collections.abc import Mapping
from typing import Any

from vpo.storage.jsonio import dumps

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


def as_line(text: str, *, in_quotes: bool = False) -> str:
    """The text in one line of an instruction, so that it begins no line of its own there; what most people type is not changed.

    White space becomes single spaces. What marks are made of and nobody sees is escaped as in `as_data`; `in_quotes`, where the line
    stands between double quotes, these are, too.
    """
    kept = "" if in_quotes else '"\\'
    return "".join(letter if letter in kept else _escaped(letter) for letter in " ".join(text.split()))


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(name)}: {_value(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return dumps(value)


def _quoted(text: str) -> str:
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    if letter >= " " and (letter in _MARKS or unicodedata.category(letter) in _UNSEEN):
        units = letter.encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True))
    return dumps(letter)[1:-1]
