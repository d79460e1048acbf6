"""What every stage works with: the store, the executor, and what a run asked for."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from vpo.executor.local import LocalExecutor
from vpo.interfaces import Executor, Task
from vpo.stages.stage import Stage
from vpo.storage import items as item_work
from vpo.storage.items import ItemResults, Reading, Work
from vpo.storage.shards import ShardDone
from vpo.storage.store import Entry, Store

R = TypeVar("R")
log = logging.getLogger(__name__)


class StopHere(Exception):  # noqa: N818 (no error: the user asked for it)
    """Raised before the first stage after the one that `stop_after` names."""


@dataclass
class Context:
    """The place where stages are done.

    Attributes:
        store: where results live.
        executor: where item-by-item work runs.
        stop_after: the name of the stage after which to stop.
        retry_failed: do items again that failed, also those of finished stages.
        gathered: item-by-item work that shards have begun must be all there.
        shared: the results of which this process has done a shard, and which others complete.
        requested: the stages that were asked for so far, in order, with their entries.
        begun: called with the items and the work of the next stage that goes through items, before these are done.
        policies: the policies by the names under which methods ask for them (`dpo_2` and `dpo` may be one), once all are there.
    """

    store: Store
    executor: Executor = field(default_factory=LocalExecutor)
    stop_after: str | None = None
    retry_failed: bool = False
    gathered: bool = False
    shared: list[Entry] = field(default_factory=list)
    requested: list[tuple[Stage, Entry]] = field(default_factory=list)
    begun: Callable[[Sequence[Any], Work[Any]], Reading[Any]] | None = None
    policies: dict[str, Entry] = field(default_factory=dict)

    def make(self, stage: Stage) -> Entry:
        """The stored result of a stage, made now if it is not there.

        A shard makes its share only: the entry is not done then, and the stages that do not need it are made none the less.

        Raises:
            StopHere: The run was to stop before this stage.
            ShardDone: It needs a result of which this process has done a shard only.
        """
        if self.requested and self.requested[-1][0].name == self.stop_after != stage.name:
            raise StopHere(self.stop_after)
        if any(entry in self.shared for entry in stage.inputs().values()):
            raise ShardDone(stage.called)
        try:
            entry = self._stored(stage)
        except ShardDone as done:
            log.info("%s", done)
            entry = self.store.made_last
            self.shared.append(entry)
        self.requested.append((stage, entry))
        return entry

    def make_within(self, stage: Stage, begun: Callable[[Sequence[Any], Work[Any]], Reading[Any]]) -> None:
        """Make a stage that goes through items, of which `begun` does as many as it likes while the stage's folder is open."""
        self.begun = begun
        try:
            self._stored(stage)
        finally:
            self.begun = None

    def _stored(self, stage: Stage) -> Entry:
        return self.store.get(
            stage.name, stage.node(), stage.inputs(), partial(stage.work, self),
            label=stage.label, exempt=stage.exempt_paths(), retry_failed=self.retry_failed, runs=stage.runs,
        )  # fmt: skip

    @property
    def trained(self) -> dict[str, Entry]:
        """The trainings so far, in order, by the names that the pipeline gives them."""
        return {stage.label or stage.name: entry for stage, entry in self.requested if stage.trains}

    def complete(
        self,
        items: Sequence[Any],
        path: Path,
        *,
        kind: type[R],
        make: Callable[[], Any],
        call: Callable[[Any, Sequence[Any]], Sequence[Any]],
        item_id: Callable[[Any], str],
        batch_size: int,
        label: str,
        whole: bool = False,
    ) -> ItemResults[R]:
        """Item-by-item work that survives a kill; see `vpo.storage.items.complete`.

        `make` builds the role where the work is done and `call` does the work with (role, items); both travel to workers.

        Args:
            whole: all items must be in one batch, so that they cannot be shared out.

        Raises:
            ShardDone: This process does a shard only, and its items are done.
        """
        work = Work(path, kind, Task(make, call), item_id, batch_size, label)
        shard = self.store.shard
        read, self.begun = self.begun, None
        opened = time.monotonic()
        before = read(items, work) if read else None
        for_others = time.monotonic() - opened - before.seconds if before else 0.0
        if shard is None or whole or path.exists():
            start, busy = time.monotonic(), getattr(self.executor, "busy", None)
            busy_before = busy.seconds if busy else 0.0
            done = item_work.complete(
                items, work, self.executor, retry_failed=self.retry_failed, gathered=self.gathered
            )
            count = done.fresh + (before.count if before else 0)
            workers = min(getattr(self.executor, "workers", 1), max(1, -(-count // batch_size)))
            spent = time.monotonic() - start + (before.seconds if before else 0.0)
            at_work = busy.seconds - busy_before if busy else spent
            self.store.note_work(count, spent, workers, at_work, for_others)
            return done
        item_work.check_count(work, shard)
        with self.store.shared():
            own = item_work.complete_shard(items, work, self.executor, shard)
        raise ShardDone(f"{label}: shard {shard} is done, {own} of {len(items)} items")
