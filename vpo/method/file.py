"""Prompts from a file: what another system wrote for the same queries."""

import html
import json
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from vpo.errors import UserError
from vpo.records import Failure, Query

FIELDS = ("query", "rewrite")


class FileRewrites:
    """Looks each query up in a file of rewrites; a query that is not there is a Failure.

    Two forms: JSON lines with the fields "query" and "rewrite", or two files of plain text (UTF-8) whose lines belong together. A
    query is found whatever its case, its white space and its HTML entities. Where it stands twice, the first rewrite counts.

    Args:
        path: the rewrites, `.jsonl` or plain text.
        queries: with plain text the file of the queries; null with JSON lines.

    Raises:
        UserError: a file cannot be read, has a line of another form, or the two have different numbers of lines.
    """

    def __init__(self, path: str, queries: str | None) -> None:
        if (queries is None) != path.lower().endswith((".jsonl", ".ndjson")):
            raise UserError(
                f"method: path={path} queries={queries}: give JSON lines (.jsonl) with queries=null, or rewrites as plain text with "
                "queries=<file whose lines belong to them>"
            )
        rows = _json_lines(path) if queries is None else _aligned(path, queries)
        self.rewrites: dict[str, str] = {}
        for query, rewrite in rows:
            self.rewrites.setdefault(_key(query), " ".join(rewrite.split()))

    def optimize(self, queries: Sequence[Query], seed: int) -> list[str | Failure]:
        missing = Failure("no_rewrite", "the file has no rewrite of this query")
        return [self.rewrites.get(_key(query.text)) or missing for query in queries]


def _key(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", html.unescape(text)).casefold().split())


def _lines(path: str) -> list[str]:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"method: {path}: {reason}; give a file of rewrites in UTF-8") from error
    return text.removesuffix("\n").split("\n")  # not splitlines(), which also splits at U+2028


def _aligned(path: str, queries: str) -> Iterator[tuple[str, str]]:
    rewrites, asked = _lines(path), _lines(queries)
    if len(rewrites) != len(asked):
        raise UserError(
            f"method: {path} has {len(rewrites):,} lines and {queries} has {len(asked):,}; a rewrite stands in the line of its query"
        )
    return zip(asked, rewrites, strict=True)


def _json_lines(path: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"method: {path}: line {number} is not JSON ({error}); correct it") from error
        values = [row.get(field) for field in FIELDS] if isinstance(row, dict) else [None]
        if not all(isinstance(one, str) for one in values):
            raise UserError(f"method: {path}: line {number} needs the texts {' and '.join(FIELDS)}; correct it")
        query, rewrite = map(str, values)
        yield query, rewrite
