"""The contract of a worker: a script that runs in an environment of its own, does jobs, and knows nothing of vpo.

    python script.py jobs.jsonl results.jsonl [--settings settings.json]
    python script.py - -                              jobs on standard input, results on standard output
    python script.py --check                          what the environment holds, as JSON; nothing is loaded

`jobs.jsonl` has one JSON object a line, each with an "id" (a text, unique) and what the script's docstring names. `results.jsonl`
gets one line a job, as each is finished:

    {"schema": 1, "id": "a", "job": "<hash>", "seconds": 1.5, "result": {...}}
    {"schema": 1, "id": "b", "job": "<hash>", "seconds": 0.1, "failure": {"kind": "...", "detail": "...", "retryable": false}}

`job` is the hash of the job and the settings. The same command, started again after a kill at any moment, does the jobs that have no
line yet, those whose line is of another job or other settings, and those with a retryable failure; a line that was cut short is cut
off. The second of two workers on one results file is refused. A large `jobs.jsonl` is divided by `split -l`, each part with
results of its own, under any scheduler; the results are joined by `cat`.

Settings hold for all jobs: a JSON object, or the path of a file with one. Progress and all that libraries print goes to standard
error. Exit codes: 0 all jobs have a line (failures included), 2 bad input, 28 the disk is full, 128 + a signal's number.

In the form `- -` a line of results is preceded by {"schema": 1, "ready": true} once the model is loaded; results are written as
above, one after each job; the worker ends when its input does, or (VPO_PARENT) with the process that started it.

Standard library only, and Python 3.8: this file is read by old environments, where it lies beside the script or one folder above.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import Any, BinaryIO, Dict, Iterator, Mapping

SCHEMA = 1
EXIT_BAD_INPUT = 2
EXIT_DISK_FULL = 28
DISK_FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)
PARENT = "VPO_PARENT"  # a process id: the worker ends with this process
STREAM = "-"

Job = Dict[str, Any]


class BadInput(Exception):  # noqa: N818
    """What ends the worker with one line: a wrong settings or jobs file, a library that is not there."""


class JobError(Exception):
    """A job that cannot be done, for a reason that the script names.

    Args:
        kind: a short name for counting, such as "unreadable".
        detail: one line for people.
        retryable: whether the same job may succeed at another time.
    """

    def __init__(self, kind: str, detail: str, retryable: bool = False) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.retryable = kind, detail, retryable


class Script:
    """What a worker's script defines.

    Attributes:
        name: of the worker.
        defaults: every setting and its value; a job cannot change them.
        fields: keys that every job has besides "id", each a text, except those in `other_fields`.
        other_fields: keys that a job has whose values are no texts.
    """

    name = ""
    defaults: Mapping[str, Any] = {}
    fields: tuple[str, ...] = ()
    other_fields: tuple[str, ...] = ()

    def check(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Import what the script needs and say what was found: versions, the device. Raises ImportError or BadInput."""
        return {}

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Raise BadInput where values do not fit together."""

    def load(self, settings: Mapping[str, Any]) -> None:
        """Load the model, once, before the first job."""

    def work(self, job: Job) -> dict[str, Any]:
        """Do one job. Returns its result, which is JSON; raises JobError, or anything else, where it cannot be done."""
        raise NotImplementedError

    def is_there(self, job: Job, result: Mapping[str, Any]) -> bool:
        """Whether the files that a stored result speaks of are still there."""
        return True


def main(script: Script, arguments: list[str] | None = None) -> int:
    """Run a script's command line. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=script.name, description=(script.__doc__ or "").partition("\n")[0], epilog="see contract.py"
    )
    parser.add_argument("jobs", nargs="?", help="jobs.jsonl, or - for standard input")
    parser.add_argument("results", nargs="?", help="results.jsonl, or - for standard output")
    parser.add_argument("--settings", default="{}", help="a JSON object, or a file with one")
    parser.add_argument("--check", action="store_true", help="say what the environment holds, and do nothing")
    options = parser.parse_args(arguments)
    try:
        settings = read_settings(script, options.settings)
        if options.check:
            print(json.dumps({"schema": SCHEMA, "python": sys.version.split()[0], **script.check(settings)}))
            return 0
        if not options.jobs or not options.results or (options.jobs == STREAM) != (options.results == STREAM):
            raise BadInput("name jobs.jsonl and results.jsonl, or - and -")
        if options.jobs == STREAM:
            return _serve(script, settings)
        return _work_through(script, settings, options.jobs, options.results)
    except (BadInput, ImportError) as error:
        return _complain(script, one_line(error), EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        return _complain(script, "stopped; the same command goes on from here", 128 + signal.SIGINT)
    except OSError as error:
        if error.errno in DISK_FULL:
            return _complain(
                script, "no space left on device; make room, then start the same command again", EXIT_DISK_FULL
            )
        raise


def read_settings(script: Script, text: str) -> dict[str, Any]:
    """The script's settings: its defaults, and what a JSON object, or a file with one, changes in them."""
    where = "--settings"
    if not text.lstrip().startswith("{"):
        where, path = text, text
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except OSError as error:
            raise BadInput(f"--settings {path}: {error.strerror}") from error
    try:
        given = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{where} is not JSON ({error})") from error
    unknown = sorted(set(given) - set(script.defaults))
    if unknown:
        known = ", ".join(script.defaults)
        raise BadInput(f"{where}: there is no setting {unknown[0]!r}; the settings are {known}")
    for name, value in given.items():
        default = script.defaults[name]
        if default is not None and not _same_kind(value, default):
            kind = type(default).__name__
            raise BadInput(f"{where}: {name}={value!r} must be of the kind {kind}, as in {default!r}")
    settings = {**script.defaults, **given}
    script.check_settings(settings)
    return settings


def read_jobs(path: str, script: Script) -> list[Job]:
    """The jobs of a file, in order. Raises BadInput naming the line of one that is none."""
    jobs, seen = [], set()
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    job = read_job(line, script, f"{path}: line {number}")
                    if job["id"] in seen:
                        raise BadInput("{}: line {}: the id {!r} is there twice".format(path, number, job["id"]))
                    seen.add(job["id"])
                    jobs.append(job)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 ({error})") from error
    return jobs


def read_job(line: str, script: Script, where: str) -> Job:
    """The job of one line. Raises BadInput."""
    try:
        job = json.loads(line)
    except ValueError as error:
        raise BadInput(f"{where} is not JSON ({error})") from error
    if not isinstance(job, dict):
        raise BadInput(f"{where} is no JSON object")
    for field in ("id", *script.fields):
        if not isinstance(job.get(field), str):
            raise BadInput(f"{where}: a job of {script.name} needs {field!r}, a text")
    for field in script.other_fields:
        if field not in job:
            raise BadInput(f"{where}: a job of {script.name} needs {field!r}")
    if job.get("schema", SCHEMA) != SCHEMA:
        raise BadInput("{}: its schema is {!r}, this worker reads {}".format(where, job["schema"], SCHEMA))
    return job


def read_results(path: str) -> dict[str, dict[str, Any]]:
    """The whole lines of a results file by their job's id, the last one of each; none where there is no file."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return {}
    lines = {}
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].split(b"\n"), start=1):
        if line:
            try:
                record = json.loads(line.decode("utf-8"))
                lines[record["id"]] = record
            except (ValueError, KeyError, TypeError) as error:
                raise BadInput(f"{path}: line {number} is no result; move the file away") from error
    return lines


def job_hash(job: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """16 hex digits that name a job and the settings under which it is done."""
    text = json.dumps([job, settings], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def failure_of(error: BaseException) -> dict[str, Any]:
    """An exception that a job has caused, as the record of a failure."""
    if isinstance(error, JobError):
        return {"kind": error.kind, "detail": one_line(error), "retryable": error.retryable}
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or "out of memory" in str(error):
        return {"kind": "out_of_memory", "detail": one_line(error), "retryable": False}
    kind = "timeout" if isinstance(error, TimeoutError) else name
    return {"kind": kind, "detail": one_line(error), "retryable": isinstance(error, (ConnectionError, TimeoutError))}


def one_line(error: BaseException) -> str:
    """An exception's message as one line of at most 500 characters."""
    return " ".join(str(error).split())[:500] or type(error).__name__


@contextmanager
def whole_file(path: str) -> Iterator[str]:
    """A temporary name beside `path`, which becomes `path` when the block ends without an exception, and is deleted otherwise."""
    folder, name = os.path.split(path)
    part = os.path.join(folder, f".{name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)


def _work_through(script: Script, settings: dict[str, Any], jobs_path: str, results_path: str) -> int:
    """Do the jobs of a file that have no result yet."""
    _end_at_once_when_signalled(script)
    jobs = read_jobs(jobs_path, script)
    with _only_worker(results_path):
        known = _keep_what_counts(script, jobs, settings, results_path)
        missing = [job for job in jobs if job["id"] not in known]
        _say(script, f"{len(jobs)} jobs, {len(jobs) - len(missing)} have a result")
        if not missing:
            return 0
        script.load(settings)
        failed, began = 0, time.monotonic()
        with open(results_path, "ab", buffering=0) as results:
            for number, job in enumerate(missing, start=1):
                record = _outcome(script, job, settings)
                _write(results, record)
                failed += "failure" in record
                each = (time.monotonic() - began) / number
                _say(script, f"{number} of {len(missing)} done, {failed} failed, {each:.1f} s a job")
    return 0


def _keep_what_counts(script: Script, jobs: list[Job], settings: dict[str, Any], path: str) -> set[str]:
    """Rewrite the results file without the lines that do not count (see the module's text). Returns the ids of finished jobs."""
    lines = read_results(path)
    if not lines and not os.path.exists(path):
        return set()
    kept = dict(lines)
    for job in jobs:
        line = lines.get(job["id"])
        if line is not None:
            failure, same = line.get("failure"), line.get("job") == job_hash(job, settings)
            if not same or (failure["retryable"] if failure else not script.is_there(job, line["result"])):
                del kept[job["id"]]
    with whole_file(path) as part, open(part, "wb") as file:
        for line in kept.values():
            _write(file, line)
    return {job["id"] for job in jobs if job["id"] in kept}


def _serve(script: Script, settings: dict[str, Any]) -> int:
    """Do jobs as they come on standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; who started this worker ends it
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    _end_with_parent()
    jobs, results = _own_streams()
    script.load(settings)
    _write(results, {"schema": SCHEMA, "ready": True})
    for number, line in enumerate(iter(jobs.readline, b""), start=1):
        job = read_job(line.decode("utf-8"), script, f"standard input: line {number}")
        _write(results, _outcome(script, job, settings))
    return 0


def _outcome(script: Script, job: Job, settings: dict[str, Any]) -> dict[str, Any]:
    """Do one job. Returns its line; a full disk, bad input and a missing library are raised, because no job is at fault."""
    began = time.monotonic()
    record: dict[str, Any] = {"schema": SCHEMA, "id": job["id"], "job": job_hash(job, settings)}
    try:
        outcome = {"result": script.work(job)}
        json.dumps(outcome, allow_nan=False)  # NaN is no JSON, and no result
    except (BadInput, ImportError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        outcome = {"failure": failure_of(error)}
        if outcome["failure"]["kind"] == "out_of_memory":
            _free_gpu_memory()
    record["seconds"] = round(time.monotonic() - began, 3)
    record.update(outcome)
    return record


def _free_gpu_memory() -> None:
    """Give back what the failed job has left reserved."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _write(file: BinaryIO, record: Mapping[str, Any]) -> None:
    """One line by one write, so that a kill leaves at most one line cut short."""
    file.write((json.dumps(record) + "\n").encode("utf-8"))
    file.flush()


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output for jobs and results alone: what libraries read is empty, what they print goes to standard error."""
    sys.stdout.flush()
    jobs, results = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", 0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return jobs, results


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: after a SIGKILL nobody else would end it, and it holds a GPU."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(0.5)
        os._exit(1)

    if os.name != "nt":  # which has no other parent for orphans; there the end of the input ends the worker
        threading.Thread(target=watch, daemon=True).start()


def _end_at_once_when_signalled(script: Script) -> None:
    """SIGTERM ends at once, because every finished job is written; SIGUSR1, which Slurm sends before a time limit, does nothing."""

    def end(number: int, frame: Any) -> None:
        os._exit(_complain(script, "ended by SIGTERM; the same command goes on from here", 128 + number))

    signal.signal(signal.SIGTERM, end)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


@contextmanager
def _only_worker(results_path: str) -> Iterator[None]:
    """Hold the lock of a results file; a kill gives it back. A file system that knows no locks is left without."""
    try:
        file = open(results_path + ".lock", "a", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise BadInput(f"{results_path}: {error.strerror}") from error
    try:
        try:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN):
                raise BadInput(f"another worker writes {results_path}; wait for it, or name another file") from error
        yield
    finally:
        file.close()


def _same_kind(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    return isinstance(value, type(default))


def _say(script: Script, line: str) -> None:
    sys.stderr.write(f"{script.name}: {line}\n")
    sys.stderr.flush()


def _complain(script: Script, line: str, code: int) -> int:
    _say(script, line)
    return code
