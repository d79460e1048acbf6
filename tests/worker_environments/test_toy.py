"""The toy worker in a virtual environment of its own, from the package index: installed, checked, killed on the way, merged."""

import contextlib
import os
import random
import re
import signal
import subprocess
import threading
import time
from functools import partial
from operator import attrgetter
from pathlib import Path

import pytest

from tests.conftest import run_vpo
from tests.worker_environments.environments import TOY, lines_of, wait_until, write_jobs
from tests.worker_environments.toys import Item, ToyGenerator, draw
from vpo.executor.processes import ProcessExecutor
from vpo.interfaces import Task
from vpo.records import Clip
from vpo.storage.items import Work, complete
from vpo.video.clips import read_mp4
from vpo.workers.environment import interpreter_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of workers in which `vpo workers install toy` has been run."""
    folder = tmp_path_factory.mktemp("installed")
    done = run_vpo("workers", "install", "toy", cwd=folder, VPO_WORKERS=str(folder / "workers"))
    if "network cannot be reached" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    return folder / "workers"


def test_it_is_installed_with_its_pins(installed, tmp_path):
    check = run_vpo("workers", "check", "toy", cwd=tmp_path, VPO_WORKERS=str(installed))
    pin = (TOY.parent / "requirements.txt").read_text().strip().replace("==", " ")
    assert re.fullmatch(rf"toy: starts \(python 3\.\d+\.\d+, {re.escape(pin)}\); by hand:\n  .+\n", check.stdout), check


def test_by_hand_it_is_killed_again_and_again_and_misses_nothing(installed, tmp_path):
    ids = [f"clip{number}" for number in range(40)]
    jobs = write_jobs(
        tmp_path / "jobs.jsonl",
        [{"id": one, "seed": at, "path": str(tmp_path / f"{one}.mp4")} for at, one in enumerate(ids)],
    )
    results = tmp_path / "results.jsonl"
    command = [
        str(interpreter_of(installed / "toy")),
        str(TOY),
        str(jobs),
        str(results),
        "--settings",
        '{"seconds": 0.05}',
    ]
    draw_seconds, kills, code = random.Random(0), 0, None
    for _ in range(100):
        worker = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = worker.wait(timeout=draw_seconds.uniform(0.4, 1.2))
            break
        worker.kill()
        worker.wait()
        kills += 1
    assert (code, kills > 0) == (0, True)
    assert [line["id"] for line in lines_of(results)] == ids  # every job once
    for one in ids:
        assert read_mp4(tmp_path / f"{one}.mp4")[0].shape == (8, 64, 64, 3)


def test_as_a_role_it_is_killed_again_and_again_and_misses_nothing(installed, tmp_path, monkeypatch):
    """Two processes of ours, each with a worker; a worker is killed every half second. What was lost is done again."""
    monkeypatch.setenv("VPO_WORKERS", str(installed))
    (tmp_path / "clips").mkdir()
    items = [Item(f"clip{number}", number) for number in range(60)]
    task = Task(partial(ToyGenerator, tmp_path / "clips", 0.1), draw)
    work = Work(tmp_path / "clips.jsonl", Clip, task, attrgetter("id"), 4, "toy clips")
    over, killed = threading.Event(), []

    def kill_now_and_then() -> None:
        while not over.wait(0.5):
            known = sorted((tmp_path / "clips").glob("*.pid"), key=os.path.getmtime)
            fresh = [int(one.stem) for one in known if int(one.stem) not in killed]
            if fresh:
                killed.append(fresh[-1])
                with contextlib.suppress(ProcessLookupError):
                    os.kill(fresh[-1], signal.SIGKILL)

    thread = threading.Thread(target=kill_now_and_then)
    thread.start()
    try:
        done = complete(items, work, ProcessExecutor(2))
    finally:
        over.set()
        thread.join()
    assert killed
    assert not done.failures
    assert [one.id for one in done.records] == [one.id for one in items]
    # The same clips as without any kill: each from its own seed, whichever process drew it.
    calm = ToyGenerator(tmp_path, 0.0)
    calm.draw(items[:3])
    calm.close()
    for one in items[:3]:
        assert (tmp_path / "clips" / f"{one.id}.mp4").read_bytes() == (tmp_path / f"{one.id}.mp4").read_bytes()
    wait_until(lambda: not left_over(tmp_path / "clips"))


def left_over(folder: Path) -> list[str]:
    """Workers that still run."""
    return [one.stem for one in folder.glob("*.pid") if Path(f"/proc/{one.stem}").exists() and _runs(one.stem)]


def _runs(pid: str) -> bool:
    with contextlib.suppress(OSError):
        return str(TOY).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def test_two_installations_at_once_are_one(tmp_path, installed):
    """The second waits for the first and finds its work done."""
    root = tmp_path / "workers"
    starts = []

    def install() -> None:
        starts.append(run_vpo("workers", "install", "toy", cwd=tmp_path, VPO_WORKERS=str(root)))

    threads = [threading.Thread(target=install) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.3)
    for thread in threads:
        thread.join()
    assert [one.returncode for one in starts] == [0, 0], [one.stderr for one in starts]
    assert sum("making an environment" in one.stderr for one in starts) == 1
