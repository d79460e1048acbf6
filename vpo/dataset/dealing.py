"""How many queries each split gets, and which."""

from collections.abc import Mapping, Sequence

from vpo.errors import UserError
from vpo.records import Query
from vpo.seeding import seed_of


class Amounts:
    """What a config says of the sizes of the three splits.

    Args:
        sft, dpo, test: up to 1 a share, above 1 a count. Counts are taken first (a query that names its split is among them), shares
            are of what remains. Shares alone sum to 1.
    """

    def __init__(self, sft: float, dpo: float, test: float) -> None:
        self.of = {"sft": sft, "dpo": dpo, "test": test}
        for name, amount in self.of.items():
            number = isinstance(amount, int | float) and not isinstance(amount, bool)
            if not number or not (0 <= amount <= 1 or (amount > 1 and amount % 1 == 0)):
                raise UserError(
                    f"dataset.{name}={amount} must be a share of the queries between 0 and 1, or a count: a whole number above 1"
                )
        shares = self._shares()
        total = sum(shares.values())
        if total > 1 + 1e-6 or (len(shares) == len(self.of) and total < 1 - 1e-6):
            raise UserError(
                f"{' + '.join(f'dataset.{name}' for name in shares)} = {total:g}; the shares must sum to 1"
                f"{'' if len(shares) == len(self.of) else ' or less beside counts'}"
            )

    def deal(self, queries: Sequence[tuple[Query, str | None]], source: str) -> tuple[dict[str, list[Query]], int]:
        """The queries of each split, in their order, and how many are left over; shares hold to within one query.

        Args:
            queries: each with the split that it names, or None: these are dealt by a hash of their id.
            source: how a message calls where they come from.

        Raises:
            UserError: they are too few for the counts.
        """
        splits: dict[str, list[Query]] = {name: [] for name in self.of}
        free: list[Query] = []
        for query, split in queries:
            splits[split].append(query) if split else free.append(query)
        dealt = sorted(free, key=lambda query: seed_of("split", query.id))
        position = {query.id: number for number, query in enumerate(free)}
        start = 0
        for name, size in self._sizes({name: len(rows) for name, rows in splits.items()}, len(free), source).items():
            splits[name] += sorted(dealt[start : start + size], key=lambda query: position[query.id])
            start += size
        return splits, len(dealt) - start

    def _shares(self) -> dict[str, float]:
        return {name: amount for name, amount in self.of.items() if amount <= 1}

    def _sizes(self, asked: Mapping[str, int], free: int, source: str) -> dict[str, int]:
        """How many of the free queries each split gets; `asked` are those that name their split."""
        shares = self._shares()
        sizes = {name: 0 if name in shares else max(0, int(n) - asked[name]) for name, n in self.of.items()}
        rest = left = free - sum(sizes.values())
        if rest < 0:
            counts = {name: int(n) for name, n in self.of.items() if name not in shares}
            raise UserError(
                f"{source}: {free + sum(asked.values())} different queries are too few for "
                f"{' '.join(f'dataset.{name}={n}' for name, n in counts.items())}; give more, lower the counts, or set "
                "shares: dataset.sft=0.5 dataset.dpo=0.25 dataset.test=0.25"
            )
        all_of_it = abs(sum(shares.values()) - 1) <= 1e-6
        for number, (name, share) in enumerate(shares.items(), 1):
            sizes[name] = left if all_of_it and number == len(shares) else min(left, round(share * rest))
            left -= sizes[name]
        return sizes
