"""A method of which only the prompts are here: others have run it, as `vpo evaluate` is given them."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from vpo.external.material import Material, Source, read_material
from vpo.records import Failure, Query


class ExternalPrompts:
    """Looks each query up in the method's material; a query of which it has nothing, or an empty prompt, is a Failure.

    Args:
        source: where it lies; see `vpo.external.material.Source`.

    Raises:
        UserError: when it is first asked: the material cannot be read.
    """

    def __init__(self, source: dict[str, Any]) -> None:
        self.source = source

    @cached_property
    def material(self) -> Material:
        """What is given."""
        return read_material(Source.of(self.source))

    @staticmethod
    def contents(node: Mapping[str, Any]) -> str:
        """A hash of the prompts, and of the clips that were made from them."""
        return read_material(Source.of(node["source"])).contents()

    def optimize(self, queries: Sequence[Query], seed: int) -> list[str | Failure]:
        missing = Failure("no_prompt", "this method has no prompt of this query")
        empty = Failure("no_prompt", "its prompt is empty; leave the field out where the query itself is the prompt")
        found = [self.material.of_query(query.text) for query in queries]
        return [missing if one is None else one.prompt or empty for one in found]
