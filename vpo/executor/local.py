"""Item-by-item work in this process."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


class LocalExecutor:
    """One item after the other."""

    def map(self, work: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        return map(work, items)
