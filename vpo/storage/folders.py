"""Deleting folders of the store so that a kill on the way does no harm, and working in a folder alone."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


def discard(folder: Path) -> None:
    """Delete a result's folder: rename it first, so that a kill leaves no manifest over half of a payload."""
    trash = folder.with_name(folder.name.split(".")[0] + ".trash")
    if folder != trash:
        if trash.exists():
            shutil.rmtree(trash)
        folder.rename(trash)
    shutil.rmtree(trash)


@contextmanager
def alone(lock_file: Path, waits: Callable[[], None]) -> Iterator[None]:
    """Hold a lock while the block runs; `waits` is called where another process holds it, before this one waits for it."""
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        waits()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
