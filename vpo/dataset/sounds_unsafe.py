"""Harmless queries that sound unsafe, as test queries: what an optimizer that is too careful refuses or waters down.

A list of our own (`sounds_unsafe.jsonl`), after the idea of XSTest (arXiv 2308.01263): words of harm in a harmless sense ("a
photographer shoots a wedding"), harmless things with a frightening name, and sights that are documentary.
"""

import hashlib
import json
from collections.abc import Mapping
from importlib import resources

from vpo.records import Query

_FILE = "sounds_unsafe.jsonl"


class SoundsUnsafe:
    """Test queries alone: for methods that are not trained here. `Query.meta` says `harmless` and what each `sounds_like`."""

    may_be_empty = ("sft", "dpo")

    def splits(self) -> Mapping[str, list[Query]]:
        """No query to train on, and all of the list as test queries, in its order."""
        rows = [json.loads(line) for line in _text().splitlines()]
        test = [
            Query(f"sounds-{number:03d}", row["query"], meta={"harmless": True, "sounds_like": row["sounds_like"]})
            for number, row in enumerate(rows)
        ]
        return {"sft": [], "dpo": [], "test": test}

    def fingerprint(self) -> str:
        """The sha256 of the list."""
        return hashlib.sha256(_text().encode()).hexdigest()


def _text() -> str:
    return resources.files("vpo.dataset").joinpath(_FILE).read_text(encoding="utf-8")
