"""A worker's process as a role sees it, in an environment of its own."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tests.worker_environments.environments import alive, fill, made_environment, script_beside_contract, wait_until
from vpo.errors import UserError
from vpo.records import Failure
from vpo.workers import client, contract
from vpo.workers.client import WorkerProcess
from vpo.workers.environment import interpreter_of
from vpo.workers.toy.script import Toy


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    made_environment(folder, "toy")
    return folder


@pytest.fixture
def toy(root, monkeypatch):
    """Starts a toy worker with these settings; it is ended with the test."""
    monkeypatch.setenv("VPO_WORKERS", str(root))
    started = []

    def start(job_seconds: float | None = None, **settings) -> WorkerProcess:
        started.append(WorkerProcess(Toy(), settings, key="generator", seconds=job_seconds))
        return started[-1]

    yield start
    for one in started:
        one.close()


def asked(*ids: str) -> list[dict]:
    return [{"id": one, "questions": [one]} for one in ids]


def test_one_process_does_the_jobs_of_many_calls(toy):
    worker = toy()
    assert worker.work(asked("a", "bb")) == [{"answers": [True]}, {"answers": [False]}]
    first = worker._process.pid
    assert worker.work([{"id": "é\u2028\ud83d", "questions": ["x"]}]) == [{"answers": [True]}]
    assert worker._process.pid == first
    worker.close()
    assert not alive(first)
    worker.close()
    assert worker.work(asked("c")) == [{"answers": [True]}]  # and may be started again


def test_a_killed_worker_costs_the_job_that_it_was_at(toy):
    worker = toy(seconds=0.4)
    killed = []

    def kill() -> None:
        wait_until(lambda: worker._process is not None and worker._busy)
        killed.append(worker._process.pid)
        os.kill(worker._process.pid, signal.SIGKILL)

    worker.work(asked("warm"))
    thread = threading.Thread(target=kill)
    thread.start()
    lost, *rest = worker.work(asked("a", "b", "c"))
    thread.join()
    assert lost == Failure("worker_died", "the worker toy was ended by signal 9: it said nothing", retryable=True)
    assert rest == [{"answers": [True]}, {"answers": [True]}]
    assert worker._process.pid not in killed


def test_a_job_that_takes_too_long_is_given_up(toy):
    worker = toy(job_seconds=0.5, seconds=30.0)
    detail = "the worker toy was ended: one job took more than 0.5 s"
    assert worker.work(asked("a")) == [Failure("timeout", detail, retryable=True)]
    assert worker._process is None


def test_failures_keep_their_kind(toy):
    assert toy().work([{"id": "a"}]) == [Failure("bad_job", "a job has a path or questions")]


def test_a_full_disk_is_an_error_of_the_stage(toy, small_disk):
    fill(small_disk)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        toy(frames=40, size=256).work([{"id": "a", "path": str(small_disk / "a.mp4")}])
    assert [one.name for one in small_disk.iterdir()] == ["filler"]


def test_wrong_settings_are_found_before_anything_starts(toy):
    with pytest.raises(UserError, match=r"^generator: there is no setting 'frame'; the settings are frames, size"):
        toy(frame=3)


def test_a_worker_that_is_not_installed_says_how_it_is(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("VPO_WORKERS", str(tmp_path))
    with pytest.raises(UserError, match=r"toy is not installed in .*`vpo workers install toy`"):
        toy().work(asked("a"))


def test_one_that_cannot_load_ends_the_stage(tmp_path, monkeypatch):
    """Its interpreter lacks a library: exit code 2 and the reason, at once and once."""
    folder = made_environment(tmp_path, "toy")
    for left in folder.rglob("tests.pth"):
        left.unlink()
    monkeypatch.setenv("VPO_WORKERS", str(tmp_path))
    with pytest.raises(
        UserError, match=r"^workers: toy ended with exit code 2 while it loaded its model: No module named 'av'"
    ):
        WorkerProcess(Toy(), {}, key="generator").work(asked("a"))


def test_variables_and_files_of_ours_do_not_come_into_its_environment(toy, tmp_path, monkeypatch):
    (tmp_path / "random.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("RANK", "3")
    worker = toy()
    assert worker.work(asked("a")) == [{"answers": [True]}]
    environment = Path(f"/proc/{worker._process.pid}/environ").read_bytes().split(b"\0")
    assert not [one for one in environment if one.startswith((b"PYTHON", b"RANK="))]


def test_it_ends_with_the_process_that_started_it(root):
    """Killed with SIGKILL while its worker has minutes of work before it: nobody else would end the worker."""
    program = """
        import threading, time
        from vpo.workers.client import WorkerProcess
        from vpo.workers.toy.script import Toy
        worker = WorkerProcess(Toy(), {"seconds": 600.0}, key="generator")
        threading.Thread(target=worker.work, args=([{"id": "a", "questions": []}],), daemon=True).start()
        while worker._process is None or not worker._busy:
            time.sleep(0.05)
        print(worker._process.pid, flush=True)
        time.sleep(600)
    """
    environment = {**os.environ, "VPO_WORKERS": str(root)}
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment, stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    parent.wait()
    wait_until(lambda: not alive(pid))


def test_a_child_that_a_killed_worker_leaves_behind_hides_nothing(toy, tmp_path, monkeypatch):
    """A forked process, such as a data loader's, has its parent's output open: there is no end of file."""
    body = """
def work(self, job):
    if job["id"] == "kill":
        child = os.fork()
        if not child:
            time.sleep(20)
            os._exit(0)
        os.kill(os.getpid(), 9)
    return {}
"""
    script = script_beside_contract(tmp_path / "own", body, name="toy")
    monkeypatch.setattr(client, "worker_command", lambda *unused: [sys.executable, "-I", str(script), "-", "-"])
    begin = time.monotonic()
    killed, fine = toy().work([{"id": "kill"}, {"id": "fine"}])
    assert (killed.kind, fine) == ("worker_died", {})
    assert time.monotonic() - begin < 15


def test_its_last_words_hold_no_secret(toy, root, monkeypatch):
    worker = toy()
    worker._tail += b"x\rprogress 10%\r\nhf_abcdefghijklmnopqrstuvwxyz said no\n"
    assert worker._said() == "*** said no"
    assert interpreter_of(root / "toy").exists()


def test_the_client_and_the_contract_speak_of_the_same_schema(toy):
    worker = toy()
    assert worker.work([{"id": "a", "questions": []}]) == [{"answers": []}]
    with pytest.raises(UserError, match="its schema is 2, this worker reads 1"):
        worker.work([{"id": "b", "questions": [], "schema": contract.SCHEMA + 1}])
