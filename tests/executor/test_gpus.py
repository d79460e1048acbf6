"""Processes share out GPUs: each sees one, named as the scheduler named it. No GPU is needed for that."""

import pytest

from tests.executor.test_executors import batches
from tests.workers import items, task
from vpo.errors import UserError
from vpo.executor.processes import ProcessExecutor
from vpo.processes.hardware import visible_devices


def seen(executor, tmp_path, count=6):
    """The CUDA_VISIBLE_DEVICES of each worker process."""
    todo = items(count, **{f"_{number}": "where" for number in range(count)})
    rows = [one["value"] for _, results in executor.run(task(tmp_path), batches(todo, 1)) for one in results]
    return {process: device for device, _, process in rows}


@pytest.mark.parametrize("gpus", ["all", [0, 1]])
def test_each_process_sees_one_gpu_of_those_that_the_scheduler_gave(gpus, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-8932f937")
    found = seen(ProcessExecutor(workers=7, gpus=gpus), tmp_path)
    assert sorted(found.values()) == ["5", "GPU-8932f937"]


def test_gpus_are_numbered_as_torch_numbers_those_it_sees(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6,7")
    assert set(seen(ProcessExecutor(workers=2, gpus=[2]), tmp_path, 2).values()) == {"7"}


def test_without_a_gpu_all_means_the_workers(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = seen(ProcessExecutor(workers=2, gpus="all"), tmp_path)
    assert list(found.values()) == ["", ""]


@pytest.mark.parametrize(("value", "names"), [("0,1,-1,2", ["0", "1"]), ("", []), ("-1", []), ("3", ["3"])])
def test_visible_devices_are_read_as_cuda_reads_them(value, names, monkeypatch):
    """CUDA stops at the first name that is none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_devices() == names


def test_a_gpu_that_is_not_there_is_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    with pytest.raises(UserError, match=r"executor.gpus=\[0, 3\]: 2 GPUs can be seen here, counted from 0; give fewer"):
        seen(ProcessExecutor(workers=2, gpus=[0, 3]), tmp_path)


@pytest.mark.parametrize("gpus", [[], [0, 0], [-1], ["0"], [True], "some"])
def test_what_names_no_gpus_is_refused(gpus):
    with pytest.raises(UserError, match=r"executor.gpus=.* must be all, or numbers of GPUs"):
        ProcessExecutor(workers=2, gpus=gpus)
