"""Preference pairs that came with the queries."""

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


def _pair(query: Query, given: Mapping[str, Any]) -> Pair:
    origin = dict(given.get("provenance") or {})
    source = origin.pop("source", None)
    if source not in MADE:  # what others call so
        return Pair(query.id, query.text, given["chosen"], given["rejected"], GIVEN, provenance={"rule": dict(RULE)})
    chosen_score, rejected_score = (origin.pop(f"{side}_score", None) for side in ("chosen", "rejected"))
    return Pair(
        query.id,
        query.text,
        given["chosen"],
        given["rejected"],
        source,
        chosen_score,
        rejected_score,
        provenance=origin,
    )
