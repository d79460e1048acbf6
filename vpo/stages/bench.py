"""What every stage works with: the store, the executor, and objects that are built once and shared."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vpo.build import build
from vpo.executor.local import LocalExecutor
from vpo.interfaces import Executor
from vpo.rows import complete
from vpo.store import Entry, Store, canonical

T = TypeVar("T")
R = TypeVar("R")
Node = Mapping[str, Any]


class StopHere(Exception):  # noqa: N818 (no error: the user asked for it)
    """Raised after the stage that `stop_after` names."""


@dataclasses.dataclass
class Bench:
    """The place where stages are done.

    Attributes:
        store: where results live.
        executor: where item-by-item work runs.
        chunk: items per call of a judge, renderer, reward or sampler.
        stop_after: the stage (or stage label) after which to stop.
    """

    store: Store
    executor: Executor
    chunk: int
    stop_after: str | None = None
    _built: dict[str, Any] = dataclasses.field(default_factory=dict)

    def build(self, node: Node, **shared: Any) -> Any:
        """The object of a node; equal nodes without shared parts give one object, so an 8B judge is loaded once."""
        if shared:
            return build(node, **shared)
        name = canonical(node)
        if name not in self._built:
            self._built[name] = build(node)
        return self._built[name]

    def stage(
        self,
        name: str,
        node: Node,
        inputs: Mapping[str, Entry],
        work: Callable[[Path], Mapping[str, Any]],
        label: str = "",
        exempt: Collection[str] = (),
    ) -> Entry:
        """The stored result of a stage, made now if it is not there; `label` says in log and plan what it is of, `exempt`
        which fields of the node cannot change it, by their full dotted paths."""
        return self.store.get(name, node, inputs, work, label, exempt)

    def reached(self, label: str) -> None:
        """Stop if the user asked to stop after this part of the pipeline."""
        if label == self.stop_after:
            raise StopHere(label)

    def complete(
        self,
        items: Sequence[T],
        work: Callable[[Sequence[T]], Sequence[R]],
        path: Path,
        *,
        kind: type[R],
        label: str,
        batch_size: int | None = None,
    ) -> list[R]:
        """Item-by-item work that survives a kill; see `vpo.rows.complete`.

        A language model's work has a `batch_size` of its own, which is part of its node, because the last bits of its
        numbers depend on it. It also holds the model, so it stays in this process.
        """
        if batch_size is not None:
            return complete(items, work, path, kind=kind, chunk=batch_size, executor=LocalExecutor(), label=label)
        return complete(items, work, path, kind=kind, chunk=self.chunk, executor=self.executor, label=label)
