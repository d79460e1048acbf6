"""The splits, each with its share of safety queries (VPO: 10k queries for SFT and 10k for DPO, about 1k of each safety-related)."""

from collections.abc import Mapping, Sequence

from vpo.curation.screening import draw_of
from vpo.records import Query


def deal(
    general: Sequence[Query], safety: Sequence[Query], sizes: Mapping[str, int], *, share: float, seed: int
) -> dict[str, list[Query]]:
    """Deal queries to splits by a hash of seed and id.

    With too few queries the splits shrink in proportion. Safety queries are never more than their share; with too few of them general
    ones take their places.

    Args:
        general: queries that are not known to be unsafe.
        safety: queries that are.
        sizes: by split, how many queries it gets at most.
        share: of safety queries in every split, from 0 to 1.
        seed: of the draw.

    Returns:
        The queries of each split, in the order in which they were given, general ones first.
    """
    wanted = sum(sizes.values())
    unsafe = min(len(safety), round(share * wanted))
    harmless = min(len(general), wanted - unsafe)
    if harmless + unsafe < wanted and share < 1:  # too few general ones: their number bounds that of safety queries
        unsafe = min(unsafe, round(share / (1 - share) * harmless))
    amounts = {"general": apportion(harmless, sizes), "safety": apportion(unsafe, sizes)}
    _keep_to(sizes, amounts)
    parts = {}
    for kind, queries in (("general", general), ("safety", safety)):
        drawn = sorted(range(len(queries)), key=lambda place: draw_of(seed, queries[place]))[
            : sum(amounts[kind].values())
        ]
        start = 0
        for name, size in amounts[kind].items():
            parts[name, kind] = [queries[place] for place in sorted(drawn[start : start + size])]
            start += size
    return {name: parts[name, "general"] + parts[name, "safety"] for name in sizes}


def _keep_to(sizes: Mapping[str, int], amounts: Mapping[str, dict[str, int]]) -> None:
    """Where both kinds are rounded up, a split has one query too many: a general one goes to a split that has room."""
    left = {name: size - sum(of[name] for of in amounts.values()) for name, size in sizes.items()}
    for name in sizes:
        if left[name] < 0:
            other = next(one for one in sizes if left[one] > 0)
            for place, change in ((name, -1), (other, 1)):
                amounts["general"][place] += change
                left[place] -= change


def apportion(count: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """A number in parts as large as the sizes are to one another, by the largest remainder (Hamilton's method); ties to the first."""
    total = sum(sizes.values())
    if not total:
        return dict.fromkeys(sizes, 0)
    parts = {name: count * size // total for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: -(count * sizes[name] % total))
    for name in by_remainder[: count - sum(parts.values())]:
        parts[name] += 1
    return parts
