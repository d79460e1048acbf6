"""From one value of a data file to one query: its text, and the id, the split and the given rewrite that it may name."""

import math
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from vpo.dataset.reading.problems import RowProblem, names_in_short, shown
from vpo.dataset.reading.text import comparison_key, tidy

TEXT_FIELDS = ("query", "text", "prompt")
REWRITE = "rewrite"
FIELDS = (*TEXT_FIELDS, "id", "split", REWRITE)

# The split that a name means. There are two trainings: supervised examples are made of the first queries, preference pairs of
# the second.
SPLIT_NAMES = {
    "sft": "sft", "train": "sft",
    "dpo": "dpo", "validation": "dpo", "val": "dpo", "valid": "dpo", "dev": "dpo",
    "test": "test",
}  # fmt: skip

CHATS = {"conversations": "ShareGPT conversations", "messages": "chat messages (OpenAI, TRL)"}

# An id becomes the first part of file names, which file systems limit to 255 bytes.
ID_CHARS, ID_BYTES = 100, 200


class Entry(NamedTuple):
    """One query as the file gives it; `key` is equal for equal texts, `changes` is what `tidy` did, `rewrite` a given
    prompt for it."""

    text: str
    key: str
    id: str | None
    split: str | None
    split_name: str | None
    changes: tuple[str, ...]
    rewrite: str | None = None


class Repeated(dict[str, Any]):
    """A JSON object with a field that stands in it twice; of a plain dict the last one would count, silently."""

    def __init__(self, pairs: list[tuple[str, Any]], field: str) -> None:
        super().__init__(pairs)
        self.field = field


@lru_cache(maxsize=1000)
def field_name(name: str) -> str:
    """A field's or column's name as it is looked for: ` Query` is query."""
    return comparison_key(name)


def fields_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row by field names as `field_name` gives them. Raises RowProblem where one stands twice."""
    fields: dict[str, Any] = {}
    for name, value in row.items():
        if field_name(name) in fields or (isinstance(row, Repeated) and name == row.field):
            raise RowProblem(f"has the field {shown(name)} twice", "with a field that stands in them twice")
        fields[field_name(name)] = value
    return fields


def layout_of(fields: Mapping[str, Any]) -> str | None:
    """The name of a training format that these fields belong to and that holds more than queries, or None."""
    chats = {name: keys for name, value in fields.items() if (keys := _chat_keys(value))}
    if "from" in chats.get("conversations", ()) or "from" in chats.get("conversation", ()):
        return CHATS["conversations"]
    if "role" in chats.get("messages", ()) or "role" in chats.get("conversations", ()):
        return CHATS["messages"]
    if chats and {"chosen", "rejected"} & set(fields):
        return "TRL's conversational preferences"
    if any(name in chats for name in (*TEXT_FIELDS, "completion")):
        return "TRL's conversational format"
    return "Alpaca" if {"instruction", "output"} <= set(fields) else None


def layout_problem(layout: str) -> RowProblem:
    """The problem of a row in such a format."""
    cure = f"only queries are read: put the user's text into a field {', '.join(TEXT_FIELDS[:-1])} or {TEXT_FIELDS[-1]}"
    return RowProblem(f"looks like {layout}", f"that look like {layout}", cure)


def blank(value: Any) -> bool:
    """Whether a cell is empty: null, NaN or white space."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def read_entry(value: Any, max_chars: int) -> Entry:
    """A string, or an object with the text in its first field of TEXT_FIELDS that is not empty. Raises RowProblem."""
    raw = raw_entry(value)
    text, changes = _text(raw.text, max_chars)
    key = comparison_key(text)
    if not key:
        raise _no_query()
    return Entry(text, key, read_id(raw.id), *_split(raw.split), changes, read_rewrite(raw.rewrite))


def read_rewrite(given: Any) -> str | None:
    """The given rewrite in one line, tidied as a query is; None where there is none (an empty cell, say). Raises RowProblem."""
    if blank(given):
        return None
    if not isinstance(given, str):
        raise RowProblem(
            f"has the rewrite {shown(given)}, which is no text", "with a rewrite that is no text", differs=True
        )
    _check_unicode(given)
    return " ".join(tidy(given).text.split()) or None


class RawEntry(NamedTuple):
    """A query, its id, split and given rewrite as a value of a file gives them, whatever they are; None where it has none."""

    text: Any
    id: Any = None
    split: Any = None
    rewrite: Any = None


def raw_entry(value: Any) -> RawEntry:
    """The fields of a value that are read. Raises RowProblem for an object without a text."""
    if not isinstance(value, dict):
        return RawEntry(value)
    fields = fields_of(value)
    layout = layout_of(fields)
    if layout:
        raise layout_problem(layout)
    names = [name for name in TEXT_FIELDS if name in fields]
    if not names:
        raise RowProblem(
            f"has no field {' or '.join(TEXT_FIELDS)}; found {names_in_short(value)}",
            f"without a field {' or '.join(TEXT_FIELDS)}",
            differs=True,
        )
    text = next((fields[name] for name in names if not blank(fields[name])), None)
    return RawEntry(text, fields.get("id"), fields.get("split"), fields.get(REWRITE))


def read_id(given: Any) -> str | None:
    """The id without white space at its ends; None where none is given (an empty cell, say). Raises RowProblem."""
    if blank(given):
        return None
    if isinstance(given, float) and given.is_integer() and abs(given) < 2**53:
        given = int(given)  # a column of whole numbers with empty cells
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise RowProblem(
            f"has the id {shown(given)}, which is neither a text nor a whole number",
            "with an id that is neither a text nor a whole number",
            differs=True,
        )
    name = str(given).strip()
    _check_unicode(name)
    if len(name) > ID_CHARS or len(name.encode()) > ID_BYTES:
        raise RowProblem(
            f"has an id of {len(name):,} characters, {shown(name[:20])}...; ids become file names",
            f"with an id of more than {ID_CHARS} characters or {ID_BYTES} bytes; ids become file names",
            f"shorten it to {ID_CHARS} characters and {ID_BYTES} bytes",
        )
    if any(unicodedata.category(one) in ("Cc", "Zl", "Zp") for one in name):
        raise RowProblem(
            f"has the id {shown(name)} with a control character or a line end in it",
            "with control characters or line ends in their id",
            "take them out",
        )
    return name


def _no_query() -> RowProblem:
    return RowProblem("is not a query (a text that shows something)", "that are no query (a text that shows something)")


def _text(value: Any, max_chars: int) -> tuple[str, tuple[str, ...]]:
    if not isinstance(value, str):
        raise _no_query()
    _check_unicode(value)
    # A pasted book is refused before anything is looked for in it; an entity is a few characters for one.
    text, changes = tidy(value) if len(value) <= 10 * max_chars else (value, ())
    if len(text) > max_chars:
        raise RowProblem(
            f"has {len(text):,} characters, more than dataset.max_chars={max_chars}",
            f"of more than dataset.max_chars={max_chars} characters",
            "shorten it or raise the limit",
        )
    return text, changes


def _split(given: Any) -> tuple[str | None, str | None]:
    """The split and its name in the file."""
    if blank(given):
        return None, None
    name = comparison_key(given) if isinstance(given, str) else None
    if name not in SPLIT_NAMES:
        raise RowProblem(
            f"has the split {shown(given)}",
            "with an unknown split",
            f"choose one of {', '.join(dict.fromkeys(SPLIT_NAMES.values()))} (or {', '.join(_other_names())})",
            differs=True,
        )
    return SPLIT_NAMES[name], name


def _other_names() -> list[str]:
    return [name for name, split in SPLIT_NAMES.items() if name != split]


def _check_unicode(text: str) -> None:
    """Refuse half of a surrogate pair: JSON can write one ("\\ud800"), UTF-8 files cannot hold it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowProblem(
            f"holds {text[error.start]!a}, half of a surrogate pair", "with half of a surrogate pair in them"
        ) from error


def _chat_keys(value: Any) -> set[str]:
    """The keys of the first turn, if the value is a list of turns."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and {"role", "from"} & set(value[0]):
        return set(value[0])
    return set()
