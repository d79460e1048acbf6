"""What the fields of a row, or the columns of a table, are called, and which of them come along as labels."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from vpo.dataset.reading.labels import read_label
from vpo.dataset.reading.problems import RowProblem, shown
from vpo.dataset.reading.text import comparison_key
from vpo.errors import UserError

TEXT_FIELDS = ("query", "text", "prompt")
REWRITE, PAIRS = "rewrite", "pairs"  # also the keys of `Query.meta`
CHOSEN, REJECTED = "chosen", "rejected"
PROVENANCE = "provenance"  # what `vpo pairs export` writes beside a pair
FIELDS = (*TEXT_FIELDS, "id", "split", REWRITE, CHOSEN, REJECTED)
ALPACA = ("instruction", "input", "output")
CHATS = ("conversations", "conversation", "messages")
TRAINING = (*ALPACA, *CHATS, "system", "completion", "history", "label", "kto_tag", PROVENANCE)  # of training formats
RENAMED = ("query", "id", "split", REWRITE, CHOSEN, REJECTED)  # what a file may call otherwise


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


def blank(value: Any) -> bool:
    """Whether a cell is empty: null, NaN or white space."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


@dataclass(frozen=True)
class Columns:
    """What a file calls its fields.

    Attributes:
        names: by our name (one of `RENAMED`) the file's, as `field_name` gives it. A file without an entry for the query has it in
            the first of `TEXT_FIELDS` that is not empty.
        labels: by the file's name, as `field_name` gives it, the name under which the value goes into `Query.meta`.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def texts(self) -> tuple[str, ...]:
        """The names of fields that may hold the query, as the file has them."""
        return (self.names["query"],) if "query" in self.names else TEXT_FIELDS

    @property
    def headers(self) -> frozenset[str]:
        """Names by which the first line of a table is known to name its columns."""
        return frozenset((*FIELDS, ALPACA[0], *self.names.values(), *self.labels))

    @property
    def wanted(self) -> frozenset[str]:
        """All names whose values are read."""
        return self.headers | {*TRAINING}

    def one_of(self) -> str:
        """The names of texts in a sentence: "query, text or prompt"."""
        *first, last = self.texts
        return f"{', '.join(first)} or {last}" if first else last

    def read(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields under our names. Where the file calls one otherwise, a field of our name is another thing and goes."""
        if not self.names:
            return dict(fields)
        hidden = {*self.names, *(TEXT_FIELDS if "query" in self.names else ()), *self.names.values()}
        kept = {name: value for name, value in fields.items() if name not in hidden}
        return kept | {ours: fields[theirs] for ours, theirs in self.names.items() if theirs in fields}

    def labels_of(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The labels that the row has, as JSON can hold them; empty cells are none. Raises RowProblem, see `read_label`."""
        found = {name: fields[theirs] for theirs, name in self.labels.items() if theirs in fields}
        return {name: read_label(name, as_json(value)) for name, value in found.items() if not blank(value)}


def columns_of(given: Mapping[str, Any] | None, key: str = "dataset.columns") -> Columns:
    """The columns that a config names, as in `{query: prompt_en, labels: [dimension]}`. Raises UserError for what is none."""
    if given is None:
        return Columns()
    if not isinstance(given, Mapping):
        raise UserError(f"{key}={given} must name columns, as in {{query: prompt_en, labels: [dimension]}}")
    unknown = sorted({*given} - {*RENAMED, "labels"})
    if unknown:
        raise UserError(f"{key} has the unknown key {unknown[0]!r}; known are {', '.join(RENAMED)} and labels")
    labels = given.get("labels") or []
    names = {name: given[name] for name in RENAMED if given.get(name) is not None}
    if not isinstance(labels, list | tuple):
        raise UserError(f"{key}.labels={labels} must be a list of columns, as in [dimension]")
    odd = next((one for one in [*names.values(), *labels] if not isinstance(one, str) or not field_name(one)), None)
    if odd is not None:
        raise UserError(f"{key}: {odd!r} is no name of a column; put it in quotes")
    taken = next((one for one in labels if one in (REWRITE, PAIRS, "source")), None)
    if taken is not None:
        raise UserError(f"{key}.labels: {taken} is what vpo itself puts beside a query; leave it out")
    return Columns(
        {ours: field_name(theirs) for ours, theirs in names.items()}, {field_name(one): one for one in labels}
    )


def as_json(value: Any) -> Any:
    """A value of a table (a date, a decimal number) as JSON can hold it; what is not a number is None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(name): as_json(one) for name, one in value.items()}
    return [as_json(one) for one in value] if isinstance(value, list | tuple) else str(value)
