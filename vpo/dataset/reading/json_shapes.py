"""The shapes in which a JSON document holds a list of queries: a list, a list under a name, and what pandas writes."""

from typing import Any

from vpo.dataset.reading.columns import ALPACA, CHATS, CHOSEN, TEXT_FIELDS, Columns, Repeated, field_name, fields_of
from vpo.dataset.reading.entries import SPLIT_NAMES
from vpo.dataset.reading.problems import FileProblem, Place, RowProblem, names_in_short, shown
from vpo.dataset.reading.training_rows import is_chat
from vpo.storage.jsonio import dumps

Value = tuple[Place, Any]


def entries_of(document: Any, columns: Columns, place: Place | None = None) -> list[Value]:
    """The entries of a whole JSON document. Raises FileProblem where it has no list of them.

    Shapes: a list; one entry; `{"train": [...], "test": [...]}`, where the names are the entries' splits; an object with
    one list in it (`{"data": [...]}`); pandas' orientations "columns", "list", "split", "index" and "table".

    Args:
        document: what the JSON says.
        columns: what it calls its fields.
        place: of the document, for a single entry; `entry 1` by default.
    """
    if isinstance(document, list):
        return _numbered(document)
    if not isinstance(document, dict):
        kind = "a text" if isinstance(document, str) else dumps(document)[:40]
        raise FileProblem(f"a JSON list of queries is due, found {kind}; put it into [ ]")
    if isinstance(document, Repeated):
        raise FileProblem(f"has the field {shown(document.field)} twice; correct or remove one")
    if document and all(isinstance(value, dict) for value in document.values()) and not _has_texts(document, columns):
        return _numbered([_with(value, "id", name) for name, value in document.items()])
    try:
        fields = fields_of(document)
    except RowProblem as problem:
        raise FileProblem(str(problem)) from problem
    lists = [value for value in fields.values() if isinstance(value, list)]
    texts = [*columns.texts, ALPACA[0], CHOSEN, *CHATS]
    if any(isinstance(fields.get(name), str) or is_chat(fields.get(name)) for name in texts):
        return [(place or Place("entry", 1), document)]
    if any(isinstance(fields.get(name), list | dict) for name in texts):
        return _columns(fields, columns)
    if any(name in fields for name in columns.texts):
        return [(place or Place("entry", 1), document)]
    if fields and set(fields) <= set(SPLIT_NAMES) and len(lists) == len(fields):
        return _numbered([_with(value, "split", split) for split, part in fields.items() for value in part])
    if {"columns", "data"} <= set(fields) and len(lists) >= 2:
        return _split_orientation(fields["columns"], fields["data"])
    if len(lists) == 1:
        return _numbered(lists[0])
    found = f"an object with {names_in_short(document)}" if document else "an empty object"
    raise FileProblem(f"a JSON list of queries is due, found {found}; put the queries into a list")


def _has_texts(document: dict[str, Any], columns: Columns) -> bool:
    return any(field_name(name) in (*columns.texts, ALPACA[0]) for name in document)


def _numbered(values: list[Any]) -> list[Value]:
    return [(Place("entry", number), value) for number, value in enumerate(values, start=1)]


def _with(value: Any, field: str, given: str) -> Any:
    """The entry with a field that its place in the document gives; its own wins."""
    if isinstance(value, dict):
        return value if isinstance(value, Repeated) or field in map(field_name, value) else {**value, field: given}
    return {TEXT_FIELDS[0]: value, field: given}


def _columns(fields: dict[str, Any], columns: Columns) -> list[Value]:
    """Columns of cells: {"query": [...]}, or {"query": {"0": ...}} with the rows' names."""
    known = {name: cells for name, cells in fields.items() if name in columns.wanted}
    parts = {
        name: dict(enumerate(cells)) if isinstance(cells, list) else cells
        for name, cells in known.items()
        if isinstance(cells, list | dict)
    }
    first = next(iter(parts.values()))
    if len(parts) < len(known) or any(set(cells) != set(first) for cells in parts.values()):
        raise FileProblem(f"its columns {names_in_short(known)} do not have the same rows; give each row every column")
    return _numbered([{name: cells[row] for name, cells in parts.items()} for row in first])


def _split_orientation(names: Any, rows: Any) -> list[Value]:
    if not isinstance(names, list) or not isinstance(rows, list):
        raise FileProblem('a list is due under "columns" and under "data"; correct them')
    if any(not isinstance(row, list) or len(row) != len(names) for row in rows):
        raise FileProblem(f'every row of "data" must have the {len(names)} cells that "columns" names; correct them')
    if len({field_name(str(name)) for name in names}) < len(names):
        raise FileProblem(f"names a column twice: {names_in_short(map(str, names))}; rename one")
    return _numbered([dict(zip(map(str, names), row, strict=True)) for row in rows])
