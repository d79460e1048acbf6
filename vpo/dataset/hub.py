"""Queries of a data set on the Hugging Face Hub, or of a folder in one of the forms that `datasets` reads."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vpo.dataset.dealing import Amounts
from vpo.dataset.distinct import COPIES, read_distinct
from vpo.dataset.reading.columns import as_json, columns_of, field_name
from vpo.dataset.reading.entries import SPLIT_NAMES
from vpo.dataset.reading.problems import FileProblem, Place, names_in_short
from vpo.errors import UserError
from vpo.records import Query
from vpo.storage.jsonio import canonical

log = logging.getLogger(__name__)

Part = tuple[str, Any]  # a split of the data set by its name, as a `datasets.Dataset`


class HubDataset:
    """The rows of a data set that `datasets` loads, read as those of `dataset=file` are.

    Args:
        id: `<owner>/<name>` on the Hub, or a folder of its files (CSV, JSON, Parquet ...) or of what `save_to_disk` wrote.
        name: of the configuration, where there are several.
        revision: a branch, tag or commit; null: its main branch. The content enters the key of what is made of it, whatever this says.
        parts: which of its splits are read, and as which of ours: {train: null, test: test}, where null deals the rows by the amounts.
            null: all of them are dealt.
        sft, dpo, test, max_chars, columns: as of `vpo.dataset.file.FileDataset`.

    Attributes:
        left_out, changed: of the last `splits()`, by reason.
        in_fingerprint: arguments that change the queries by the content alone.
    """

    in_fingerprint = ("id", "revision")

    def __init__(
        self,
        id: str,
        name: str | None,
        revision: str | None,
        parts: dict[str, str | None] | None,
        sft: float,
        dpo: float,
        test: float,
        max_chars: int,
        columns: dict[str, Any] | None,
    ) -> None:
        self.id, self.name, self.revision, self.parts, self.max_chars = id, name, revision, parts, max_chars
        self.columns = columns_of(columns)
        self.amounts = Amounts(sft, dpo, test)
        self.left_out: dict[str, int] = {}
        self.changed: dict[str, int] = {}
        unknown = next((one for one in (parts or {}).values() if one is not None and one not in SPLIT_NAMES), None)
        if unknown is not None:
            raise UserError(f"dataset.parts: {unknown!r} is no split; choose one of {', '.join(SPLIT_NAMES)}, or null")

    def fingerprint(self) -> str:
        """The sha256 of all rows that are read."""
        digest = hashlib.sha256()
        for place, row in self._rows():
            digest.update(f"{place} {canonical(as_json(row))}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def splits(self) -> Mapping[str, list[Query]]:
        """The queries of each split, in the order of the data set.

        Raises:
            UserError: it cannot be loaded, or rows of it cannot be used.
        """
        try:
            read = read_distinct(self._rows(), self.max_chars, self.columns)
        except FileProblem as problem:
            raise UserError(f"dataset.id={self.id}: {problem}") from problem
        splits, left = self.amounts.deal(read.queries, f"dataset.id={self.id}")
        self.left_out = {name: count for name, count in ((COPIES, read.copies), ("left over", left)) if count}
        self.changed = dict(read.changes)
        return splits

    def _rows(self) -> Iterator[tuple[Place, dict[str, Any]]]:
        for part, rows in self._parts():
            split = (self.parts or {}).get(part)
            wanted = [name for name in rows.column_names if field_name(name) in self.columns.wanted]
            if not wanted:
                found = names_in_short(rows.column_names)
                raise UserError(
                    f"dataset.id={self.id}: {part} has no column {self.columns.one_of()}; found {found}; say in "
                    "dataset.columns.query how it is called"
                )
            for number, row in enumerate(rows.select_columns(wanted), start=1):
                cells = {name: _turns(value) for name, value in row.items()}
                yield Place(f"{part} row", number), cells | ({"split": split} if split else {})

    def _parts(self) -> list[Part]:
        """The splits that are read. Raises UserError where there are none of these names."""
        loaded = self._load()
        unknown = [name for name in self.parts or {} if name not in loaded]
        if unknown:
            raise UserError(f"dataset.parts: {self.id} has no split {unknown[0]!r}; it has {', '.join(loaded)}")
        return [(name, rows) for name, rows in loaded.items() if not self.parts or name in self.parts]

    def _load(self) -> Mapping[str, Any]:
        import datasets

        if not isinstance(self.id, str) or not self.id.strip():
            raise UserError(f"dataset.id={self.id} must be <owner>/<name> on the Hub, or a folder")
        folder = Path(self.id).expanduser()
        if self.id.startswith((".", "/", "~")) and not folder.is_dir():
            raise UserError(
                f"dataset.id={self.id}: no such folder; give the folder of a data set, or <owner>/<name> on the Hub"
            )
        try:
            if folder.is_dir() and any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
                loaded = datasets.load_from_disk(str(folder))
            else:
                place = str(folder) if folder.is_dir() else self.id
                loaded = datasets.load_dataset(place, self.name, revision=self.revision)
        except Exception as error:  # of the network, the Hub, or whatever reads a file
            reason = " ".join(str(_first(error)).split())[:300] or type(error).__name__
            raise UserError(
                f"dataset.id={self.id}: cannot be loaded ({reason}); check its name, dataset.name and dataset.revision, the network, "
                "and for a private one `hf auth login`"
            ) from error
        return loaded if isinstance(loaded, Mapping) else {str(loaded.split or "train"): loaded}


def _first(error: BaseException) -> BaseException:
    """The error that others were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _turns(value: Any) -> Any:
    """A chat as a list of turns, which `datasets` may hold as columns."""
    if (
        isinstance(value, Mapping)
        and {"role", "from"} & {*value}
        and all(isinstance(one, list) for one in value.values())
    ):
        return [dict(zip(value, turn, strict=True)) for turn in zip(*value.values(), strict=True)]
    return value
