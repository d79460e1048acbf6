"""Preference pairs that came with the queries, and how a pair stands in a file that others read, too."""

from collections.abc import Mapping, Sequence
from typing import Any

from vpo.feedback.pairing import numbered
from vpo.records import Pair, Query

PAIRS = "pairs"  # of `Query.meta`: a list of {"chosen", "rejected"} and, where it is known, "provenance"
GIVEN = "given"
MADE = ("text", "sampled", "video")  # the sources of pairs that `vpo` makes
RULE: Mapping[str, Any] = {"name": "given by the data set"}


def given_pairs(queries: Sequence[Query]) -> list[Pair]:
    """The pairs of the queries' `meta`, in their order; a query may have several, or none.

    A pair that `vpo pairs export` wrote has the source, the scores and the provenance that it had then.
    """
    pairs = [_pair(query, given) for query in queries for given in query.meta.get(PAIRS, ())]
    return numbered(pairs)


def provenance_of(pair: Pair) -> dict[str, Any]:
    """What a pair says besides its three texts and the query's id, as plain values."""
    facts = {"source": pair.source, "chosen_score": pair.chosen_score, "rejected_score": pair.rejected_score}
    return {name: value for name, value in facts.items() if value is not None} | dict(pair.provenance)


def _pair(query: Query, given: Mapping[str, Any]) -> Pair:
    origin = dict(given.get("provenance") or {})
    source = origin.pop("source", None)
    if source not in MADE:  # what others call so
        return Pair(query.id, query.text, given["chosen"], given["rejected"], GIVEN, provenance={"rule": dict(RULE)})
    scores = [origin.pop(f"{side}_score", None) for side in ("chosen", "rejected")]
    return Pair(query.id, query.text, given["chosen"], given["rejected"], source, *scores, provenance=origin)
