"""The baseline that changes nothing: the query is the prompt."""

from collections.abc import Sequence

from vpo.records import Query


class Original:
    """Passes every query through, stripped."""

    def optimize(self, queries: Sequence[Query], seed: int) -> list[str]:
        return [query.text.strip() for query in queries]
