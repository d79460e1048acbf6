"""What every executor's workers do with a batch: retry, wait, halve, and give a `Failure` where nothing helps. Once, for all roles.

a UserError, a full disk    ends the stage: no item is at fault
out of memory               the batch is halved; an item that does not fit alone fails
any other exception         the batch is halved until the item at fault is alone; that one fails
a retryable failure         the item is tried again, after a wait that doubles, up to `attempts` times
"""

import gc
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vpo.errors import DISK_ERRORS, UserError
from vpo.interfaces import Task
from vpo.processes.hardware import release_gpu_memory
from vpo.records import Failure
from vpo.storage.disk import is_full

log = logging.getLogger(__name__)

# A network's and a server's troubles, which pass. `requests`, `httpx` and `openai` derive their own from other classes, so that
# engines say themselves what of theirs is retryable, by giving a Failure.
PASSING = (ConnectionError, TimeoutError)


@dataclass(frozen=True)
class Patience:
    """How often an item is tried, and how long is waited in between.

    Attributes:
        attempts: in all, the first one included.
        wait: seconds before the second attempt; each further wait is twice as long.
        longest: seconds that no wait exceeds.
    """

    attempts: int = 3
    wait: float = 1.0
    longest: float = 60.0

    def before(self, attempt: int) -> float:
        """Seconds to wait before an attempt; the second has number 2."""
        return min(self.longest, self.wait * 2.0 ** (attempt - 2))


@dataclass
class Worker:
    """Builds a task's role when the first batch comes, works through batches, and lets the role go."""

    task: Task
    patience: Patience = field(default_factory=Patience)
    sleep: Callable[[float], None] = time.sleep
    _role: Any = None
    _built: bool = False

    def work(self, items: Sequence[Any]) -> list[Any]:
        """One result, or `Failure`, an item.

        Raises:
            UserError: The role cannot be built or used at all.
            OSError: The disk is full.
        """
        if not self._built:
            self._role, self._built = self.task.make(), True
        last = self.patience.attempts
        results = self._tried(items, last=last == 1)
        for attempt in range(2, last + 1):
            again = [place for place, one in enumerate(results) if isinstance(one, Failure) and one.retryable]
            if not again:
                break
            self.sleep(self.patience.before(attempt))
            for place, result in zip(
                again, self._tried([items[place] for place in again], last=attempt == last), strict=True
            ):
                results[place] = replace(result, attempts=attempt) if isinstance(result, Failure) else result
        return results

    def close(self) -> None:
        """Let the role go, with the memory that it held."""
        role, self._role, self._built = self._role, None, False
        if hasattr(role, "close"):  # a role that holds much has one
            try:
                role.close()
            except Exception as error:  # its work is done: no result is given up for it
                log.warning("%s.close() failed: %s: %s", type(role).__name__, type(error).__name__, error)
            del role
            free_memory()
            # What is alive now are libraries, mostly: looked through once, and not again each time that a role ends (0.4 s).
            gc.freeze()

    def _tried(self, items: Sequence[Any], *, last: bool) -> list[Any]:
        """One attempt at each item; a batch that fails as a whole is halved until the item at fault is alone.

        Where a network or a server has failed, which passes, a batch is halved in the last attempt only.
        """
        try:
            results = list(self.task.call(self._role, items))
        except UserError:
            raise
        except Exception as error:
            if is_full(error) or (isinstance(error, OSError) and error.errno in DISK_ERRORS):
                raise
            if len(items) == 1 or (isinstance(error, PASSING) and not last):
                log.debug("items failed", exc_info=True)
                return [failure_of(error)] * len(items)
            if out_of_memory(error):
                free_memory()
            middle = len(items) // 2
            halves = items[:middle], items[middle:]  # tried below: here the traceback still holds the batch's tensors
        else:
            if len(results) != len(items):
                raise UserError(
                    f"{type(self._role).__name__}: {len(results)} results for {len(items)} items; it must give one an item, or a "
                    "Failure in its place"
                )
            return results
        return [result for half in halves for result in self._tried(half, last=last)]


def failure_of(error: BaseException) -> Failure:
    """An exception that one item alone has caused, as a record."""
    detail = " ".join(str(error).split())[:500]
    if out_of_memory(error):
        return Failure("out_of_memory", detail)
    if isinstance(error, TimeoutError):
        return Failure("timeout", detail, retryable=True)
    return Failure(type(error).__name__, detail, retryable=isinstance(error, PASSING))


def out_of_memory(error: BaseException) -> bool:
    """Whether memory, the GPU's or the machine's, was too small. Torch raises RuntimeError for some allocators."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error)


def free_memory() -> None:
    """Give back what nobody holds any more, cached GPU memory included; torch is not imported for it."""
    gc.collect()
    release_gpu_memory()
