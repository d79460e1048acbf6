"""What is wrong with a data file: of the whole of it, or of rows, which are all named in one message."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

PLACES_SHOWN = 3
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f]")


class Place(NamedTuple):
    """Where a row stands: ("line", 7) of a text file, ("entry", 2) of a JSON list, ("row", 5) of a table without lines."""

    unit: str
    number: int

    def __str__(self) -> str:
        return f"{self.unit} {self.number}"


class FileProblem(Exception):  # noqa: N818 (it becomes a UserError, which names the file)
    """The file cannot be read at all; the message says what it is and the cure."""


class RowProblem(Exception):  # noqa: N818
    """A row cannot be used.

    Args:
        one: what is wrong, as it follows "line 7": `has the split 'x'`.
        many: the same of several rows, as it follows their number: `with an unknown split`.
        cure: what to do about it.
        differs: whether `one` says more than `many`, so that the first of several is shown.
    """

    def __init__(self, one: str, many: str, cure: str = "correct or remove it", *, differs: bool = False) -> None:
        super().__init__(f"{one}; {cure}")
        self.one, self.many, self.cure, self.differs = one, many, cure, differs


class BrokenTable(RowProblem):
    """A row from which on a table cannot be read."""


def in_one_line(problems: Sequence[tuple[Place, RowProblem]]) -> str:
    """All problems of a file: one in full, several by kind with their number and the first few places."""
    if len(problems) == 1:
        (place, problem), *_ = problems
        return f"{place} {problem}"
    kinds: dict[str, list[tuple[Place, RowProblem]]] = {}
    for place, problem in problems:
        kinds.setdefault(problem.many, []).append((place, problem))
    listed = ", ".join(_of_one_kind(many, found) for many, found in kinds.items())
    cures = list(dict.fromkeys(problem.cure for _, problem in problems))
    cure = cures[0] if len(cures) == 1 else "correct or remove them"
    cure = re.sub(r"\bit\b", "them", cure)
    return f"{len(problems):,} rows cannot be used: {listed}; {cure}"


def _of_one_kind(many: str, found: Sequence[tuple[Place, RowProblem]]) -> str:
    place, problem = found[0]
    if len(found) == 1:
        return f"{place} {problem.one}"
    first = f"; {place} {problem.one}" if problem.differs else ""
    return f"{len(found):,} {many} ({places_in_short([place for place, _ in found])}{first})"


def places_in_short(places: Sequence[Place]) -> str:
    """`line 7`; `lines 2, 5, 9 and 12 more`."""
    unit = places[0].unit.replace("entry", "entrie") + "s" if len(places) > 1 else places[0].unit
    first = ", ".join(f"{place.number}" for place in places[:PLACES_SHOWN])
    rest = len(places) - PLACES_SHOWN
    return f"{unit} {first}{f' and {rest:,} more' if rest > 0 else ''}"


def shown(value: Any) -> str:
    """A value of the file as a message quotes it: printable, in one line and not long."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 40 else f"{text[:36]}...{text[-1]}"


def names_in_short(names: Iterable[str]) -> str:
    """The names of columns or fields as a message lists them."""
    found = list(names)
    listed = ", ".join(name if name.isprintable() and len(name) <= 40 else shown(name) for name in found[:8])
    return f"{listed}{f' and {len(found) - 8:,} more' if len(found) > 8 else ''}" or "nothing"


def control_in(text: str) -> RowProblem | None:
    """The problem of a control character in a text or CSV file: these have no escapes, so the file is damaged there."""
    found = _CONTROL.search(text)
    if not found:
        return None
    return RowProblem(f"holds the control character U+{ord(found[0]):04X}", "with control characters in them")
