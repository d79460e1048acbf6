"""What a server's jobs cost, in the ledger of the run."""

from dataclasses import dataclass

from vpo.errors import UserError
from vpo.records import Usage
from vpo.storage.ledger import Ledger


@dataclass(frozen=True)
class Charges:
    """Adds up what jobs cost.

    Attributes:
        price: of one clip, in any one currency; None where it is not known.
        max_cost: of the whole run, over all its processes and starts; None for no limit.
        ledger: keeps the sums.
    """

    price: float | None
    max_cost: float | None
    ledger: Ledger

    def begin(self) -> str | None:
        """Before a job is asked for. Raises UserError where it could exceed `max_cost`."""
        if self.max_cost is None:
            return None
        ticket = self.ledger.reserve(self.price or 0.0, self.max_cost)
        if ticket is None:
            spent = self.ledger.spent
            raise UserError(
                f"generator.max_cost={self.max_cost:g} would be exceeded by the next clip ({self.price:g}): this run has spent "
                f"{spent.cost or 0.0:.4g}, and up to {spent.unknown:.4g} for requests without an answer; raise it to go on, what is "
                "paid is kept"
            )
        return ticket

    def free(self, ticket: str | None) -> None:
        """After a request that was refused, which costs nothing."""
        self.ledger.close(ticket, None)

    def end(self, ticket: str | None) -> None:
        """After a job was made."""
        self.ledger.close(ticket, Usage(cost=self.price))
