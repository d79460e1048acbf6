"""A user's own queries: a file of JSON, JSON lines, CSV, TSV, Parquet or plain text, one query a row."""

import logging
from collections.abc import Mapping
from typing import Any

from vpo.dataset.dealing import Amounts
from vpo.dataset.distinct import COPIES, read_distinct
from vpo.dataset.reading.columns import columns_of
from vpo.dataset.reading.data_file import DataFile
from vpo.dataset.reading.problems import FileProblem
from vpo.dataset.reading.source import shown_path
from vpo.errors import UserError
from vpo.records import Query

log = logging.getLogger(__name__)


class FileDataset:
    """Queries of one file, dealt to the three splits by a hash of their id.

    Formats by suffix: `.json` (a list, a list under a name, or what pandas writes), `.jsonl` or `.ndjson` (one value a
    line), `.csv` and `.tsv` (a header line, or one column of texts), `.txt` (one query a line), each of them with `.gz`,
    and `.parquet`. Encodings: UTF-8, UTF-16 and UTF-32, and Windows-1252 where it is clear; the log says which, if it is
    not UTF-8.

    A value is a string, or an object with the text in the first of "query", "text" and "prompt" that is not empty and, if
    it likes, an "id", a "split" and a "rewrite": a given prompt, which method@drafter=given takes. Names of fields may be in
    any case; `columns` says where they are other ones. An id is a text or a whole number; queries without
    one are named by the hash of their text. Splits are sft (or train), dpo (or validation, valid, val, dev) and test.

    Rows of training formats (`vpo.dataset.reading.training_rows`) give the user's text and the answer to it as rewrite; their pairs of
    a chosen and a rejected answer go into `Query.meta` under "pairs", for feedback=given.

    `Query.text` is what the user typed apart from HTML's entities and tags, control characters and white space at the ends
    (`vpo.dataset.reading.text.tidy`); models, judges and tables all see this text. A text that occurs again is kept once, under its
    first id, so that no test query is trained on: case, white space, composition of accents and characters that show
    nothing make no other text (`vpo.dataset.reading.text.comparison_key`).

    Rows that cannot be used are an error, which names all of them, and nothing is left out silently.

    Args:
        path: the file, relative to the working folder; a tilde is the user's home.
        sft, dpo, test: how many queries a split gets: up to 1 a share, above 1 a count. Counts are taken first (an entry
            that names its split is among them), shares are of what remains. Shares alone sum to 1.
        max_chars: a longer query is an error: it is a pasted document, not a query.
        columns: how the file calls its fields, and which of them go into `Query.meta`: {query: prompt_en, labels: [dimension]}.

    Attributes:
        left_out: how many rows the last `splits()` did not use, by reason.
        changed: how many rows have a text that the last `splits()` changed, by what it did.
        in_fingerprint: arguments that change the queries by the content of the file alone, which `fingerprint()` hashes.
        may_be_empty: splits that were asked for with 0 queries, as nothing is trained on them.
    """

    in_fingerprint = ("path",)

    def __init__(
        self, path: str, sft: float, dpo: float, test: float, max_chars: int, columns: dict[str, Any] | None = None
    ) -> None:
        self.path, self.max_chars = shown_path(path), max_chars
        self.columns = columns_of(columns)
        self.amounts = Amounts(sft, dpo, test)
        self.may_be_empty = tuple(name for name in ("sft", "dpo") if self.amounts.of[name] == 0)
        self.left_out: dict[str, int] = {}
        self.changed: dict[str, int] = {}
        self._file = DataFile(path, self.columns)

    def fingerprint(self) -> str:
        """The sha256 of the suffix and the content: what is read, in which encoding and format, depends on these alone."""
        try:
            return self._file.fingerprint()
        except FileProblem as problem:
            raise UserError(f"{self.path}: {problem}") from problem

    def splits(self) -> Mapping[str, list[Query]]:
        """The queries of each split in the file's order; shares hold to within one query.

        Raises:
            UserError: the file, or rows of it, cannot be used, or it has changed since `fingerprint()`.
        """
        try:
            read = read_distinct(self._file.values(), self.max_chars, self.columns)
        except FileProblem as problem:
            raise UserError(f"{self.path}: {problem}") from problem
        if read.renamed:
            names = ", ".join(f"split {one} is read as {two}" for one, two in read.renamed.items())
            log.info("  %s: %s", self.path, names)
        splits, left = self.amounts.deal(read.queries, self.path)
        self.left_out = {name: count for name, count in ((COPIES, read.copies), ("left over", left)) if count}
        self.changed = dict(read.changes)
        return splits
