"""Stage `queries`: the data set, split by use."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from vpo.build import build
from vpo.dataset.reading.text import comparison_key
from vpo.errors import UserError
from vpo.records import Query
from vpo.stages.context import Context
from vpo.stages.stage import Node, Stage
from vpo.storage.rows import write_rows
from vpo.storage.store import Entry

TRAINED = ("sft", "dpo")
SPLITS = (*TRAINED, "test")  # of every data set


@dataclass(frozen=True, kw_only=True)
class Queries(Stage):
    """The data set is read and split by use.

    Writes `sft.jsonl`, `dpo.jsonl` and `test.jsonl`, and a file for every other split that the data set has. The content of a
    user's file is part of the key, by the data set's fingerprint; the arguments that say where it lies, which the class names in
    `in_fingerprint`, are not. What a data set did not use or changed (its `left_out` and `changed`, if it has them) is counted
    beside the sizes.
    """

    name: ClassVar[str] = "queries"

    dataset: Node

    @cached_property
    def _source(self) -> Any:
        return build(self.dataset)

    @cached_property
    def _content(self) -> str:
        """The data set's fingerprint, for which a user's file is read once."""
        return self._source.fingerprint()

    def node(self) -> dict[str, Any]:
        """The node with a hash of the content."""
        return super().node() | {"content": self._content}

    def exempt_paths(self) -> tuple[str, ...]:
        named = getattr(self._source, "in_fingerprint", ())
        return tuple(f"dataset.{name}" for name in named) if self._content else ()

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        splits = self._source.splits()
        check_splits(splits, getattr(self._source, "may_be_empty", ()))
        for name in splits:
            write_rows(folder / f"{name}.jsonl", splits[name])
        counts = {name: len(splits[name]) for name in splits}
        return counts | dict(getattr(self._source, "left_out", {})) | dict(getattr(self._source, "changed", {}))


@dataclass(frozen=True, kw_only=True)
class HeldOut(Stage):
    """Another split's queries take the place of the test queries.

    Writes `test.jsonl`. So recipes are chosen on a validation split, and several kinds of queries are measured on, with the same
    trained policies.
    """

    name: ClassVar[str] = "held_out"

    queries: Entry
    split: str

    def work(self, context: Context, folder: Path) -> dict[str, int]:
        known = [path.stem for path in sorted(self.queries.folder.glob("*.jsonl")) if path.stem not in TRAINED]
        if self.split not in known:
            what = "is trained on" if self.split in TRAINED else "is no split of this data set"
            raise UserError(f"config: measured={self.split} {what}; choose one of {', '.join(known)}")
        rows = self.queries.rows(f"{self.split}.jsonl", Query)
        write_rows(folder / "test.jsonl", rows)
        return {"test": len(rows)}


def check_splits(splits: Mapping[str, Sequence[Query]], may_be_empty: Collection[str] = ()) -> None:
    """Raise UserError where a split is empty that may not be, an id stands for two queries or a text stands in two splits.

    Texts are compared as readers see them: see `vpo.dataset.reading.text.comparison_key`.
    """
    ids: set[str] = set()
    texts: dict[str, tuple[str, str]] = {}  # by comparison key: split and id
    for name in dict.fromkeys((*SPLITS, *splits)):
        if not splits[name] and name not in may_be_empty:
            raise UserError(
                f"dataset: the split {name!r} is empty; give more queries or a larger dataset.{name} (rows of a file may name "
                "their split)"
            )
        for query in splits[name]:
            if query.id in ids:
                raise UserError(
                    f"dataset: the id {query.id!r} stands for two queries; ids must be unique over all splits"
                )
            ids.add(query.id)
            split, first = texts.setdefault(comparison_key(query.text), (name, query.id))
            if split != name:
                raise UserError(
                    f"dataset: the query {query.id!r} of {name} has the text of {first!r} of {split}; a text belongs to one split"
                )
