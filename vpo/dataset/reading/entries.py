"""From one value of a data file to one query: its text, and the id, the split and the given rewrite that it may name."""

import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

from vpo.dataset.reading.columns import REWRITE, TEXT_FIELDS, Columns, blank, fields_of
from vpo.dataset.reading.problems import RowProblem, names_in_short, shown
from vpo.dataset.reading.text import comparison_key, tidy
from vpo.dataset.reading.training_rows import LONE, Pairing, has_lone_side, is_training_row, plain_row

# The split that a name means. There are two trainings: supervised examples are made of the first queries, preference pairs of
# the second.
SPLIT_NAMES = {
    "sft": "sft", "train": "sft",
    "dpo": "dpo", "validation": "dpo", "val": "dpo", "valid": "dpo", "dev": "dpo",
    "test": "test",
}  # fmt: skip

# An id becomes the first part of file names, which file systems limit to 255 bytes.
ID_CHARS, ID_BYTES = 100, 200


class Entry(NamedTuple):
    """One query as the file gives it.

    Attributes:
        text: tidied; `key` is equal for equal texts.
        id, split, split_name: as the row names them.
        changes: what was done to the row's texts, or was not read of it.
        rewrite: a given prompt for the query.
        pair: two given prompts, of which one is preferred.
        labels: fields that come along in `Query.meta`.
    """

    text: str
    key: str
    id: str | None
    split: str | None
    split_name: str | None
    changes: tuple[str, ...]
    rewrite: str | None = None
    pair: Pairing | None = None
    labels: Mapping[str, Any] = {}


PLAIN = Columns()


def read_entry(value: Any, max_chars: int, columns: Columns = PLAIN) -> Entry:
    """The query of a text, or of an object with the text in a field that `columns` names. Raises RowProblem."""
    raw = raw_entry(value, columns)
    text, changes = _text(raw.text, max_chars)
    key = comparison_key(text)
    if not key:
        raise _no_query()
    for side in raw.pair[:2] if raw.pair else ():
        _check_unicode(side)
    split = _split(raw.split)
    return Entry(
        text, key, read_id(raw.id), *split, (*changes, *raw.changes), read_rewrite(raw.rewrite), raw.pair, raw.labels
    )


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
    """A query and what a value of a file gives beside it, whatever they are; None where it has none. See `Entry`."""

    text: Any
    id: Any = None
    split: Any = None
    rewrite: Any = None
    pair: Pairing | None = None
    changes: tuple[str, ...] = ()
    labels: Mapping[str, Any] = {}


def raw_entry(value: Any, columns: Columns = PLAIN) -> RawEntry:
    """The fields of a value that are read. Raises RowProblem for an object without a text."""
    if isinstance(value, list) and len(value) == 2 and all(isinstance(one, str) for one in value):
        return RawEntry(value[0], rewrite=value[1])  # Prompt-A-Video's pairs of a prompt and its rewrite
    if not isinstance(value, dict):
        return RawEntry(value)
    given = fields_of(value)
    fields = columns.read(given)
    pair: Pairing | None = None
    changes: tuple[str, ...] = ()
    if is_training_row(fields):
        fields, pair, changes = plain_row(fields)
    elif has_lone_side(fields):
        changes = (LONE,)
    names = [name for name in TEXT_FIELDS if name in fields]
    if not names:
        raise RowProblem(
            f"has no field {columns.one_of().replace(', ', ' or ')}; found {names_in_short(value)}",
            f"without a field {columns.one_of().replace(', ', ' or ')}",
            differs=True,
        )
    text = next((fields[name] for name in names if not blank(fields[name])), None)
    labels = columns.labels_of(given)
    return RawEntry(text, fields.get("id"), fields.get("split"), fields.get(REWRITE), pair, changes, labels)


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
    if not name.isprintable() and any(unicodedata.category(one) in ("Cc", "Zl", "Zp") for one in name):
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
