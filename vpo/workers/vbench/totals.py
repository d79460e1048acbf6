"""The totals that VBench makes of its dimensions, wherever these were measured (Vchitect/VBench at 45e79ec)."""

from collections.abc import Mapping

from vpo.cards import ANY, COSINE, SHARE, Derived, Metric
from vpo.workers.vbench.script import DIMENSIONS

SCORES = "vpo.results.vbench_scores"
# Prompts of the suite (VBench_full_info.json), in the order of DIMENSIONS.
PROMPTS: Mapping[str, int] = dict(
    zip(DIMENSIONS, (72, 86, 75, 72, 72, 93, 93, 79, 82, 100, 85, 84, 86, 90, 100, 93), strict=True)
)
CLIPS = 5  # of each prompt of the suite
# The same as queries. VBench's list has "A fantasy landscape" and "a fantasy landscape", both for three dimensions. vpo holds texts
# that differ in case alone for one query, so that a complete run has one query less there.
QUERIES: Mapping[str, int] = {
    **PROMPTS,
    **{one: PROMPTS[one] - 1 for one in ("aesthetic_quality", "imaging_quality", "overall_consistency")},
}
# Least and greatest value that a dimension can have.
RANGES: Mapping[str, tuple[float | None, float | None]] = {
    **dict.fromkeys(DIMENSIONS, SHARE),
    **dict.fromkeys(("appearance_style", "temporal_style", "overall_consistency"), COSINE),
    "aesthetic_quality": ANY,
}
# VBench drops clips that move from temporal flickering, and clips without the object from color, so that whole prompts may be missing.
DROPS = ("temporal_flickering", "color")
_QUALITY = 7  # dimensions, the first ones


def totals(prefix: str = "", unless: tuple[str, ...] = ()) -> tuple[Derived, ...]:
    """Quality, Semantic and Total, each shown where all of its dimensions are there.

    Args:
        prefix: of the dimensions' metrics: "" of those in vpo's own columns, "official_" of an imported result file.
        unless: as in `Derived`.
    """
    kinds = (
        ("quality", "of seven dimensions, normalised as on the leaderboard", DIMENSIONS[:_QUALITY]),
        ("semantic", "of nine dimensions, normalised as on the leaderboard", DIMENSIONS[_QUALITY:]),
        ("total", "(4 Quality + Semantic) / 5", DIMENSIONS),
    )
    return tuple(
        Derived(
            Metric(
                f"{prefix or 'vbench_'}{name}", f"VBench {name.capitalize()}{' (imported)' if prefix else ''}", "higher", unit="%",
                scale=100.0, decimals=2, about=about, range=ANY, aggregate=f"{SCORES}.{name}",
            ),
            of=tuple(f"{prefix}{one}" for one in names),
            unless=unless,
            whole={f"{prefix}{one}": QUERIES[one] for one in names if one not in DROPS},
        )
        for name, about, names in kinds
    )  # fmt: skip
