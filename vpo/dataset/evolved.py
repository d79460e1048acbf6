"""What an evolution of prompts gave: its queries with their best prompts as given rewrites."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from vpo.errors import UserError
from vpo.records import Query
from vpo.storage.rows import read_rows

FOLDER = "dataset"  # in the result of stage `winners`
SPLITS = ("sft", "dpo", "test")


class EvolvedDataset:
    """The splits that stage `winners` wrote: of `sft` the queries that have a winner, the others as the evolution's data set had them.

    `Query.meta` of an SFT query holds the winner as "rewrite", which method@drafter=given takes; the judge then critiques and refines
    it like any draft.

    Args:
        path: the folder of the result (`store/winners/<key>`, as the run's last line says), its folder "dataset", or a file in it.
        sft, dpo, test: so many queries from the beginning of a split; None for all.

    Attributes:
        in_fingerprint: where the files lie; `fingerprint()` hashes their content.
    """

    in_fingerprint = ("path",)

    def __init__(self, path: str, sft: int | None = None, dpo: int | None = None, test: int | None = None) -> None:
        self.first = {"sft": sft, "dpo": dpo, "test": test}
        for name, n in self.first.items():
            if n is not None and (not isinstance(n, int) or n < 1):
                raise UserError(f"dataset.{name}={n} must be a whole number of at least 1, or null for all")
        given = Path(path).expanduser()
        beside = given.parent if given.is_file() else given
        self.folder = next((one for one in (beside / FOLDER, beside) if (one / "sft.jsonl").is_file()), beside)
        missing = [name for name in SPLITS if not (self.folder / f"{name}.jsonl").is_file()]
        if missing:
            reason = "no such folder" if not given.exists() else f"no {missing[0]}.jsonl in it"
            raise UserError(
                f"dataset.path={path}: {reason}; give the folder that `vpo run experiment=evolve` names in its last line, "
                "store/winners/<key>"
            )

    def fingerprint(self) -> str:
        """A hash of the content of all splits."""
        digest = hashlib.sha256()
        for path in self._files():
            digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        return digest.hexdigest()

    def splits(self) -> Mapping[str, list[Query]]:
        """The queries of each split. Raises UserError where a file is none of queries, or the evolution has no winner."""
        splits = {path.stem: read_rows(path, Query)[: self.first.get(path.stem)] for path in self._files()}
        if not splits["sft"]:
            raise UserError(
                f"{self.folder}: this evolution has no winner, no rewrite with a better reward than its query; take more rounds "
                "(evolution.rounds) or another rewriter"
            )
        return splits

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl"))
