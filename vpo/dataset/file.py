"""A user's own queries: a file of JSON, JSON lines, CSV, TSV, Parquet or plain text, one query a row."""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vpo.dataset.reading.data_file import DataFile
from vpo.dataset.reading.entries import REWRITE, Entry, read_entry
from vpo.dataset.reading.problems import FileProblem, Place, RowProblem, in_one_line, shown
from vpo.dataset.reading.source import shown_path
from vpo.errors import UserError
from vpo.records import Query
from vpo.seeding import seed_of

log = logging.getLogger(__name__)


class FileDataset:
    """Queries of one file, dealt to the three splits by a hash of their id.

    Formats by suffix: `.json` (a list, a list under a name, or what pandas writes), `.jsonl` or `.ndjson` (one value a
    line), `.csv` and `.tsv` (a header line, or one column of texts), `.txt` (one query a line), each of them with `.gz`,
    and `.parquet`. Encodings: UTF-8, UTF-16 and UTF-32, and Windows-1252 where it is clear; the log says which, if it is
    not UTF-8.

    A value is a string, or an object with the text in the first of "query", "text" and "prompt" that is not empty and, if
    it likes, an "id", a "split" and a "rewrite": a given prompt, which method@drafter=given takes. Names of fields may be in
    any case. An id is a text or a whole number; queries without
    one are named by the hash of their text. Splits are sft (or train), dpo (or validation, valid, val, dev) and test.

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

    Attributes:
        left_out: how many rows the last `splits()` did not use, by reason.
        changed: how many rows have a text that the last `splits()` changed, by what it did.
        in_fingerprint: arguments that change the queries by the content of the file alone, which `fingerprint()` hashes.
    """

    in_fingerprint = ("path",)

    def __init__(self, path: str, sft: float, dpo: float, test: float, max_chars: int) -> None:
        self.path, self.max_chars = shown_path(path), max_chars
        self.amounts = {"sft": sft, "dpo": dpo, "test": test}
        self.left_out: dict[str, int] = {}
        self.changed: dict[str, int] = {}
        self._file = DataFile(path)
        self._check_amounts()

    def _check_amounts(self) -> None:
        for name, amount in self.amounts.items():
            number = isinstance(amount, int | float) and not isinstance(amount, bool)
            if not number or not (0 <= amount <= 1 or (amount > 1 and amount % 1 == 0)):
                raise UserError(
                    f"dataset.{name}={amount} must be a share of the queries between 0 and 1, or a count: a whole number above 1"
                )
        shares = self._shares()
        total = sum(shares.values())
        if total > 1 + 1e-6 or (len(shares) == len(self.amounts) and total < 1 - 1e-6):
            raise UserError(
                f"{' + '.join(f'dataset.{name}' for name in shares)} = {total:g}; the shares must sum to 1"
                f"{'' if len(shares) == len(self.amounts) else ' or less beside counts'}"
            )

    def _shares(self) -> dict[str, float]:
        return {name: amount for name, amount in self.amounts.items() if amount <= 1}

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
            queries = self._queries()
        except FileProblem as problem:
            raise UserError(f"{self.path}: {problem}") from problem
        asked: dict[str, list[Query]] = {name: [] for name in self.amounts}
        free: list[Query] = []
        for query, split in queries:
            asked[split].append(query) if split else free.append(query)
        dealt = sorted(free, key=lambda query: seed_of("split", query.id))
        start = 0
        position = {query.id: number for number, query in enumerate(free)}
        for name, size in self._sizes({name: len(rows) for name, rows in asked.items()}, len(free)).items():
            asked[name] += sorted(dealt[start : start + size], key=lambda query: position[query.id])
            start += size
        if start < len(dealt):
            self.left_out["left over"] = len(dealt) - start
        return asked

    def _sizes(self, asked: Mapping[str, int], free: int) -> dict[str, int]:
        """How many of the free queries each split gets; `asked` are those that name their split."""
        shares = self._shares()
        sizes = {name: 0 if name in shares else max(0, int(n) - asked[name]) for name, n in self.amounts.items()}
        rest = left = free - sum(sizes.values())
        if rest < 0:
            counts = {name: int(n) for name, n in self.amounts.items() if name not in shares}
            raise UserError(
                f"{self.path}: {free + sum(asked.values())} different queries are too few for "
                f"{' '.join(f'dataset.{name}={n}' for name, n in counts.items())}; give more, lower the counts, or set "
                "shares: dataset.sft=0.5 dataset.dpo=0.25 dataset.test=0.25"
            )
        all_of_it = abs(sum(shares.values()) - 1) <= 1e-6
        for number, (name, share) in enumerate(shares.items(), 1):
            sizes[name] = left if all_of_it and number == len(shares) else min(left, round(share * rest))
            left -= sizes[name]
        return sizes

    def _queries(self) -> list[tuple[Query, str | None]]:
        """Every text once, by the first row that has it, with the split that any of its rows names."""
        found, problems = _Found(), []
        changed: Counter[str] = Counter()
        renamed: dict[str, str] = {}
        for place, value in self._file.values():
            try:
                if isinstance(value, RowProblem):
                    raise value
                entry = read_entry(value, self.max_chars)
                found.add(place, entry)
            except RowProblem as problem:
                problems.append((place, problem))
                continue
            changed.update(entry.changes)
            if entry.split and entry.split_name != entry.split:
                renamed[str(entry.split_name)] = entry.split
        if problems:
            raise FileProblem(in_one_line(problems))
        if not found.queries:
            raise FileProblem(
                "no queries in it; give a JSON list, JSONL, CSV, Parquet or a text file with one query a line"
            )
        if renamed:
            log.info("  %s: %s", self.path, ", ".join(f"split {one} is read as {two}" for one, two in renamed.items()))
        self.left_out = {"duplicates dropped": found.copies} if found.copies else {}
        self.changed = dict(changed)
        return [(one.query, one.split) for one in found.queries.values()]


@dataclass
class _Kept:
    """A text of the file: the query it became, and the split with the id of the row that named it."""

    query: Query
    split: str | None
    named_by: str


class _Found:
    """The different texts of a file, in its order."""

    def __init__(self) -> None:
        self.queries: dict[str, _Kept] = {}  # by comparison key
        self.copies = 0
        self._ids: dict[str, tuple[Place, str]] = {}  # where each id stands first, and for which text

    def add(self, place: Place, entry: Entry) -> None:
        """Keep the entry or count it as a copy. Raises RowProblem where its id or split is at odds with an earlier row's."""
        name = entry.id or "q-" + hashlib.sha256(entry.text.encode()).hexdigest()[:12]
        first, key = self._ids.setdefault(name, (place, entry.key))
        if key != entry.key:
            raise RowProblem(
                f"has the id {shown(name)} of {first}",
                "with the id of another query",
                "give every query its own id",
                differs=True,
            )
        kept = self.queries.get(entry.key)
        if kept is None:
            meta = {REWRITE: entry.rewrite} if entry.rewrite else {}
            self.queries[entry.key] = _Kept(Query(name, entry.text, meta=meta), entry.split, name)
            return
        if kept.split and entry.split and kept.split != entry.split:
            raise RowProblem(
                f"(id {shown(name)}) puts into {entry.split} the text that id {shown(kept.named_by)} puts into {kept.split}",
                "whose text another row puts into another split",
                "a text belongs to one split: remove one of them",
                differs=True,
            )
        self.copies += 1
        if entry.rewrite and REWRITE not in kept.query.meta:
            kept.query = replace(kept.query, meta={REWRITE: entry.rewrite})
        if entry.split and not kept.split:
            kept.split, kept.named_by = entry.split, name
