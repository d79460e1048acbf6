"""A user's own queries: JSON list, JSONL or plain text, one query a line."""

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vpo.errors import UserError
from vpo.records import Query
from vpo.seeding import seed_of

TEXT_FIELDS = ("query", "text", "prompt")


class FileDataset:
    """Queries of one file, dealt to the three splits by a hash of their id.

    Formats by suffix: `.json` (a list), `.jsonl` (one value a line), `.csv` (a header line) and `.txt` (one query a line). A
    value is a string, or an object with the text under "query", "text" or "prompt" and, if it likes, an "id" and a
    "split". Queries without an id are named by the hash of their text; a text that occurs twice is kept once.

    Args:
        path: the file.
        sft, dpo, test: shares of the splits, which sum to 1.
        max_chars: a longer query is an error: it is a pasted document, not a query.
    """

    def __init__(self, path: str, sft: float, dpo: float, test: float, max_chars: int) -> None:
        self.path, self.max_chars = Path(path), max_chars
        self.shares = {"sft": sft, "dpo": dpo, "test": test}
        if abs(sum(self.shares.values()) - 1) > 1e-6:
            raise UserError(
                f"dataset.sft + dataset.dpo + dataset.test = {sum(self.shares.values()):g}; the shares must sum to 1"
            )

    def fingerprint(self) -> str:
        """The sha256 of the file."""
        return hashlib.sha256(self._bytes()).hexdigest()

    def splits(self) -> Mapping[str, list[Query]]:
        """The queries of each split in the file's order; shares hold to within one query."""
        asked: dict[str, list[Query]] = {name: [] for name in self.shares}
        free: list[Query] = []
        for query, split in self._queries():
            asked[split].append(query) if split else free.append(query)
        dealt = sorted(free, key=lambda query: seed_of("split", query.id))
        start = 0
        position = {query.id: number for number, query in enumerate(free)}
        for number, (name, share) in enumerate(self.shares.items()):
            stop = len(dealt) if number == len(self.shares) - 1 else start + round(share * len(dealt))
            asked[name] += sorted(dealt[start:stop], key=lambda query: position[query.id])
            start = stop
        return asked

    def _queries(self) -> Iterator[tuple[Query, str | None]]:
        seen: dict[str, str] = {}
        texts: set[str] = set()
        for place, value in self._values():
            text, given, split = self._read(place, value)
            if given is None and text in texts:
                continue
            texts.add(text)
            name = given or "q-" + hashlib.sha256(text.encode()).hexdigest()[:12]
            if name in seen:
                raise UserError(
                    f"{self.path}: {place} has the id {name!r} of {seen[name]}; give every query its own id"
                )
            seen[name] = place
            yield Query(name, text), split
        if not seen:
            raise UserError(
                f"{self.path}: no queries in it; give a JSON list, JSONL, CSV or text file with one query a line"
            )

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
        if split is not None and split not in self.shares:
            raise UserError(f"{self.path}: {place} has the split {split!r}; choose one of {', '.join(self.shares)}")
        return value.strip(), None if given is None else str(given), split

    def _values(self) -> Iterator[tuple[str, Any]]:
        text = self._text()
        kind = self.path.suffix.lower()
        if kind == ".json":
            try:
                values = json.loads(text)
            except ValueError as error:
                raise UserError(
                    f"{self.path}: not JSON ({error}); correct it, or name it .jsonl if it has one value a line"
                ) from error
            if not isinstance(values, list):
                raise UserError(f"{self.path}: a JSON list of queries is due, found {type(values).__name__}")
            yield from ((f"entry {number}", value) for number, value in enumerate(values, start=1))
        elif kind == ".csv":
            lines = csv.DictReader(text.splitlines())
            yield from ((f"line {number}", value) for number, value in enumerate(lines, start=2))
        elif kind in (".jsonl", ".txt"):
            for number, line in enumerate(text.splitlines(), start=1):
                if line.strip():
                    yield f"line {number}", self._json_line(number, line) if kind == ".jsonl" else line
        else:
            raise UserError(f"{self.path}: unknown suffix {kind!r}; name the file .json, .jsonl, .csv or .txt")

    def _json_line(self, number: int, line: str) -> Any:
        try:
            return json.loads(line)
        except ValueError as error:
            raise UserError(f"{self.path}: line {number} is not JSON ({error}); correct or remove it") from error

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
