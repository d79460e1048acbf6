"""VidProM: 1.67 million prompts of text-to-video users, read in one pass (Wang and Yang 2024, arXiv 2403.06098)."""

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator, Mapping

from vpo.dataset.distinct import COPIES
from vpo.dataset.reading.columns import Columns
from vpo.dataset.reading.data_file import DataFile
from vpo.dataset.reading.entries import read_entry
from vpo.dataset.reading.problems import BrokenTable, FileProblem, Place, RowProblem, in_one_line, shown
from vpo.dataset.reading.source import shown_path
from vpo.errors import UserError
from vpo.records import Query
from vpo.storage.progress import Bar

# Scores of Detoxify's "unbiased" classes, from 0 to 1.
TOXICITY = ("toxicity", "obscene", "identity_attack", "insult", "threat", "sexual_explicit")
COLUMNS = Columns({"query": "prompt", "id": "uuid"}, {name: name for name in TOXICITY})
SPLITS = ("test", "dpo", "sft")  # in the order in which they get their queries
BAR_STEP = 2000  # rows
MB = 10**6


class VidProM:
    """The queries of a file of VidProM, of which each split gets a number that is drawn by a hash of the text.

    The file is read row by row, so that memory goes with the queries that are drawn and not with the file. A text that occurs again is
    one query, under its first id. Near-duplicates are kept: `curation` finds them.

    `Query.id` is the row's uuid. `Query.meta` holds the six scores by the names of their columns. Rows that cannot be used
    (empty ones, longer ones than `max_chars`, without a score between 0 and 1) are left out and counted: of a million rows that users
    typed some are always of no use. What is wrong with the file as a whole is an error.

    Args:
        path: VidProM_unique.csv or VidProM_semantic_unique.csv of the data set `WenhaoWang/VidProM` (CC BY-NC 4.0), also as .csv.gz or
            .parquet, with the columns uuid, prompt, toxicity, obscene, identity_attack, insult, threat, sexual_explicit.
        sft, dpo, test: how many queries each split gets.
        max_chars: longer rows are left out.

    Attributes:
        left_out: how many rows the last pass did not use, by reason.
        in_fingerprint: where the file lies; `fingerprint()` hashes its content.
    """

    in_fingerprint = ("path",)

    def __init__(self, path: str, sft: int, dpo: int, test: int, max_chars: int) -> None:
        self.path, self.max_chars = shown_path(path), max_chars
        self.amounts = {"test": test, "dpo": dpo, "sft": sft}
        for name, amount in self.amounts.items():
            if not isinstance(amount, int) or isinstance(amount, bool) or amount < 1:
                raise UserError(
                    f"dataset.{name}={amount} must be a whole number of at least 1: how many queries it gets"
                )
        self.left_out: dict[str, int] = {}
        self._file = DataFile(path, COLUMNS)

    def fingerprint(self) -> str:
        """The sha256 of the suffix and the content."""
        try:
            return self._file.fingerprint()
        except FileProblem as problem:
            raise self._error(problem) from problem

    def stream(self) -> Iterator[Query]:
        """Every usable row as a query, in the file's order, texts that occur again included.

        Raises:
            UserError: the file cannot be read, lacks a column, or none of its rows can be used.
        """
        return (query for _, query in self._rows())

    def _rows(self) -> Iterator[tuple[str, Query]]:
        """The comparison key and the query of every usable row."""
        left_out: Counter[str] = Counter()
        first: tuple[Place, RowProblem] | None = None
        used = 0
        try:
            for place, value in self._file.values():
                try:
                    row = self._row(value)
                except BrokenTable as problem:
                    raise FileProblem(in_one_line([(place, problem)])) from problem
                except RowProblem as problem:
                    left_out[f"rows {problem.many}"] += 1
                    first = first or (place, problem)
                    continue
                used += 1
                yield row
            if not used:
                raise FileProblem(
                    f"no row can be used; {in_one_line([first])}" if first else "no rows in it; download it again"
                )
        except FileProblem as problem:
            raise self._error(problem) from problem
        finally:
            self.left_out = dict(left_out)

    def splits(self) -> Mapping[str, list[Query]]:
        """The queries of each split, in the order in which they were drawn.

        Raises:
            UserError: the file cannot be read, or has too few queries.
        """
        draw = _Draw(sum(self.amounts.values()))
        with Bar("MB of VidProM", self._file.size // MB) as bar:
            for number, (key, query) in enumerate(self._rows()):
                draw.add(key, query)
                if number % BAR_STEP == 0:
                    bar.advance(self._file.position // MB - bar.done)
        queries = draw.queries()
        if len(queries) < draw.size:
            asked = " ".join(f"dataset.{name}={amount}" for name, amount in self.amounts.items())
            raise UserError(
                f"{self.path}: {len(queries):,} different queries are too few for {asked}; lower the numbers"
            )
        if draw.copies:
            self.left_out[COPIES] = draw.copies
        self.left_out["rows not drawn"] = draw.left_over
        splits, start = {}, 0
        for name in SPLITS:
            splits[name] = queries[start : start + self.amounts[name]]
            start += self.amounts[name]
        return splits

    def _row(self, value: object) -> tuple[str, Query]:
        if isinstance(value, RowProblem):
            raise value
        entry = read_entry(value, self.max_chars, COLUMNS)
        if entry.id is None:
            raise RowProblem("has no uuid", "without a uuid")
        scores = {name: _score(name, entry.labels.get(name)) for name in TOXICITY}
        return entry.key, Query(entry.id, entry.text, meta=scores)

    def _error(self, problem: FileProblem) -> UserError:
        lacking = str(problem).replace("which dataset.columns names", "which VidProM's files have")
        return UserError(f"{self.path}: {lacking.replace(', or say in dataset.columns.query how it is called', '')}")


class _Draw:
    """A draw of texts from a stream: those whose hash is least, whatever the order of the stream, each once."""

    def __init__(self, size: int) -> None:
        self.size, self.copies, self.left_over = size, 0, 0
        self._kept: dict[int, Query] = {}
        self._largest: list[int] = []  # a heap of the negated hashes

    def add(self, key: str, query: Query) -> None:
        """Draw the query, whose text has this comparison key, or not."""
        number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
        if number in self._kept:
            self.copies += 1
            return
        if len(self._kept) == self.size and number > -self._largest[0]:
            self.left_over += 1
            return
        self._kept[number] = query
        heapq.heappush(self._largest, -number)
        if len(self._kept) > self.size:
            del self._kept[-heapq.heappop(self._largest)]
            self.left_over += 1

    def queries(self) -> list[Query]:
        """Those that were drawn, by their hash."""
        return [self._kept[number] for number in sorted(self._kept)]


def _score(name: str, given: object) -> float:
    """A score of Detoxify's. Raises RowProblem for what is none."""
    try:
        score = float(given) if isinstance(given, str | int | float) else -1.0
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise RowProblem(
            f"has the {name} {shown(given)}, which is no score from 0 to 1", "with a score that is none from 0 to 1"
        )
    return score
