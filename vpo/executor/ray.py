"""Item-by-item work by Ray actors, on this machine or on a cluster (extra "ray")."""

import importlib.util
import logging
import os
import pickle
import platform
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vpo.errors import UserError
from vpo.executor.lanes import POLL, Busy, WorkerDied, run_lanes
from vpo.executor.processes import LEAVE
from vpo.executor.worker import Worker
from vpo.interfaces import Task

log = logging.getLogger(__name__)


class RayExecutor:
    """`workers` actors, each with a role of its own.

    Nodes of a cluster see the store at the same place as this process does (a shared disk), and have vpo installed; an actor works in
    the folder that this process works in.

    Args:
        workers: how many actors; fewer work where the cluster has no place for so many.
        address: of a running cluster ("auto", "ray://host:10001"); None starts one on this machine for as long as the run lives.
        cpus: logical CPUs that an actor asks for.
        gpus: GPUs that an actor asks for; Ray shows each actor its own. Shares such as 0.5 let actors sit together.
    """

    def __init__(self, workers: int, address: str | None, cpus: float, gpus: float) -> None:
        if importlib.util.find_spec("ray") is None:
            raise UserError("executor=ray needs Ray: pip install 'vpo[ray]', or choose executor=processes")
        self.workers, self.address, self.cpus, self.gpus = workers, address, cpus, gpus
        self.busy = Busy()

    def run(self, task: Task, batches: Sequence[Sequence[Any]]) -> Iterator[tuple[int, list[Any]]]:
        if not batches:
            return iter(())
        self._connect()
        self._check_places()
        task = Task(In(os.getcwd(), task.make), task.call)
        return run_lanes(
            lambda task: RayLane(task, cpus=self.cpus, gpus=self.gpus), self.workers, task, batches, self.busy
        )

    def _connect(self) -> None:
        import ray

        if ray.is_initialized():
            return
        self._check_address()
        try:
            ray.init(
                address=self.address or "local",  # None would look for a cluster, also for one that has ended
                include_dashboard=False if self.address is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise self._unreachable(error) from error

    def _check_address(self) -> None:
        """Raise UserError where nothing listens at the address: Ray would try for minutes."""
        host, colon, port = (self.address or "").removeprefix("ray://").rpartition(":")
        if colon and port.isdecimal():
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
            except OSError as error:
                raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> UserError:
        reason = " ".join(str(error).split())[:200]
        return UserError(
            f"executor.address={self.address}: no Ray cluster answers ({reason}); start one, or set it to null"
        )

    def _check_places(self) -> None:
        """Raise UserError where not one actor can ever start; a cluster that grows by itself is waited for, which is logged."""
        import ray

        wanted = {"CPU": self.cpus, "GPU": self.gpus}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        if any(all(node.get(name, 0) >= value for name, value in wanted.items()) for node in nodes):
            return
        most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in wanted}
        line = (
            f"executor=ray: an actor asks for {self.cpus:g} CPUs and {self.gpus:g} GPUs, and the largest node has {most['CPU']:g} and "
            f"{most['GPU']:g}"
        )
        if self.address is None:
            raise UserError(f"{line}; set executor.cpus and executor.gpus")
        log.warning("%s; waiting for a node that has them (executor.cpus, executor.gpus)", line)


@dataclass(frozen=True)
class In:
    """Builds a role in the folder of the process that asks for it, so that relative paths mean the same."""

    folder: str
    make: Callable[[], Any]

    def __call__(self) -> Any:
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise UserError(
                f"executor=ray: {self.folder}: {error.strerror} on {platform.node()}; start the run in a folder that all nodes share"
            ) from error
        return self.make()


class Actor:
    """A worker on a node. It is sent bytes, so that a node that cannot read them says so in a line; Ray would end the actor."""

    def __init__(self, task: bytes) -> None:
        self._task = task
        self._worker: Worker | None = None

    def work(self, items: bytes) -> list[Any]:
        try:
            if self._worker is None:
                self._worker = Worker(pickle.loads(self._task))
            some = pickle.loads(items)
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"executor=ray: {platform.node()} cannot import what the work needs ({error}); install the same packages on all nodes"
            ) from error
        return self._worker.work(some)

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()


class RayLane:
    """One actor; after its death a new one is made when there is more to do."""

    def __init__(self, task: Task, *, cpus: float, gpus: float) -> None:
        self.task, self.cpus, self.gpus = task, cpus, gpus
        self._actor: Any = None
        self._started: Any = None
        self._alive = self._closed = False

    def ready(self) -> bool:
        """Whether the actor has found its place; one that could not start says so when it is asked to work."""
        import ray

        if self._closed:
            return False
        if self._actor is None:
            # An item is not tried again by Ray: what becomes of a dead worker's batch is decided in one place, by `run_lanes`.
            actor = ray.remote(max_restarts=0, max_task_retries=0, num_cpus=self.cpus, num_gpus=self.gpus)(Actor)
            self._actor = actor.remote(pickle.dumps(self.task))
            self._started = self._actor.__ray_ready__.remote()
        self._alive = bool(ray.wait([self._started], timeout=POLL)[0])
        return self._alive

    def work(self, items: Sequence[Any]) -> list[Any]:
        import ray

        try:
            results: list[Any] = ray.get(self._actor.work.remote(pickle.dumps(items)))
            return results
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
            self._actor, self._alive = None, False
            raise WorkerDied(f"a Ray actor ended ({type(error).__name__})") from error

    def close(self) -> None:
        import ray

        self._closed = True
        actor, self._actor = self._actor, None
        if actor is None or not ray.is_initialized():
            return
        if self._alive:
            ray.wait([actor.close.remote()], timeout=LEAVE)
        ray.kill(actor)
