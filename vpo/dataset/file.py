"""A user's own queries: a JSON list, JSONL, CSV or plain text, one query a line."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vpo.errors import UserError
from vpo.records import Query
from vpo.seeding import seed_of

TEXT_FIELDS = ("query", "text", "prompt")

# An id is the first part of file names (`<id>-<method>.mp4`), which file systems limit to 255 bytes.
ID_CHARS, ID_BYTES = 100, 200


class FileDataset:
    """Queries of one file, dealt to the three splits by a hash of their id.

    Formats by suffix: `.json` (a list), `.jsonl` (one value a line), `.csv` (a header line) and `.txt` (one query a line). A
    value is a string, or an object with the text under "query", "text" or "prompt" and, if it likes, an "id" and a
    "split". Queries without an id are named by the hash of their text. A text that occurs again, in whatever case and
    spacing, is kept once, under its first id, so that no test query is trained on. An id is a string that can be part of a
    file name.

    Args:
        path: the file.
        sft, dpo, test: how many queries a split gets: up to 1 a share, above 1 a count. Counts are taken first (an entry
            that names its split is among them), shares are of what remains. Shares alone sum to 1.
        max_chars: a longer query is an error: it is a pasted document, not a query.

    Attributes:
        left_out: what the last `splits()` did not use, by reason.
        in_fingerprint: arguments that change the queries by the content of the file alone, which `fingerprint()` hashes.
    """

    in_fingerprint = ("path",)

    def __init__(self, path: str, sft: float, dpo: float, test: float, max_chars: int) -> None:
        self.path, self.max_chars = Path(path), max_chars
        self.amounts = {"sft": sft, "dpo": dpo, "test": test}
        self.left_out: dict[str, int] = {}
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
        """The sha256 of the suffix and the content: the suffix says how the content is read."""
        return hashlib.sha256(self._kind.encode() + b"\0" + self._bytes()).hexdigest()

    @property
    def _kind(self) -> str:
        return self.path.suffix.lower()

    def splits(self) -> Mapping[str, list[Query]]:
        """The queries of each split in the file's order; shares hold to within one query."""
        asked: dict[str, list[Query]] = {name: [] for name in self.amounts}
        free: list[Query] = []
        for query, split in self._queries():
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

    def _queries(self) -> Iterator[tuple[Query, str | None]]:
        """Every text once, by the first entry that has it, with the split that any of its entries names."""
        places: dict[str, tuple[str, str]] = {}  # id -> where it stands, and for which text
        found: dict[str, tuple[Query, str | None, str]] = {}
        copies = 0
        for place, value in self._values():
            text, given, split = self._read(place, value)
            name = given or "q-" + hashlib.sha256(text.encode()).hexdigest()[:12]
            same = " ".join(text.split()).casefold()
            where, other = places.setdefault(name, (place, same))
            if other != same:
                raise UserError(f"{self.path}: {place} has the id {name!r} of {where}; give every query its own id")
            if same not in found:
                found[same] = Query(name, text), split, name
                continue
            copies += 1
            query, first, by = found[same]
            if first and split and first != split:
                raise UserError(
                    f"{self.path}: {place}, id {name!r}, puts into {split} the text that id {by!r} puts into {first}; a "
                    "text belongs to one split: remove one of them"
                )
            if split and not first:
                found[same] = query, split, name
        if not found:
            raise UserError(
                f"{self.path}: no queries in it; give a JSON list, JSONL, CSV or text file with one query a line"
            )
        self.left_out = {"duplicates dropped": copies} if copies else {}
        yield from ((query, split) for query, split, _ in found.values())

    def _read(self, place: str, value: Any) -> tuple[str, str | None, str | None]:
        given, split = None, None
        if isinstance(value, dict):
            field = next((name for name in TEXT_FIELDS if name in value), None)
            if field is None:
                raise UserError(
                    f"{self.path}: {place} has no field {' or '.join(TEXT_FIELDS)}; found {', '.join(value) or 'nothing'}"
                )
            given, split = value.get("id"), value.get("split")
            value = value[field]
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{self.path}: {place} is not a query (a string that is not empty); correct or remove it")
        if len(value) > self.max_chars:
            raise UserError(
                f"{self.path}: {place} has {len(value):,} characters, more than dataset.max_chars={self.max_chars}; shorten it or "
                "raise the limit"
            )
        self._check_unicode(place, value)
        # A list of the names, as a list or an object cannot be looked up among a dict's keys.
        if split is not None and split not in list(self.amounts):
            raise UserError(f"{self.path}: {place} has the split {split!r}; choose one of {', '.join(self.amounts)}")
        return value.strip(), self._id(place, given), split

    def _id(self, place: str, given: Any) -> str | None:
        """The id as it stands, None where none is given (an empty cell of a CSV file, say)."""
        if given is None or given == "":
            return None
        if not isinstance(given, str):
            raise UserError(f"{self.path}: {place} has the id {given!r}, which is not a string; put it in quotes")
        self._check_unicode(place, given)
        if len(given) > ID_CHARS or len(given.encode()) > ID_BYTES:
            raise UserError(
                f"{self.path}: {place} has an id of {len(given):,} characters, {given[:20]!r}...; ids become file "
                f"names: shorten it to {ID_CHARS} characters and {ID_BYTES} bytes"
            )
        if given.startswith(".") or any(one in given for one in "/\\\0"):
            raise UserError(
                f"{self.path}: {place} has the id {given!r}; ids become file names: take out / and \\ and NUL, and a "
                "dot at the start"
            )
        return given

    def _check_unicode(self, place: str, text: str) -> None:
        """Refuse half of a surrogate pair: JSON can write one ("\\ud800"), UTF-8 files cannot hold it."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{self.path}: {place} holds {text[error.start]!a}, half of a surrogate pair; correct or remove it"
            ) from error

    def _values(self) -> Iterator[tuple[str, Any]]:
        readers = {".json": self._json_list, ".jsonl": self._json_lines, ".csv": self._csv_rows, ".txt": self._lines}
        text = self._text()
        if self._kind not in readers:
            raise UserError(f"{self.path}: unknown suffix {self._kind!r}; name the file .json, .jsonl, .csv or .txt")
        return readers[self._kind](text)

    def _json_list(self, text: str) -> Iterator[tuple[str, Any]]:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{self.path}: not JSON ({error}); correct it, or name it .jsonl if it has one value a line"
            ) from error
        if not isinstance(values, list):
            raise UserError(f"{self.path}: a JSON list of queries is due, found {type(values).__name__}")
        yield from ((f"entry {number}", value) for number, value in enumerate(values, start=1))

    def _csv_rows(self, text: str) -> Iterator[tuple[str, Any]]:
        # newline="" leaves the line ends inside of quotes to the parser; a row is named by its last line.
        reader = csv.DictReader(io.StringIO(text, newline=""))
        try:
            for row in reader:
                if None in row:
                    raise UserError(
                        f"{self.path}: line {reader.line_num} has more columns than the header's "
                        f"{len(reader.fieldnames or ())}; put a query that holds commas in double quotes"
                    )
                yield f"line {reader.line_num}", row
        except csv.Error as error:
            # The inner reader's number: that of DictReader is still the last good row's.
            raise UserError(
                f"{self.path}: line {reader.reader.line_num} is not CSV ({error}); close its quotes or "
                "shorten the field"
            ) from error

    def _json_lines(self, text: str) -> Iterator[tuple[str, Any]]:
        for place, line in self._lines(text):
            yield place, self._json_line(place, line)

    def _lines(self, text: str) -> Iterator[tuple[str, str]]:
        # Not splitlines(): it also splits at U+2028, U+2029 and U+0085, which a query may hold.
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield f"line {number}", line.removesuffix("\r")

    def _json_line(self, place: str, line: str) -> Any:
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.path}: {place} is not JSON ({error}); correct or remove it") from error

    def _text(self) -> str:
        content = self._bytes()
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise UserError(
                f"{self.path}: line {line} is not UTF-8 (byte {error.start}); convert the file to UTF-8"
            ) from error

    def _bytes(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror.lower()}; set dataset.path to a file of queries") from error
