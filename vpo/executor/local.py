"""Item-by-item work in this process."""

from collections.abc import Iterator, Sequence
from typing import Any

from vpo.executor.worker import Worker
from vpo.interfaces import Task


class LocalExecutor:
    """One batch after the other; the role is built for the first one and let go after the last."""

    def run(self, task: Task, batches: Sequence[Sequence[Any]]) -> Iterator[tuple[int, list[Any]]]:
        worker = Worker(task)
        try:
            for number, items in enumerate(batches):
                yield number, worker.work(items)
        finally:
            worker.close()
