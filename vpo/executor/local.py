"""Item-by-item work in this process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from vpo.executor.worker import Worker
from vpo.interfaces import Task


class LocalExecutor:
    """One batch after the other; the role is built for the first one and let go after the last, or when `kept` ends."""

    def __init__(self) -> None:
        self._kept: list[Worker] | None = None

    def run(self, task: Task, batches: Sequence[Sequence[Any]]) -> Iterator[tuple[int, list[Any]]]:
        worker = self._worker(task)
        try:
            for number, items in enumerate(batches):
                yield number, worker.work(items)
        finally:
            if self._kept is None:
                worker.close()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Within it, a role that has been built stays, and does all work that is to be done by an equal one."""
        self._kept = []
        try:
            yield
        finally:
            kept, self._kept = self._kept, None
            for worker in kept:
                worker.close()

    def _worker(self, task: Task) -> Worker:
        """A worker for a task: among those that are kept the one whose role is built in the same way."""
        if self._kept is None:
            return Worker(task)
        for worker in self._kept:
            if worker.task.make == task.make:
                worker.task = task
                return worker
        self._kept.append(Worker(task))
        return self._kept[-1]
