"""Numbers keep how well they are known."""

import pytest

from vpo.costs.figures import NOTHING, UNKNOWN, Figure, exact, total

MEASURED, CARD, GUESS = Figure(2.0, "measured"), Figure(3.0, "card"), Figure(5.0, "estimate")


@pytest.mark.parametrize(
    ("found", "value", "basis", "more"),
    [
        (MEASURED * CARD, 6.0, "card", False),
        (MEASURED * 4, 8.0, "measured", False),
        (4 * CARD, 12.0, "card", False),
        (exact(3) * GUESS, 15.0, "estimate", False),
        (MEASURED * UNKNOWN, None, "?", False),
        (NOTHING * UNKNOWN, 0, "exact", False),  # nothing of what nobody knows is nothing
        (MEASURED + CARD, 5.0, "card", False),
        (MEASURED + NOTHING, 2.0, "measured", False),
        (MEASURED + UNKNOWN, 2.0, "measured", True),  # a lower bound
        (UNKNOWN + NOTHING, None, "?", False),
        (total([MEASURED, UNKNOWN, GUESS]), 7.0, "estimate", True),
        (total([MEASURED, UNKNOWN]) * 2, 4.0, "measured", True),
        (total([]), 0, "exact", False),
        (MEASURED.weaker("estimate"), 2.0, "estimate", False),
        (GUESS.weaker("card"), 5.0, "estimate", False),
    ],
)
def test_arithmetic(found, value, basis, more):
    assert (found.value, found.basis, found.more) == (value, basis, more)
