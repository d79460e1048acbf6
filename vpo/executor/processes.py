"""Item-by-item work in several processes of this machine."""

import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from vpo.executor.lanes import WorkerDied, run_lanes
from vpo.executor.worker import Worker
from vpo.interfaces import Task
from vpo.processes.signals import ignore_save

LEAVE = 5.0  # seconds that an idle worker has to let its role go


class ProcessExecutor:
    """`workers` processes, each with a role of its own.

    Processes are spawned, not forked: a fork of a process that has used torch's threads may hang. The task and the items must
    be picklable. Worth it where a batch takes longer than starting Python, or where a role's memory (a GPU's, above all) is to
    be given back when its stage ends.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, task: Task, batches: Sequence[Sequence[Any]]) -> Iterator[tuple[int, list[Any]]]:
        return run_lanes(ProcessLane, self.workers, task, batches)


class ProcessLane:
    """One spawned process that is asked through a pipe; after its death it is started again when there is more to do."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._process: Any = None
        self._pipe: Any = None
        self._busy = self._closed = False

    def work(self, items: Sequence[Any]) -> list[Any]:
        self._busy = True
        try:
            if self._process is None:
                self._start()
            self._pipe.send(items)
            answer: list[Any] | BaseException = self._pipe.recv()
        except (EOFError, OSError) as error:  # the other end is closed: the process is gone
            process, self._process = self._process, None
            process.join(timeout=LEAVE)
            raise WorkerDied(f"a worker process ended with exit code {process.exitcode}") from error
        finally:
            self._busy = False
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        self._closed = True
        process, pipe = self._process, self._pipe
        if process is None:
            return
        if not self._busy:
            try:
                pipe.send(None)
                process.join(timeout=LEAVE)
            except OSError:
                pass  # it has left already
        if process.is_alive():
            process.kill()
        process.join(timeout=LEAVE)

    def _start(self) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(self.task, theirs, os.getpid()))
        self._process.start()
        theirs.close()
        if self._closed:  # meanwhile, by another thread
            self._process.kill()


def serve(task: Task, pipe: Connection, parent: int) -> None:
    """The worker process: batches in, results (or the exception that ends the stage) out, until None comes."""
    _leave_with_parent(parent)
    worker = Worker(task)
    try:
        while (items := pipe.recv()) is not None:
            try:
                answer: Any = worker.work(items)
            except Exception as error:
                answer = portable(error)
            pipe.send(answer)
    except (EOFError, OSError):
        return  # nobody asks any more
    finally:
        worker.close()


def portable(error: Exception) -> Exception:
    """The exception, or, where it cannot be pickled and read again, one that says the same and shows its traceback."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def _leave_with_parent(parent: int) -> None:
    """End this worker when the process that started it is gone: after a SIGKILL nobody else would end it.

    SIGUSR1, which Slurm sends to all processes of a job, asks trainings to save and ends nobody.
    """
    ignore_save()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent ends its workers

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
