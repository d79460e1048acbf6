"""A worker's process as a role of ours sees it: jobs in, results or failures out; the model stays loaded between calls.

The process is started when the first job comes, and is handed one job at a time over its standard input (`contract.py`). One that
ends in the middle costs the job that it was at, which becomes a retryable `Failure`, so that the executor does it again; the
next job starts a new process. One that ends before it is ready is broken, and ends the stage.
"""

import errno
import json
import logging
import os
import queue
import re
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from vpo.errors import UserError
from vpo.records import Failure
from vpo.storage.jsonio import dumps
from vpo.storage.redact import redact_text
from vpo.workers import contract
from vpo.workers.environment import worker_command, worker_environment, workers_folder
from vpo.workers.manifest import pick_manifest, read_manifests

log = logging.getLogger(__name__)

LEAVE = 10.0  # seconds that an idle worker has to end
TAIL = 4096  # bytes of what a worker printed last, which are kept for messages
LOOK = 1.0  # seconds between two looks at whether a worker that says nothing has ended
STARTS = 2  # of a worker that a signal ended while it loaded its model


class WorkerProcess:
    """One worker, started when it is needed.

    Attributes:
        name: of the worker, `vpo/workers/<name>/`.
        settings: of the script, for all jobs.
        seconds: how long one job may take; then the process is ended and the job failed. None waits for ever.
    """

    def __init__(
        self, script: contract.Script, settings: Mapping[str, Any], *, key: str, seconds: float | None = None
    ) -> None:
        """Nothing is started yet.

        Args:
            script: the worker's, whose `defaults` say what settings there are.
            settings: what differs from these.
            key: of the config, for messages: "generator".
            seconds: see above.

        Raises:
            UserError: The settings are wrong.
        """
        check_settings(script, settings, key)
        self.name, self.settings, self.seconds = script.name, dict(settings), seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._tail = bytearray()
        self._printing: threading.Thread | None = None
        self._busy = False

    def work(self, jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | Failure]:
        """One result, or `Failure`, a job.

        Raises:
            UserError: The worker is not installed, or ends before it can do a job.
            OSError: Its disk is full.
        """
        return [self._one(job) for job in jobs]

    def close(self) -> None:
        """End the process: by the end of its input if it is idle, at once if it works. A second call does nothing."""
        process, self._process = self._process, None
        busy, self._busy = self._busy, False
        if process is None:
            return
        if busy:
            process.kill()
        try:
            _input_of(process).close()
            process.wait(timeout=LEAVE)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()

    def _one(self, job: Mapping[str, Any]) -> dict[str, Any] | Failure:
        process = self._ready()
        self._busy = True
        try:
            _input_of(process).write(_line_of(job))
            _input_of(process).flush()
            record = self._next_line(self.seconds)
        except TimeoutError:
            self.close()
            detail = f"the worker {self.name} was ended: one job took more than {self.seconds:g} s"
            return Failure("timeout", detail, retryable=True)
        except OSError:  # its input is closed: it has ended
            record = None
        self._busy = False
        if record is None:
            code = self._ended()
            if code == contract.EXIT_DISK_FULL:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if code == contract.EXIT_BAD_INPUT:
                raise UserError(f"workers: {self.name} cannot work: {self._said()}")
            return Failure("worker_died", f"the worker {self.name} {_how(code)}: {self._said()}", retryable=True)
        if record.get("id") != job["id"]:
            raise UserError(f"workers: {self.name} gave a result of job {record.get('id')!r} for job {job['id']!r}")
        if "failure" in record:
            failure = record["failure"]
            return Failure(failure["kind"], redact_text(failure["detail"]), retryable=failure["retryable"])
        result: dict[str, Any] = record["result"]
        return result

    def _ready(self) -> subprocess.Popen[bytes]:
        """The process with its model loaded, started if there is none."""
        for attempt in range(1, STARTS + 1):
            if self._process is not None and self._process.poll() is None:
                return self._process
            process = self._start()
            self._busy = True  # loading takes minutes, in which `close` does not wait
            record = self._next_line(None)
            self._busy = False
            if record is not None:
                return process
            code = self._ended()
            if code == contract.EXIT_DISK_FULL:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if code >= 0 or attempt == STARTS:
                raise UserError(
                    f"workers: {self.name} {_how(code)} while it loaded its model: {self._said()}; "
                    f"`vpo workers check {self.name}` looks at its environment"
                )
            log.warning("the worker %s %s while it loaded its model; it is started once more", self.name, _how(code))
        raise AssertionError("unreachable")

    def _start(self) -> subprocess.Popen[bytes]:
        manifest = pick_manifest(read_manifests(), self.name)
        command = worker_command(manifest, workers_folder(), self.settings)
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=worker_environment(), stdin=pipe, stdout=pipe, stderr=pipe)
        self._process, self._lines, self._tail = process, queue.SimpleQueue(), bytearray()
        threading.Thread(target=_read_lines, args=(process.stdout, self._lines), daemon=True).start()
        self._printing = threading.Thread(target=_keep_tail, args=(process.stderr, self._tail), daemon=True)
        self._printing.start()
        return process

    def _next_line(self, seconds: float | None) -> dict[str, Any] | None:
        """The next record; None where the worker has ended. Raises TimeoutError."""
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=LOOK if end is None else max(0.0, min(LOOK, end - time.monotonic())))
                break
            except queue.Empty:
                if self._process is not None and self._process.poll() is not None and self._lines.empty():
                    line = None  # it has ended, and a child that it left behind holds its output open
                    break
                if end is not None and time.monotonic() >= end:
                    raise TimeoutError from None
        try:
            record: dict[str, Any] | None = None if line is None else json.loads(line)
        except ValueError:
            record = None  # cut short: the worker was killed while it wrote
        return record

    def _ended(self) -> int:
        """The exit code of the process that has closed its output; one that lives on is killed."""
        process, self._process = self._process, None
        if process is None:
            return 0
        try:
            return process.wait(timeout=LEAVE)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _said(self) -> str:
        """The last line that the worker, which has ended, printed."""
        if self._printing is not None:
            self._printing.join(timeout=1.0)
        lines = [one.strip() for one in re.split(r"[\r\n]", bytes(self._tail).decode(errors="replace")) if one.strip()]
        return redact_text(lines[-1].removeprefix(f"{self.name}: ")[:300]) if lines else "it said nothing"


def _line_of(job: Mapping[str, Any]) -> bytes:
    """A job as the worker reads it: texts without half characters, which tokenizers refuse, but the id as it is."""
    plain = json.loads(dumps(dict(job)))
    return (json.dumps({"schema": contract.SCHEMA, **plain, "id": job["id"]}) + "\n").encode()


def check_settings(script: contract.Script, settings: Mapping[str, Any], key: str) -> None:
    """Raise UserError where a script knows no such settings, or they do not fit together; `key` is the config's."""
    try:
        contract.read_settings(script, dumps(dict(settings)))
    except contract.BadInput as error:
        raise UserError(f"{key}: {str(error).removeprefix('--settings: ')}") from error


def model_place(path: str) -> str:
    """A hub id as it is; a local folder by its whole path, because a worker may start elsewhere."""
    folder = Path(path).expanduser()
    return str(folder.absolute()) if folder.is_dir() else path


def _input_of(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None
    return process.stdin


def _read_lines(stream: IO[bytes], into: "queue.SimpleQueue[bytes | None]") -> None:
    for line in stream:
        into.put(line)
    into.put(None)


def _keep_tail(stream: IO[bytes], into: bytearray) -> None:
    while chunk := stream.read1(TAIL):  # type: ignore[attr-defined]
        into += chunk
        del into[:-TAIL]


def _how(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"
