"""The words the rule judge knows: one small text file a table, read once, when first asked for.

Every table has the same form: `head: item, item` a line, or `item, item` where items stand on their own; `#` opens a
comment. The lists are general English, collected by hand from common use: COCO's 80 object classes and 11 colours as
VBench uses them (Huang et al., 2024, arXiv 2311.17982), names of camera moves, everyday verbs and places.
"""

from functools import cache
from importlib import resources


@cache
def table(name: str) -> dict[str, tuple[str, ...]]:
    """The heads of `<name>.txt` with their items, in file order."""
    rows: dict[str, tuple[str, ...]] = {}
    for line in _lines(name):
        head, _, items = line.partition(":")
        rows[head.strip()] = rows.get(head.strip(), ()) + _items(items)
    return rows


@cache
def sided(name: str) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The heads of `<name>.txt` with their items before and after a bar, in file order."""
    rows = {}
    for line in _lines(name):
        head, _, items = line.partition(":")
        first, _, further = items.partition("|")
        rows[head.strip()] = _items(first), _items(further)
    return rows


@cache
def groups(name: str) -> tuple[tuple[str, ...], ...]:
    """The lines of `<name>.txt`, each as its items: for tables without heads."""
    return tuple(_items(line) for line in _lines(name))


@cache
def words(name: str) -> frozenset[str]:
    """The words of `<name>.txt`, where lines mean nothing."""
    return frozenset(word for line in _lines(name) for word in line.split())


@cache
def patterns(name: str) -> tuple[tuple[str, str], ...]:
    """The named regular expressions of `<name>.txt`; they may hold commas and colons, and share a name."""
    parts = (line.split(":", 1) for line in _lines(name))
    return tuple((part[0].strip(), part[1].strip()) for part in parts)


def _lines(name: str) -> list[str]:
    text = resources.files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _items(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())
