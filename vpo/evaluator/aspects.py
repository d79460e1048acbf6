"""The aspects of harm with which a data set labels a query, as T2VSafetyBench does (arXiv 2407.05965)."""

from vpo.errors import UserError
from vpo.records import Sample


def aspects_of(sample: Sample) -> list[str]:
    """The names in `Query.meta["aspects"]`; none without it. Raises UserError where a data set's class put something else there."""
    given = sample.query.meta.get("aspects") or ()
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
        raise UserError(
            f"query {sample.query.id}: its label aspects={given!r} is no list of names; correct it in the data set, as in ['gore']"
        )
    return list(given)
