"""Ray as it is on a cluster: found by its address, with fewer places than workers, and with GPUs (Ray counts what it is told)."""

import os
import sys
import types

import pytest

from tests.conftest import ROOT
from tests.executor.test_executors import batches, doubled, outcomes
from tests.workers import items, task
from tests.workers import work as work_items
from vpo.errors import UserError
from vpo.interfaces import Task

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Two nodes in processes of their own, each with a CPU and a GPU by name, started in another folder than the work."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from ray.cluster_utils import Cluster

    if ray.is_initialized():
        ray.shutdown()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1})
    nodes.add_node(num_cpus=1, num_gpus=1)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def executor(address, **options):
    from vpo.executor.ray import RayExecutor

    return RayExecutor(**{"workers": 2, "address": address, "cpus": 1, "gpus": 0, **options})


def test_a_cluster_is_found_by_its_address_and_gives_each_actor_its_gpu(cluster, tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    todo = items(6, **{f"_{number}": "where" for number in range(6)})
    running = executor(cluster.address, gpus=1).run(task(tmp_path / "notes"), batches(todo, 1))
    rows = [one["value"] for _, results in running for one in results]
    assert {device for device, *_ in rows} == {"0"}  # each node has one, which is its number 0
    assert {folder for _, folder, _ in rows} == {os.getcwd()}  # relative paths mean the same there
    assert len({process for *_, process in rows}) == 2


def test_a_node_without_our_modules_is_a_line(cluster, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "only_here", types.ModuleType("only_here"))
    sys.modules["only_here"].make = make = lambda: None
    make.__module__, make.__qualname__ = "only_here", "make"
    with pytest.raises(
        UserError, match=r"cannot import what the work needs \(No module named 'only_here'\); install the same"
    ):
        list(executor(cluster.address).run(Task(make, work_items), [items(2)]))


def test_more_workers_than_places_is_no_deadlock(cluster, tmp_path):
    assert outcomes(executor(cluster.address, workers=5), tmp_path, items(9), size=1) == doubled(*range(9))


def test_without_an_address_no_cluster_that_has_ended_is_waited_for(tmp_path, monkeypatch):
    """Ray itself would look at RAY_ADDRESS and at what it noted of the last cluster of this machine."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    if ray.is_initialized():
        ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert outcomes(executor(None), tmp_path, items(4)) == doubled(*range(4))
    ray.shutdown()


def test_an_actor_that_fits_nowhere_is_a_line_and_not_a_wait(tmp_path):
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with pytest.raises(UserError, match=r"an actor asks for 1 CPUs and 1 GPUs, and the largest node has .* and 0"):
        outcomes(executor(None, gpus=1), tmp_path, items(2))
    ray.shutdown()


def test_an_address_where_nothing_answers_is_a_line(tmp_path):
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(UserError, match=r"executor.address=127\.0\.0\.1:1: no Ray cluster answers"):
        outcomes(executor("127.0.0.1:1"), tmp_path, items(2))
