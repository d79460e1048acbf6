"""Roles and calls for tests of item-by-item work; they are named here because tasks travel to other processes by name."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpo.errors import UserError
from vpo.interfaces import Task
from vpo.records import Failure


@dataclass(frozen=True)
class Item:
    """`text` says what the worker is to do with it."""

    id: str
    text: str = "double"


@dataclass
class Role:
    """Counts, in files of a folder, how often it was built, asked and closed in all processes."""

    folder: Path

    def __post_init__(self) -> None:
        self.note("built")

    def note(self, what: str) -> None:
        with (self.folder / what).open("a") as file:
            file.write(f"{os.getpid()}\n")

    def close(self) -> None:
        self.note("closed")


@dataclass(frozen=True)
class Make:
    """Builds the role in the folder."""

    folder: Path

    def __call__(self) -> Role:
        return Role(self.folder)


def work(role: Role, items: Sequence[Item]) -> list[Any]:
    """Twice the number in an item's id, or what its text asks for."""
    return [one_item(role, item) for item in items]


def one_item(role: Role, item: Item) -> Any:
    role.note(f"item-{item.id}")
    number = int(item.id)
    asked = times(role.folder, f"item-{item.id}")
    match item.text:
        case "die once" if asked == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise KeyError("no such word")
        case "busy once" if asked == 1:
            return Failure("busy", "come again", retryable=True)
        case "busy":
            return Failure("busy", "come again", retryable=True)
        case "refuse":
            return Failure("refused", "no")
        case "wrong config":
            raise UserError("role: no such model; give another")
        case "slow":
            time.sleep(0.3)
        case "where":
            time.sleep(0.3)
            return {"id": item.id, "value": [os.environ.get("CUDA_VISIBLE_DEVICES"), os.getcwd(), os.getpid()]}
    return {"id": item.id, "value": 2 * number}


def small_memory(role: Role, items: Sequence[Item]) -> list[Any]:
    """Has room for two items at once, and for none whose text says so."""
    role.note(f"batch-{len(items)}")
    if len(items) > 2 or any(item.text == "huge" for item in items):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return work(role, items)


def times(folder: Path, what: str) -> int:
    """How often something was noted."""
    path = folder / what
    return len(path.read_text().splitlines()) if path.exists() else 0


def task(folder: Path, call: Any = work) -> Task:
    folder.mkdir(exist_ok=True)
    return Task(Make(folder), call)


def items(count: int, **texts: str) -> list[Item]:
    """Items "0" to "count - 1"; `_3="die"` says what the worker is to do with item 3."""
    return [Item(str(number), texts.get(f"_{number}", "double")) for number in range(count)]
