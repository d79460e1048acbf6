"""The different queries of a source of rows, each once with all that its rows say of it."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vpo.dataset.reading.columns import PAIRS, REWRITE, Columns
from vpo.dataset.reading.entries import Entry, read_entry
from vpo.dataset.reading.problems import FileProblem, Place, RowProblem, in_one_line, shown
from vpo.dataset.reading.training_rows import Pairing
from vpo.records import Query

COPIES = "duplicates dropped"


@dataclass
class Distinct:
    """What was read.

    Attributes:
        queries: each with the split that one of its rows names, or None.
        copies: rows that said nothing new.
        changes: how many rows have something changed or not read, by what it is.
        renamed: names of splits in the rows, and the splits that they stand for.
    """

    queries: list[tuple[Query, str | None]]
    copies: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    renamed: dict[str, str] = field(default_factory=dict)


def read_distinct(values: Iterable[tuple[Place, Any]], max_chars: int, columns: Columns) -> Distinct:
    """Every text once, by the first row that has it.

    Raises:
        FileProblem: there are none, rows cannot be used (all of them are named), or no row has a label that `columns` names.
    """
    found, problems, read = _Found(), [], Distinct([])
    for place, value in values:
        try:
            if isinstance(value, RowProblem):
                raise value
            entry = read_entry(value, max_chars, columns)
            found.add(place, entry)
        except RowProblem as problem:
            problems.append((place, problem))
            continue
        read.changes.update(entry.changes)
        if entry.split and entry.split_name != entry.split:
            read.renamed[str(entry.split_name)] = entry.split
    if problems:
        raise FileProblem(in_one_line(problems))
    if not found.queries:
        raise FileProblem(
            "no queries in it; give a JSON list, JSONL, CSV, Parquet or a text file with one query a line"
        )
    check_labels(columns, (one.query.meta for one in found.queries.values()))
    read.queries = [(one.query, one.split) for one in found.queries.values()]
    read.copies = found.copies
    return read


def check_labels(columns: Columns, metas: Iterable[Mapping[str, Any]]) -> None:
    """Raise FileProblem where no query has one of the labels: its name is wrong, most likely."""
    lacking = {*columns.labels.values()}
    for meta in metas:
        if not lacking:
            return
        lacking.difference_update(meta)
    if lacking:
        raise FileProblem(
            f"no row has the label {shown(min(lacking))}, which dataset.columns.labels names; correct or remove it"
        )


def meta_of(entry: Entry) -> dict[str, Any]:
    """What a row says beside its query, as it stands in `Query.meta`."""
    meta = dict(entry.labels)
    if entry.rewrite:
        meta[REWRITE] = entry.rewrite
    if entry.pair:
        meta[PAIRS] = [pair_of(entry.pair)]
    return meta


def pair_of(pair: Pairing) -> dict[str, Any]:
    """A given pair as it stands in `Query.meta`: see `vpo.feedback.given`."""
    sides = {"chosen": pair.chosen, "rejected": pair.rejected}
    return sides | ({"provenance": dict(pair.provenance)} if pair.provenance else {})


def joined(first: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """What two rows of one text say together: lists and mappings are joined, of other values the first row's counts."""
    both = dict(first)
    for name, value in more.items():
        own = both.setdefault(name, value)
        if isinstance(own, list) and isinstance(value, list):
            both[name] = [*own, *(one for one in value if one not in own)]
        elif isinstance(own, Mapping) and isinstance(value, Mapping):
            both[name] = {**value, **own}
    return both


@dataclass
class _Kept:
    """A text of the file: the query it became, and the split with the id of the row that named it."""

    query: Query
    split: str | None
    named_by: str


class _Found:
    """The different texts of a file, in its order."""

    def __init__(self) -> None:
        self.queries: dict[str, _Kept] = {}  # by comparison key
        self.copies = 0
        self._ids: dict[str, tuple[Place, str]] = {}  # where each id stands first, and for which text

    def add(self, place: Place, entry: Entry) -> None:
        """Keep the entry or count it as a copy. Raises RowProblem where its id or split is at odds with an earlier row's."""
        name = entry.id or "q-" + hashlib.sha256(entry.text.encode()).hexdigest()[:12]
        first, key = self._ids.setdefault(name, (place, entry.key))
        if key != entry.key:
            raise RowProblem(
                f"has the id {shown(name)} of {first}",
                "with the id of another query",
                "give every query its own id",
                differs=True,
            )
        kept = self.queries.get(entry.key)
        if kept is None:
            self.queries[entry.key] = _Kept(Query(name, entry.text, meta=meta_of(entry)), entry.split, name)
            return
        if kept.split and entry.split and kept.split != entry.split:
            raise RowProblem(
                f"(id {shown(name)}) puts into {entry.split} the text that id {shown(kept.named_by)} puts into {kept.split}",
                "whose text another row puts into another split",
                "a text belongs to one split: remove one of them",
                differs=True,
            )
        more = joined(kept.query.meta, meta_of(entry))
        self.copies += len(more.get(PAIRS, ())) == len(kept.query.meta.get(PAIRS, ()))
        kept.query = replace(kept.query, meta=more)
        if entry.split and not kept.split:
            kept.split, kept.named_by = entry.split, name
