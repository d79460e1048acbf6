"""What belongs to one query."""

from collections.abc import Iterable
from typing import Protocol, TypeVar


class OfQuery(Protocol):
    """A record that says which query it is of."""

    @property
    def query_id(self) -> str: ...


T = TypeVar("T", bound=OfQuery)


def by_query(records: Iterable[T]) -> dict[str, list[T]]:
    """The records of each query, queries and records in their order."""
    groups: dict[str, list[T]] = {}
    for one in records:
        groups.setdefault(one.query_id, []).append(one)
    return groups
