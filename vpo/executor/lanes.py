"""Several workers that may die: who works on which batch, and what becomes of a batch whose worker is gone.

An executor for other processes or machines is a lane: how one worker is started, asked and ended. What is common to all of
them is here: a thread for each lane takes the next batch, asks its worker and waits. A batch whose worker died is done again by
the next free worker, and a batch that has killed several is halved until the item at fault is alone, which fails. Every batch is
given once, whatever happens.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from vpo.interfaces import Task
from vpo.records import Failure

DEATHS = 2  # workers that a batch may take with it before it is halved
FINISH = 30.0  # seconds that the others have to end what they are at when one has raised
POLL = 0.2  # seconds between two looks at whether the work was given up


class WorkerDied(Exception):  # noqa: N818 (a fact, not a mistake)
    """A worker ended while it worked on a batch: killed, out of memory, its machine gone."""


class Lane(Protocol):
    """One worker elsewhere."""

    def ready(self) -> bool:
        """Whether there is a worker, or one can be started at once. Asked before a batch is taken, again and again; may take a moment.

        A batch must not be held by a lane that waits for a place in a cluster: others could do it.
        """
        ...

    def work(self, items: Sequence[Any]) -> list[Any]:
        """One result, or `Failure`, an item. Starts the worker if there is none. Raises WorkerDied, or what the worker raised."""
        ...

    def close(self) -> None:
        """Let the worker's role go and end the worker, also in the middle of its work."""
        ...


@dataclass
class Part:
    """Some items of a batch, of which workers have died so far."""

    batch: int
    start: int
    items: Sequence[Any]
    deaths: int = 0

    def halves(self) -> list["Part"]:
        middle = len(self.items) // 2
        return [
            Part(self.batch, self.start, self.items[:middle]),
            Part(self.batch, self.start + middle, self.items[middle:]),
        ]


class Busy:
    """Seconds that workers were at work, all together: what they had of the time is their idle share."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count the time within."""
        start = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self.seconds += time.monotonic() - start


def run_lanes(
    open_lane: Callable[[Task], Lane],
    workers: int,
    task: Task,
    batches: Sequence[Sequence[Any]],
    busy: Busy | None = None,
) -> Iterator[tuple[int, list[Any]]]:
    """Work through batches with several workers; see `vpo.interfaces.Executor.run`. Their time at work is added to `busy`.

    Raises what a worker raised (a UserError, a full disk), after all workers have ended. The others may end what they are at: a
    server's answer that is under way is paid for.
    """
    todo: queue.SimpleQueue[Part] = queue.SimpleQueue()
    for number, items in enumerate(batches):
        todo.put(Part(number, 0, items))
    done: queue.SimpleQueue[tuple[Part, list[Any]] | BaseException] = queue.SimpleQueue()
    stop = threading.Event()
    lanes = [open_lane(task) for _ in range(min(workers, len(batches)))]
    threads = [
        threading.Thread(target=_serve, args=(lane, todo, done, stop, busy or Busy()), daemon=True) for lane in lanes
    ]
    for thread in threads:
        thread.start()
    results: list[list[Any]] = [[None] * len(items) for items in batches]
    missing = [len(items) for items in batches]
    left = len(batches)
    raised: BaseException | None = None
    try:
        while left:
            found = done.get() if raised is None else _last(done, threads)
            if found is None:
                break
            if isinstance(found, BaseException):
                raised = raised or found
                stop.set()
                continue
            part, outcome = found
            results[part.batch][part.start : part.start + len(outcome)] = outcome
            missing[part.batch] -= len(outcome)
            if not missing[part.batch]:
                left -= 1
                yield part.batch, results[part.batch]
        if raised is not None:
            raise raised
    finally:
        stop.set()
        for lane in lanes:
            lane.close()
        for thread in threads:
            thread.join(timeout=10)


def _last(done: "queue.SimpleQueue[Any]", threads: Sequence[threading.Thread]) -> Any:
    """What a worker still gives after the work was given up; None once all have ended, or have taken too long."""
    end = time.monotonic() + FINISH
    while time.monotonic() < end:
        working = any(thread.is_alive() for thread in threads)
        try:
            return done.get(timeout=POLL if working else 0)
        except queue.Empty:
            if not working:
                return None
    return None


def _serve(
    lane: Lane, todo: "queue.SimpleQueue[Part]", done: "queue.SimpleQueue[Any]", stop: threading.Event, busy: Busy
) -> None:
    """Take parts and give their results until the work is given up; what a dead worker leaves goes back to the others."""
    while not stop.is_set():
        try:
            if not lane.ready():
                continue
        except BaseException as error:
            done.put(error)
            return
        try:
            part = todo.get(timeout=POLL)
        except queue.Empty:
            continue
        try:
            with busy.at_work():
                results = lane.work(part.items)
            done.put((part, results))
        except WorkerDied as death:
            if stop.is_set():
                return
            part.deaths += 1
            if part.deaths < DEATHS:
                todo.put(part)
            elif len(part.items) > 1:
                for half in part.halves():
                    todo.put(half)
            else:
                done.put((part, [Failure("worker_died", str(death), attempts=part.deaths, retryable=True)]))
        except BaseException as error:
            done.put(error)
            return
