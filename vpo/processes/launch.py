"""Starts training workers and waits for them."""

import errno
import logging
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml

from vpo.errors import Terminated, UserError
from vpo.processes.environment import python_command, training_environment
from vpo.processes.hardware import release_gpu_memory
from vpo.processes.signals import EXIT_SAVED, SignalRelay, signals_blocked
from vpo.storage.redact import redact

WORKER = "vpo.training.worker"
DISK_FULL = 28  # exit code of a worker: there may be no room even for an error message
TRACEBACK = "traceback.txt"  # next to the stage file: the traceback of an error that is reported in one line
GRACE = 10.0  # seconds that ranks have to end when one has failed; they save together or not at all

log = logging.getLogger(__name__)


def train_in_child(job: dict[str, Any], folder: Path, worker: str = WORKER) -> None:
    """Run a worker module on a job, one process a device, and wait.

    The pipeline never trains in its own process: a data-parallel strategy would run our command line again and wait for
    the lock we hold, and a GPU's memory is released only at the end of a process. Signals are passed on to the worker; one that
    requests its end also ends the run, once the worker has saved.

    Raises:
        UserError: with the worker's own message.
        Terminated: SIGTERM came; KeyboardInterrupt for SIGINT. Both messages state whether the training was saved.
        OSError: the disk is full.
        RuntimeError: it ended because of another error; its traceback is on stderr.
    """
    release_gpu_memory()
    spec = folder / "stage.yaml"
    stage = yaml.safe_dump(redact(job, environment=False), sort_keys=False, allow_unicode=True)
    spec.write_text(stage, encoding="utf-8")
    error_file = folder / "error.txt"
    error_file.unlink(missing_ok=True)
    (folder / TRACEBACK).unlink(missing_ok=True)
    world = job["trainer"]["devices"]
    port = _free_port()
    with SignalRelay() as relay:
        codes = _wait([_start(spec, rank, world, port, worker) for rank in range(world)], relay)
    if DISK_FULL in codes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if error_file.exists():
        raise UserError(error_file.read_text(encoding="utf-8"))
    _end_if_requested(relay.ended_by, codes)
    if any(codes):
        raise RuntimeError(f"training ended with exit codes {codes}; its last lines are above, its job is {spec}")


def _end_if_requested(ended_by: int | None, codes: list[int]) -> None:
    """Raise what ends the run, where this process or its ranks alone (`kill` of a rank) got a signal to end."""
    if ended_by is None and any(codes) and set(codes) <= {0, EXIT_SAVED, -signal.SIGTERM}:
        ended_by = signal.SIGTERM
    if ended_by is None:
        return
    if set(codes) <= {0, EXIT_SAVED}:
        outcome = "the training saved its checkpoint" if any(codes) else "the training was finished"
    else:
        outcome = "the training saved nothing more, what it saved before is kept"
    raise KeyboardInterrupt(outcome) if ended_by == signal.SIGINT else Terminated(outcome)


def _start(spec: Path, rank: int, world: int, port: int, worker: str = WORKER) -> subprocess.Popen[bytes]:
    """Start one rank, with the environment variables of torchrun. Its standard input stays open until this process ends."""
    environment = training_environment(rank, world, port, spec.parent.name)
    command = python_command(worker, str(spec))
    with signals_blocked():
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)


def _wait(ranks: list[subprocess.Popen[bytes]], relay: SignalRelay | None = None) -> list[int]:
    """Exit codes; when one rank fails the others, which would wait for it for ever, are ended.

    Ranks that were requested to end have as long as they need while none fails: a checkpoint of a large model takes minutes.
    No rank runs on after this call: the caller releases its lock on the folder, and a rank that still wrote would write into
    the next start's work.
    """
    try:
        while any(rank.poll() is None for rank in ranks):
            if any(rank.poll() not in (None, 0, EXIT_SAVED) for rank in ranks):
                break
            if relay is not None:
                relay.pass_on(ranks)
            time.sleep(0.1)
        return [rank.wait(timeout=10) if rank.poll() is not None else -15 for rank in ranks]
    finally:
        _end(ranks)


def _end(ranks: list[subprocess.Popen[bytes]]) -> None:
    """End ranks: by SIGTERM first, at which they save a checkpoint, then by SIGKILL."""
    for rank in ranks:
        rank.terminate()
    for rank in ranks:
        try:
            rank.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:  # it waits in a collective for a rank that has ended
            rank.kill()
            rank.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
