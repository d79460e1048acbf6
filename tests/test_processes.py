"""Work in several processes."""

import os
import signal
import subprocess
import sys
import time

from tests.conftest import ROOT
from vpo.executor.processes import ProcessExecutor

SLEEPY = """
import os, sys, time
from vpo.executor.processes import ProcessExecutor

def work(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    list(ProcessExecutor(1).map(work, [sys.argv[1]]))
"""


def square(number: int) -> int:
    return number * number


def test_results_come_in_the_order_of_the_items():
    assert list(ProcessExecutor(2).map(square, range(7))) == [0, 1, 4, 9, 16, 25, 36]
    assert list(ProcessExecutor(2).map(square, [])) == []


def test_workers_leave_when_their_parent_is_killed(tmp_path):
    script, told = tmp_path / "sleepy.py", tmp_path / "pid"
    script.write_text(SLEEPY)
    parent = subprocess.Popen([sys.executable, str(script), str(told)], env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait_for(lambda: told.exists() and told.read_text())
    worker = int(told.read_text())
    os.kill(worker, 0)  # it is there
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: gone(worker))


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{process}/stat") as file:  # a zombie that nobody has reaped has left
        return file.read().rpartition(")")[2].split()[0] == "Z"


def wait_for(happened, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)
