"""Workers, here and in other processes: roles are built once and let go, batches survive their workers."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.conftest import ROOT
from tests.workers import items, small_memory, task, times, work
from vpo.errors import UserError
from vpo.executor.lanes import run_lanes
from vpo.executor.local import LocalExecutor
from vpo.executor.processes import ProcessExecutor
from vpo.executor.worker import Patience, Worker
from vpo.interfaces import Task
from vpo.records import Failure


def batches(todo, size=2):
    return [todo[start : start + size] for start in range(0, len(todo), size)]


def outcomes(executor, tmp_path, todo, call=work, size=2):
    """The results in the order of the items; each batch must come exactly once."""
    found = list(executor.run(task(tmp_path, call), batches(todo, size)))
    assert sorted(number for number, _ in found) == list(range(len(batches(todo, size))))
    return [one for _, results in sorted(found) for one in results]


def doubled(*numbers):
    return [{"id": str(number), "value": 2 * number} for number in numbers]


def ray_executor():
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from vpo.executor.ray import RayExecutor

    return RayExecutor(workers=2, address=None, cpus=1, gpus=0)


EXECUTORS = [
    LocalExecutor,
    lambda: ProcessExecutor(workers=2),
    pytest.param(ray_executor, marks=pytest.mark.slow),
]
ELSEWHERE = EXECUTORS[1:]
NAMES = ["local", "processes", "ray"]


@pytest.mark.parametrize("make", EXECUTORS, ids=NAMES)
def test_all_executors_give_the_same_results(make, tmp_path):
    todo = items(7, _1="refuse", _4="raise", _5="busy once")
    failures = {1: Failure("refused", "no"), 4: Failure("KeyError", "'no such word'")}
    assert outcomes(make(), tmp_path, todo) == [failures.get(number) or doubled(number)[0] for number in range(7)]


@pytest.mark.parametrize("make", EXECUTORS, ids=NAMES)
def test_a_role_is_built_once_in_a_worker_and_let_go(make, tmp_path):
    executor = make()
    outcomes(executor, tmp_path, items(9, _0="slow", _2="slow", _4="slow"))
    built = (tmp_path / "built").read_text().splitlines()
    assert 1 <= len(built) == len(set(built)) <= getattr(executor, "workers", 1)
    assert sorted((tmp_path / "closed").read_text().splitlines()) == sorted(built)


def test_roles_are_kept_for_equal_work_until_the_end(tmp_path):
    """Two tasks with the same way to build their role share it, a third has one of its own."""
    (tmp_path / "other").mkdir()
    executor = LocalExecutor()
    with executor.kept():
        for folder in (tmp_path, tmp_path / "other", tmp_path):
            assert outcomes(executor, folder, items(3)) == doubled(0, 1, 2)
        assert (times(tmp_path, "built"), times(tmp_path / "other", "built")) == (1, 1)
        assert times(tmp_path, "closed") == 0
    assert (times(tmp_path, "closed"), times(tmp_path / "other", "closed")) == (1, 1)
    outcomes(executor, tmp_path, items(3))
    assert (times(tmp_path, "built"), times(tmp_path, "closed")) == (2, 2)


@pytest.mark.parametrize("make", EXECUTORS, ids=NAMES)
def test_nothing_to_do_builds_nothing(make, tmp_path):
    assert outcomes(make(), tmp_path, []) == []
    assert not (tmp_path / "built").exists()


@pytest.mark.parametrize("make", EXECUTORS, ids=NAMES)
def test_a_wrong_config_ends_the_work_with_its_line(make, tmp_path):
    with pytest.raises(UserError, match="role: no such model; give another"):
        outcomes(make(), tmp_path, items(4, _2="wrong config"))


@pytest.mark.parametrize("make", ELSEWHERE, ids=NAMES[1:])
def test_the_batch_of_a_killed_worker_is_done_again_none_twice_none_lost(make, tmp_path):
    todo = items(12, _5="die once")
    assert outcomes(make(), tmp_path, todo) == doubled(*range(12))
    asked = [times(tmp_path, f"item-{number}") for number in range(12)]
    assert asked == [2 if number in (4, 5) else 1 for number in range(12)]  # 4 shares the batch of 5


@pytest.mark.parametrize("make", ELSEWHERE, ids=NAMES[1:])
def test_an_item_that_kills_every_worker_fails_alone(make, tmp_path):
    found = outcomes(make(), tmp_path, items(6, _3="die"), size=3)
    assert [one for place, one in enumerate(found) if place != 3] == doubled(0, 1, 2, 4, 5)
    assert (found[3].kind, found[3].retryable) == ("worker_died", True)


def test_results_come_as_they_are_finished():
    """The first batch waits until the second one's result is there."""
    second_came = threading.Event()

    class Lane:
        def ready(self):
            return True

        def work(self, some):
            if some == ["first"]:
                assert second_came.wait(60)
            return some

        def close(self):
            pass

    running = run_lanes(lambda unused: Lane(), 2, None, [["first"], ["second"]])
    assert next(running) == (1, ["second"])
    second_came.set()
    assert list(running) == [(0, ["first"])]


def test_what_others_are_at_is_kept_when_one_worker_ends_the_work():
    """A server's answer that is under way is paid for. Nothing new is begun meanwhile."""
    begun, raised = threading.Event(), threading.Event()

    class Lane:
        def work(self, some):
            if some == ["wrong"]:
                assert begun.wait(60)
                raised.set()
                raise UserError("the limit is reached")
            begun.set()
            assert raised.wait(60)
            time.sleep(0.3)
            return some

        def ready(self):
            return True

        def close(self):
            pass

    running = run_lanes(lambda unused: Lane(), 2, None, [["wrong"], ["under way"], ["later"]])
    assert next(running) == (1, ["under way"])
    with pytest.raises(UserError, match="the limit is reached"):
        next(running)


def test_a_lane_that_waits_for_its_place_holds_no_batch():
    """As with a cluster that is too small for all workers: the others do everything."""

    class Lane:
        def __init__(self, number):
            self.number = number

        def ready(self):
            time.sleep(0.01)
            return self.number == 1

        def work(self, some):
            assert self.number == 1
            return some

        def close(self):
            pass

    numbers = iter(range(2))
    assert sorted(run_lanes(lambda unused: Lane(next(numbers)), 2, None, [["a"], ["b"], ["c"]])) == [
        (0, ["a"]), (1, ["b"]), (2, ["c"])
    ]  # fmt: skip


def test_a_work_that_is_given_up_leaves_no_process(tmp_path):
    running = ProcessExecutor(workers=2).run(
        task(tmp_path), batches(items(40, **{f"_{n}": "slow" for n in range(40)}), 1)
    )
    next(running)
    running.close()
    for process in {int(line) for line in (tmp_path / "built").read_text().splitlines()}:
        assert gone(process)
    assert not [thread for thread in threading.enumerate() if "_serve" in thread.name]


def test_a_batch_is_halved_until_it_fits_into_memory(tmp_path):
    found = outcomes(LocalExecutor(), tmp_path, items(8, _6="huge"), call=small_memory, size=8)
    assert [one for place, one in enumerate(found) if place != 6] == doubled(0, 1, 2, 3, 4, 5, 7)
    assert found[6].kind == "out_of_memory"
    # 8 -> 4 + 4 -> 2 + 2 + 2 + 2, of which the last has the huge one -> 1 + 1
    assert [times(tmp_path, f"batch-{size}") for size in (8, 4, 2, 1)] == [1, 2, 4, 2]


def test_waits_between_attempts_double_and_only_failed_items_are_tried_again(tmp_path):
    waits = []
    worker = Worker(task(tmp_path), Patience(attempts=4, wait=1.0, longest=3.0), waits.append)
    assert worker.work(items(3, _1="busy")) == [*doubled(0), Failure("busy", "come again", 4, True), *doubled(2)]
    assert waits == [1.0, 2.0, 3.0]
    assert [times(tmp_path, f"item-{number}") for number in range(3)] == [1, 4, 1]


SLEEPY = """
import sys, time
from pathlib import Path
from tests.workers import items, task
from vpo.executor.processes import ProcessExecutor

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    todo = items(200, **{f"_{n}": "slow" for n in range(200)})
    list(ProcessExecutor(1).run(task(folder), [[one] for one in todo]))
"""


def test_workers_leave_when_their_parent_is_killed(tmp_path):
    script, notes = tmp_path / "sleepy.py", tmp_path / "notes"
    script.write_text(SLEEPY)
    parent = subprocess.Popen([sys.executable, str(script), str(notes)], env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait_for(lambda: (notes / "item-0").exists())
    worker = int((notes / "built").read_text())
    assert not gone(worker)
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


def all_but_one(role, todo):
    return work(role, todo)[:-1]


@pytest.mark.parametrize("make", EXECUTORS, ids=NAMES)
def test_a_role_that_gives_too_few_results_ends_the_work_with_a_line(make, tmp_path):
    with pytest.raises(UserError, match="Role: 1 results for 2 items"):
        outcomes(make(), tmp_path, items(4), call=all_but_one)


def test_a_role_that_cannot_be_closed_costs_no_result(caplog):
    class Stuck:
        def close(self):
            raise RuntimeError("the driver is gone")

    worker = Worker(Task(Stuck, lambda role, some: some))
    assert worker.work([1, 2]) == [1, 2]
    worker.close()
    assert caplog.messages == ["Stuck.close() failed: RuntimeError: the driver is gone"]


def test_a_server_that_is_away_is_asked_in_whole_batches_until_the_last_attempt(tmp_path):
    """4 items, two calls of the batch, then, in the last attempt, the batch and its halves: 1 + 2 + 4 calls."""
    calls = []

    def away(role, some):
        calls.append(len(some))
        raise ConnectionError("refused")

    found = Worker(task(tmp_path, away), Patience(attempts=3), lambda seconds: None).work(items(4))
    assert calls == [4, 4, 4, 2, 1, 1, 2, 1, 1]
    assert {(one.kind, one.attempts, one.retryable) for one in found} == {("ConnectionError", 3, True)}
