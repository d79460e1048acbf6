"""Item-by-item work by Ray actors, on this machine or on a cluster (extra "ray")."""

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from vpo.errors import UserError
from vpo.executor.lanes import WorkerDied, run_lanes
from vpo.executor.processes import LEAVE
from vpo.executor.worker import Worker
from vpo.interfaces import Task


class RayExecutor:
    """`workers` actors, each with a role of its own.

    Args:
        workers: how many actors.
        address: of a running cluster ("auto", "ray://host:10001"); None starts one on this machine for as long as the run lives.
        cpus: logical CPUs that an actor asks for.
        gpus: GPUs that an actor asks for; Ray shows each actor its own. Shares such as 0.5 let actors sit together.
    """

    def __init__(self, workers: int, address: str | None, cpus: float, gpus: float) -> None:
        if importlib.util.find_spec("ray") is None:
            raise UserError("executor=ray needs Ray: pip install 'vpo[ray]', or choose executor=processes")
        self.workers, self.address, self.cpus, self.gpus = workers, address, cpus, gpus

    def run(self, task: Task, batches: Sequence[Sequence[Any]]) -> Iterator[tuple[int, list[Any]]]:
        self._connect()
        return run_lanes(lambda task: RayLane(task, cpus=self.cpus, gpus=self.gpus), self.workers, task, batches)

    def _connect(self) -> None:
        import ray

        if ray.is_initialized():
            return
        try:
            ray.init(
                address=self.address,
                include_dashboard=False if self.address is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"executor.address={self.address}: no Ray cluster answers ({reason}); start one, or set it to null"
            ) from error


class RayLane:
    """One actor; after its death a new one is made when there is more to do."""

    def __init__(self, task: Task, *, cpus: float, gpus: float) -> None:
        self.task, self.cpus, self.gpus = task, cpus, gpus
        self._actor: Any = None

    def work(self, items: Sequence[Any]) -> list[Any]:
        import ray

        if self._actor is None:
            # An item is not tried again by Ray: what becomes of a dead worker's batch is decided in one place, by `run_lanes`.
            actor = ray.remote(max_restarts=0, max_task_retries=0, num_cpus=self.cpus, num_gpus=self.gpus)(Worker)
            self._actor = actor.remote(self.task)
        try:
            results: list[Any] = ray.get(self._actor.work.remote(items))
            return results
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
            self._actor = None
            raise WorkerDied(f"a Ray actor ended ({type(error).__name__})") from error

    def close(self) -> None:
        import ray

        actor, self._actor = self._actor, None
        if actor is None or not ray.is_initialized():
            return
        ray.wait([actor.close.remote()], timeout=LEAVE)
        ray.kill(actor)
