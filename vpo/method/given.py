"""The rewrites that came with the queries, as drafts or as a row of a table."""

from collections.abc import Sequence

from vpo.records import Failure, Query

REWRITE = "rewrite"  # of `Query.meta`, where the data set puts it


class Given:
    """Gives each query the rewrite that its data set has for it (`Query.meta`); a query without one is a Failure.

    As a drafter it takes a few-shot language model's place: given drafts are critiqued and refined like any others.
    """

    def optimize(self, queries: Sequence[Query], seed: int) -> list[str | Failure]:
        return [
            one.meta.get(REWRITE) or Failure("no_rewrite", "the data set gives no rewrite for this query")
            for one in queries
        ]
