"""Stage `queries`: the data set, split by use."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from vpo.build import build
from vpo.errors import UserError
from vpo.rows import write_rows
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage

SPLITS = ("sft", "dpo", "test")


@dataclass(frozen=True, kw_only=True)
class Queries(Stage):
    """The data set is read and split by use.

    Writes `sft.jsonl`, `dpo.jsonl` and `test.jsonl`. The content of a user's file is part of the key, its path is not. What a data
    set did not use (its `left_out`, if it has one) is counted beside the sizes.
    """

    name: ClassVar[str] = "queries"
    idle: ClassVar[tuple[str, ...]] = ("dataset.path",)

    dataset: Node

    @cached_property
    def _source(self) -> Any:
        return build(self.dataset)

    def node(self) -> dict[str, Any]:
        """The node with a hash of the content."""
        return super().node() | {"content": self._source.fingerprint()}

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        splits = self._source.splits()
        ids = [query.id for name in SPLITS for query in splits[name]]
        if len(set(ids)) < len(ids):
            twice = next(one for one in ids if ids.count(one) > 1)
            raise UserError(f"dataset: the id {twice!r} stands for two queries; ids must be unique over all splits")
        for name in SPLITS:
            if not splits[name]:
                raise UserError(f"dataset: the split {name!r} is empty; give more queries or a larger dataset.{name}")
            write_rows(folder / f"{name}.jsonl", splits[name])
        return {name: len(splits[name]) for name in SPLITS} | dict(getattr(self._source, "left_out", {}))
