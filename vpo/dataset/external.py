"""The queries of what others made: of prompts and clips that `vpo evaluate` is given."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from vpo.dataset.distinct import joined
from vpo.errors import UserError
from vpo.external.material import Source, read_material
from vpo.records import Query, to_json
from vpo.storage.jsonio import canonical


class ExternalQueries:
    """All queries that some method has a prompt or a clip of, as test queries: nothing is trained on them.

    Args:
        sources: by method, where its prompts and clips lie: {prompts: file, clips: folder, method: name in the file}, see
            `vpo.external.material.Source`.

    Attributes:
        in_fingerprint: arguments whose effect on the queries `fingerprint()` hashes.
        may_be_empty: splits that hold nothing.

    Raises:
        UserError: when the queries are asked for: a source cannot be read, or two queries have one id.
    """

    in_fingerprint = ("sources",)
    may_be_empty = ("sft", "dpo")

    def __init__(self, sources: dict[str, Any]) -> None:
        self.sources = sources

    @cached_property
    def queries(self) -> list[Query]:
        """All of them, read when they are first asked for."""
        if not self.sources:
            raise UserError("dataset.sources names no method; `vpo evaluate clips=<folder> prompts=<file>` fills it in")
        return list(_queries(self.sources).values())

    def fingerprint(self) -> str:
        """The SHA-256 of the queries with their ids and labels."""
        return hashlib.sha256(canonical([to_json(one) for one in self.queries]).encode()).hexdigest()

    def splits(self) -> Mapping[str, list[Query]]:
        """The queries in the order of the first method's file, then those that only later methods have."""
        return {"sft": [], "dpo": [], "test": list(self.queries)}


def _queries(sources: Mapping[str, Any]) -> dict[str, Query]:
    """By the key of their text. A query's id is the first method's that has it; labels are those of all."""
    found: dict[str, Query] = {}
    for name, node in sources.items():
        for given in read_material(Source.of(node, f"dataset.sources.{name}")).by_key.values():
            first = found.setdefault(given.key, given.query)
            found[given.key] = replace(first, meta=joined(first.meta, given.query.meta))
    ids: dict[str, Query] = {}
    for query in found.values():
        other = ids.setdefault(query.id, query)
        if other is not query:
            raise UserError(
                f"prompts: the id {query.id!r} stands for two queries, {other.text[:40]!r} and {query.text[:40]!r}; give each its own"
            )
    return found
