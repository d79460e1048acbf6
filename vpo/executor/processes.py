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
from typing import Any, Literal

from vpo.errors import UserError
from vpo.executor.lanes import Busy, WorkerDied, run_lanes
from vpo.executor.worker import Worker
from vpo.interfaces import Task
from vpo.processes.hardware import visible_devices
from vpo.processes.signals import ignore_save

LEAVE = 5.0  # seconds that an idle worker has to let its role go


class ProcessExecutor:
    """`workers` processes, or one for each of `gpus`; each has a role of its own.

    Processes are spawned, not forked: a fork of a process that has used torch's threads may hang. The task and the items must
    be picklable. Worth it where a batch takes longer than starting Python, or where a role's memory (a GPU's, above all) is to
    be given back when its stage ends.

    Args:
        workers: how many processes where no GPU is shared out.
        gpus: numbers of GPUs, as torch counts those that it sees here, or "all" of these: a process for each, which sees that one
            only (as its device 0). With "all" on a machine without a GPU, and with None, there are `workers` processes, which all
            see what this one does.
    """

    def __init__(self, workers: int, gpus: Literal["all"] | list[int] | None = None) -> None:
        self.workers, self.gpus, self.busy = workers, gpus, Busy()
        if not (gpus is None or gpus == "all" or _are_numbers(gpus)):
            raise UserError(
                f"executor.gpus={gpus} must be all, or numbers of GPUs, each once, as in executor.gpus=[0,1]"
            )

    def run(self, task: Task, batches: Sequence[Sequence[Any]]) -> Iterator[tuple[int, list[Any]]]:
        if not batches:
            return iter(())  # before GPUs are looked for, which imports torch
        devices = self._devices()
        self.workers, unused = len(devices) or self.workers, iter(devices)
        return run_lanes(
            lambda one: ProcessLane(one, device=next(unused, None)), self.workers, task, batches, self.busy
        )

    def _devices(self) -> list[str]:
        """The names of the GPUs that processes get, as CUDA_VISIBLE_DEVICES takes them; empty where none are shared out."""
        if self.gpus is None:
            return []
        visible = visible_devices()
        if self.gpus == "all":
            return visible
        unknown = [number for number in self.gpus if number >= len(visible)]
        if unknown:
            seen = (
                f"{len(visible)} GPU{'s' * (len(visible) != 1)} can be seen here"
                if visible
                else "no GPU can be seen here"
            )
            raise UserError(
                f"executor.gpus={self.gpus}: {seen}, counted from 0; give fewer, or executor.gpus=all, or null without GPUs"
            )
        return [visible[number] for number in self.gpus]


def _are_numbers(gpus: Any) -> bool:
    """Whether it is a list of numbers of GPUs, each once."""
    whole = isinstance(gpus, list) and all(type(one) is int and one >= 0 for one in gpus)
    return whole and 0 < len(gpus) == len(set(gpus))


class ProcessLane:
    """One spawned process that is asked through a pipe; after its death it is started again when there is more to do.

    With `device` the process sees this GPU only.
    """

    def __init__(self, task: Task, device: str | None = None) -> None:
        self.task, self.device = task, device
        self._process: Any = None
        self._pipe: Any = None
        self._busy = self._closed = False

    def ready(self) -> bool:
        return True

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
        # As bytes: the task is read, and what it imports is imported, when the process has its device.
        task = pickle.dumps(self.task)
        self._process = context.Process(target=serve, args=(task, theirs, os.getpid(), self.device))
        self._process.start()
        theirs.close()
        if self._closed:  # meanwhile, by another thread
            self._process.kill()


def serve(task: bytes, pipe: Connection, parent: int, device: str | None) -> None:
    """The worker process: batches in, results (or the exception that ends the stage) out, until None comes."""
    _leave_with_parent(parent)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    worker = Worker(pickle.loads(task))
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
