"""Stage `queries`: the data set, split by use."""

from pathlib import Path

from vpo.errors import UserError
from vpo.rows import write_rows
from vpo.stages.bench import Bench, Node
from vpo.store import Entry

SPLITS = ("sft", "dpo", "test")


def queries(bench: Bench, dataset: Node) -> Entry:
    """Write `sft.jsonl`, `dpo.jsonl` and `test.jsonl`.

    The content of a user's file is part of the key, by the data set's fingerprint. So the arguments that say where it lies,
    which the class names in `in_fingerprint`, are not.

    What a data set did not use (its `left_out`, if it has one) is told beside the sizes and kept in the manifest.
    """
    source = bench.build(dataset)

    def work(folder: Path) -> dict[str, int]:
        splits = source.splits()
        ids = [query.id for name in SPLITS for query in splits[name]]
        if len(set(ids)) < len(ids):
            twice = next(one for one in ids if ids.count(one) > 1)
            raise UserError(f"dataset: the id {twice!r} stands for two queries; ids must be unique over all splits")
        for name in SPLITS:
            if not splits[name]:
                raise UserError(f"dataset: the split {name!r} is empty; give more queries or a larger dataset.{name}")
            write_rows(folder / f"{name}.jsonl", splits[name])
        return {name: len(splits[name]) for name in SPLITS} | dict(getattr(source, "left_out", {}))

    content = source.fingerprint()
    exempt = [f"dataset.{name}" for name in getattr(source, "in_fingerprint", ())] if content else []
    return bench.stage("queries", {"dataset": dataset, "content": content}, {}, work, exempt=exempt)
