"""Deleting folders of the store so that a kill on the way does no harm, and working in a folder, or on a file, alone."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Whether this process may make the file at `path` now: False while another one does.

    The system releases the claim of a process that is killed.
    """
    lock_file = path.with_suffix(".lock")
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_file, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        # The lock's file goes only where the file is there: who holds the deleted file's lock looks for the file first.
        if path.exists():
            with suppress(OSError):
                lock_file.unlink(missing_ok=True)
        lock.release()
