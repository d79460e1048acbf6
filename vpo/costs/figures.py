"""Numbers that say how well they are known, through all arithmetic."""

from collections.abc import Iterable
from dataclasses import dataclass

# From the best to the worst. A count that the config or the store gives is exact.
BASES = ("exact", "measured", "card", "estimate", "?")


@dataclass(frozen=True)
class Figure:
    """A number, and where it comes from.

    Attributes:
        value: None where nobody knows it.
        basis: of `BASES`: "measured" by us, "card": published by the authors, "estimate": by arithmetic or a guess; of a sum or
            product the worst of its parts.
        more: whether an unknown part is missing in the value, which is a lower bound then.
    """

    value: float | None = None
    basis: str = "?"
    more: bool = False

    @property
    def known(self) -> bool:
        return self.value is not None

    def __mul__(self, other: "Figure | float") -> "Figure":
        other = other if isinstance(other, Figure) else exact(other)
        if 0 in (self.value, other.value):
            return exact(0)
        if self.value is None or other.value is None:
            return UNKNOWN
        return Figure(self.value * other.value, _worst(self, other), self.more or other.more)

    __rmul__ = __mul__

    def __add__(self, other: "Figure") -> "Figure":
        if self.value is None or other.value is None:
            known = (self.value or 0.0) + (other.value or 0.0)
            return UNKNOWN if not known else Figure(known, _worst_known(self, other), more=True)
        basis = other.basis if not self.value else self.basis if not other.value else _worst(self, other)
        return Figure(self.value + other.value, basis, self.more or other.more)

    def weaker(self, basis: str) -> "Figure":
        """The same number, known no better than this."""
        return self if self.value is None else Figure(self.value, _worst(self, Figure(0, basis)), self.more)


UNKNOWN = Figure()
NOTHING = Figure(0, "exact")


def exact(value: float) -> Figure:
    """A number that is certain."""
    return Figure(value, "exact")


def total(figures: Iterable[Figure]) -> Figure:
    """Their sum; where some are unknown, a lower bound."""
    found = exact(0)
    for one in figures:
        found = found + one
    return found


def _worst(*figures: Figure) -> str:
    return max((one.basis for one in figures), key=BASES.index)


def _worst_known(*figures: Figure) -> str:
    return max((one.basis for one in figures if one.known and one.value), key=BASES.index)
