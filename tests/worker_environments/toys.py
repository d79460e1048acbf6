"""A role that works through the toy worker; it is named here because tasks travel to other processes by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vpo.records import Clip, Failure
from vpo.workers.client import WorkerProcess
from vpo.workers.toy.script import Toy


@dataclass(frozen=True)
class Item:
    """A clip to be drawn."""

    id: str
    seed: int


class ToyGenerator:
    """Draws clips by the toy worker, and notes the process of each."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.worker = WorkerProcess(Toy(), {"seconds": seconds}, key="generator")

    def draw(self, items: Sequence[Item]) -> list[Clip | Failure]:
        jobs = [{"id": one.id, "seed": one.seed, "path": str(self.folder / f"{one.id}.mp4")} for one in items]
        made = self.worker.work(jobs)
        self.note()
        return [one if isinstance(one, Failure) else clip_of(item, one) for item, one in zip(items, made, strict=True)]

    def note(self) -> None:
        """The worker's process, for who kills it."""
        if self.worker._process is not None:
            (self.folder / f"{self.worker._process.pid}.pid").touch()

    def close(self) -> None:
        self.worker.close()


def clip_of(item: Item, made: dict) -> Clip:
    return Clip(
        id=item.id, prompt_id=item.id, query_id="q", query="", prompt="", path=Path(made["path"]).name, seed=item.seed,
        frames=made["frames"], fps=made["fps"], height=made["height"], width=made["width"],
    )  # fmt: skip


def draw(role: ToyGenerator, items: Sequence[Item]) -> list[Clip | Failure]:
    return role.draw(items)
