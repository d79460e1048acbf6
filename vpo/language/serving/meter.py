"""What requests cost, and the limit that a run must not exceed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vpo.errors import UserError
from vpo.language.serving.calls import Call
from vpo.records import Usage
from vpo.storage.ledger import Ledger, Spent

MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """Of a million tokens, in any one currency; None where they are not known."""

    tokens_in: float | None = None
    tokens_out: float | None = None

    def cost(self, tokens_in: int, tokens_out: int) -> float | None:
        """What so many tokens cost."""
        if self.tokens_in is None or self.tokens_out is None:
            return None
        return (self.tokens_in * tokens_in + self.tokens_out * tokens_out) / MILLION


@dataclass(frozen=True)
class Meter:
    """Adds up what requests cost.

    Attributes:
        prices: of tokens.
        max_cost: of the whole run, over all its processes and starts; None for no limit.
        ledger: keeps the sums.
    """

    prices: Prices
    max_cost: float | None
    ledger: Ledger

    @property
    def spent(self) -> Spent:
        """The totals so far."""
        return self.ledger.spent

    def begin(self, call: Call) -> str | None:
        """Before a request. Raises UserError where it could exceed `max_cost`: the bytes of a prompt bound its tokens."""
        if self.max_cost is None:
            return None
        bound = self.prices.cost(call.most_in, call.most_out) or 0.0
        ticket = self.ledger.reserve(bound, self.max_cost)
        if ticket is None:
            spent = self.ledger.spent
            raise UserError(
                f"engine.max_cost={self.max_cost:g} could be exceeded by the next request (up to {bound:.4g}): this run has spent "
                f"{spent.cost or 0.0:.4g}" + (f", and up to {spent.unknown:.4g} for requests under way or without an answer"
                                             if spent.unknown else "")
                + "; raise it to go on, what is paid is kept in the cache"
            )  # fmt: skip
        return ticket

    def free(self, ticket: str | None) -> None:
        """After a request that was refused, which costs nothing."""
        self.ledger.close(ticket, None)

    def end(self, ticket: str | None, call: Call, answer: Mapping[str, Any]) -> dict[str, Any]:
        """After an answer: the answer with its cost. Where the server does not count its tokens, it is charged what it may take."""
        counted = answer["tokens_in"] is not None and answer["tokens_out"] is not None
        tokens_in = answer["tokens_in"] if counted else call.most_in
        tokens_out = answer["tokens_out"] if counted else call.most_out
        cost = self.prices.cost(tokens_in, tokens_out)
        if cost is None:
            cost = answer["cost"]
        self.ledger.close(ticket, Usage(answer["tokens_in"] or 0, answer["tokens_out"] or 0, cost))
        return {**answer, "cost": cost}

    def cached(self, count: int) -> None:
        """Answers that were in the cache."""
        self.ledger.add_cached(count)
