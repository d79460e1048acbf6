"""Item-by-item work in several processes of this machine."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from vpo.signals import ignore_save

T = TypeVar("T")
U = TypeVar("U")


class ProcessExecutor:
    """A pool of `workers` processes; results come in the order of the items.

    Processes are spawned, not forked: a fork of a process that has used torch's threads may hang. `work` and the items
    must be picklable. Worth it where one chunk takes longer than starting Python.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map(self, work: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        todo = list(items)
        if not todo:
            return
        with ProcessPoolExecutor(
            min(self.workers, len(todo)), get_context("spawn"), initializer=_leave_with_parent, initargs=(os.getpid(),)
        ) as pool:
            yield from pool.map(work, todo)


def _leave_with_parent(parent: int) -> None:
    """End this worker when the process that started it is gone: after a SIGKILL nobody else would end it."""
    ignore_save()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
