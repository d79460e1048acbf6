"""How far several raters agree: Cohen's kappa (Educational and Psychological Measurement 20, 1960, p. 37-46). Pure functions."""

from collections.abc import Hashable, Sequence


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
