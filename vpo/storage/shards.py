"""Shards of item-by-item work: independent processes, on any machines that see the store, each with its share of the items.

    vpo run ... shard=3/64     64 of these, in any order and number at a time, as a scheduler's array job starts them
    vpo gather ...             when all have ended: every item is there once; the run goes on

How shards share a stage's result without a scheduler, a server or a common writer:

- An item belongs to the shard that a hash of its id says, so nobody hands out work.
- All work in the one partial folder of the result. Each appends to a journal of its own, `<name>.shard-3-of-64.journal.jsonl`; files
  that belong to an item (clips) are written by its shard alone, under a temporary name first. No file has two writers.
- The lock of a result is held while its partial folder is opened, as ever. Then a shard takes a lock of its own and lets the
  result's go, so that others can open it, too. Who is about to finish or to discard the folder waits for the shards' locks.
- A shard that was killed is started again and does what it lacks. The records are written once, by whoever runs without `shard`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from vpo.errors import UserError
from vpo.seeding import seed_of

_NAMED = re.compile(r"\.shard-(\d+)-of-(\d+)\.")


class ShardDone(Exception):  # noqa: N818 (no error: the user asked for a share)
    """Raised where a shard has done its items of a stage that needs those of the others, too."""


@dataclass(frozen=True)
class Shard:
    """One of `count` shares of the items; `number` counts from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """From "3/64". Raises UserError."""
        found = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", text)
        number, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= count:
            raise UserError(
                f"config: shard={text} must be a number and how many there are, counted from 1, as in shard=3/64 (the last is 64/64)"
            )
        return cls(number, count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """As it stands in names of files."""
        return f"shard-{self.number}-of-{self.count}"

    def has(self, item: str) -> bool:
        """Whether the item of this id is the shard's; of all shards of one count exactly one has it."""
        return seed_of("shard", item) % self.count == self.number - 1


def shard_in(path: Path) -> Shard | None:
    """The shard that a journal or a lock is of."""
    found = _NAMED.search(path.name)
    return None if found is None else Shard(int(found[1]), int(found[2]))


def shard_locks(folder: Path) -> list[Path]:
    """The lock files of shards that have worked, or work, on the result of this folder, or of its partial one."""
    return sorted(folder.parent.glob(f"{folder.name.partition('.')[0]}.shard-*.lock"))


def at_work(folder: Path) -> Iterator[Shard]:
    """The shards that work on a result now."""
    for path in shard_locks(folder):
        try:
            FileLock(path).acquire(timeout=0).lock.release()
        except Timeout:
            shard = shard_in(path)
            if shard is not None:
                yield shard
