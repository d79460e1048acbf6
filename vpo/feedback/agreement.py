"""How far several raters agree: Cohen's kappa (Educational and Psychological Measurement 20, 1960, p. 37-46), Krippendorff's alpha.

Pure functions.
"""

import itertools
from collections.abc import Hashable, Sequence
from fractions import Fraction
from typing import Any, Literal


def cohen_kappa(one: Sequence[Hashable | None], other: Sequence[Hashable | None]) -> float | None:
    """Agreement of two raters beyond chance: (p_o - p_e) / (1 - p_e).

    p_o is the share of items to which both give the same label, p_e the share that is expected of raters who draw their labels by
    chance from the frequencies that each of them shows. 1 is full agreement, 0 that of chance, below 0 is less than chance.

    Args:
        one: a label an item; None where this rater gave none. Such items are left out, on both sides.
        other: the other rater's labels of the same items.

    Returns:
        None where it is not defined: no item that both have labelled, or a single label for all that both give (p_e = 1).

    Raises:
        ValueError: The raters have not the same number of items.
    """
    both = labelled_by_both(one, other)
    if not both:
        return None
    n = len(both)
    agreed = sum(a == b for a, b in both)
    labels = {label for pair in both for label in pair}
    # In whole numbers, times n: rounding must not hide that chance explains everything.
    by_chance = sum(sum(a == label for a, _ in both) * sum(b == label for _, b in both) for label in labels)
    return None if by_chance == n * n else (agreed * n - by_chance) / (n * n - by_chance)


def labelled_by_both(
    one: Sequence[Hashable | None], other: Sequence[Hashable | None]
) -> list[tuple[Hashable, Hashable]]:
    """The two labels of each item to which both raters gave one."""
    return [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]


def krippendorff_alpha(
    units: Sequence[Sequence[Any]], level: Literal["nominal", "ordinal"] = "nominal"
) -> float | None:
    """Agreement of any number of raters, some of whom may have labelled some units only: 1 - D_o / D_e.

    Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011 (repository.upenn.edu/asc_papers/43). D_o is the mean disagreement
    within the units and D_e that of all labels, whosoever gave them: 1 is full agreement, 0 that of chance.

    Args:
        units: the labels of each unit; those with fewer than two say nothing.
        level: labels are categories (any two differ alike), or numbers of which the ranks count.

    Returns:
        None where it is not defined: no unit with two labels, or a single label for all.
    """
    together: dict[tuple[Any, Any], Fraction] = {}
    counts: dict[Any, Fraction] = {}
    for labels in units:
        for pair in itertools.permutations(labels, 2):
            number = Fraction(1, len(labels) - 1)
            together[pair] = together.get(pair, Fraction(0)) + number
            counts[pair[0]] = counts.get(pair[0], Fraction(0)) + number
    order = list(counts) if level == "nominal" else sorted(counts)
    place = {label: number for number, label in enumerate(order)}

    def apart(one: Any, other: Any) -> Fraction:
        if level == "nominal":
            return Fraction(one != other)
        low, high = sorted((place[one], place[other]))
        between = sum(counts[label] for label in order[low : high + 1])
        return Fraction(between - (counts[one] + counts[other]) / 2) ** 2

    expected = sum(counts[one] * counts[other] * apart(one, other) for one in order for other in order)
    if not expected:
        return None
    observed = sum(number * apart(*pair) for pair, number in together.items())
    return float(1 - (sum(counts.values()) - 1) * observed / expected)
