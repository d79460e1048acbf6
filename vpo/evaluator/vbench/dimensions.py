"""VBench's dimensions, and VBench-Long's: what each one measures, needs and applies to.

Source: Vchitect/VBench at 45e79ec (`vbench`, `vbench2_beta_long`), arXiv 2311.17982 and 2411.13503.

A query of VBench's suite says in its labels ("dimension", "auxiliary_info"; `dataset=vbench_suite` reads them) on which dimensions
VBench measures it, and these alone are measured. On any other query those dimensions are measured that VBench's `custom_input` has
(VBench-Long's `long_custom_input`), which read no text and no label of the suite.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from vpo.cards import SHARE, WEIGHTED_MEAN, Metric, Weighted, share
from vpo.errors import UserError
from vpo.records import Query, Sample
from vpo.workers.vbench.totals import CLIPS, PROMPTS, RANGES, totals

Scope = Literal["prompt-free", "prompt-aware", "suite"]


@dataclass(frozen=True)
class Dimension:
    """One dimension.

    Attributes:
        name: VBench's own.
        label: as a column is headed.
        scope: "prompt-free": any clip; "prompt-aware": VBench reads the query's text; "suite": it reads labels that the suite's
            queries alone have, or makes sense on its prompts alone.
        counts: what the number of the dimension is a mean over: "frames" or "segments" (of all clips together), or "clips".
        needs: what measures it.
        custom: whether VBench measures it on prompts outside of its suite, too.
        prompts: how many of the suite it is measured on, 0 for what the suite does not have; a run on fewer says so by its n.
        of: the dimension of the suite on whose prompts it is measured; None for its own.
        range: of its number, as of `vpo.cards.Metric`.
    """

    name: str
    label: str
    scope: Scope
    counts: Literal["frames", "clips", "segments"]
    needs: str
    custom: bool = False
    prompts: int = 0
    of: str | None = None
    range: tuple[float | None, float | None] = SHARE

    @property
    def in_suite(self) -> str:
        """How the suite's labels call it."""
        return self.of or self.name

    @property
    def metric(self) -> Metric:
        """How it is printed: as a percentage, as the leaderboard does."""
        suite = f"; {self.prompts} prompts of VBench's suite" if self.prompts else ""
        about = f"{self.needs}; {self.scope}; a mean over {self.counts}{suite}"
        return share(self.name, self.label, "higher", about, aggregate=WEIGHTED_MEAN, range=self.range)


_GRIT = "GRiT (detectron2)"
DIMENSIONS = {
    one.name: replace(one, prompts=PROMPTS[one.name], range=RANGES[one.name])
    for one in (
        Dimension("subject_consistency", "Subject consistency", "prompt-free", "frames", "DINO ViT-B/16", True),
        Dimension("background_consistency", "Background consistency", "prompt-free", "frames", "CLIP B/32", True),
        Dimension("temporal_flickering", "Temporal flickering", "suite", "clips", "RAFT, which drops clips that move"),
        Dimension("motion_smoothness", "Motion smoothness", "prompt-free", "clips", "AMT-S", True),
        Dimension("dynamic_degree", "Dynamic degree", "prompt-free", "clips", "RAFT", True),
        Dimension(
            "aesthetic_quality",
            "Aesthetic quality",
            "prompt-free",
            "clips",
            "CLIP L/14, LAION's head 1",
            True,
        ),
        Dimension("imaging_quality", "Imaging quality", "prompt-free", "clips", "MUSIQ trained on SPAQ", True),
        Dimension("object_class", "Object class", "suite", "frames", _GRIT),
        Dimension("multiple_objects", "Multiple objects", "suite", "frames", _GRIT),
        Dimension("human_action", "Human action", "suite", "clips", "UMT ViT-L/16"),
        Dimension("color", "Color", "suite", "clips", f"{_GRIT}, which drops clips without the object"),
        Dimension("spatial_relationship", "Spatial relationship", "suite", "frames", _GRIT),
        Dimension("scene", "Scene", "suite", "frames", "Tag2Text"),
        Dimension("appearance_style", "Appearance style", "suite", "frames", "CLIP B/32"),
        Dimension("temporal_style", "Temporal style", "prompt-aware", "clips", "ViCLIP"),
        Dimension("overall_consistency", "Overall consistency", "prompt-aware", "clips", "ViCLIP"),
    )
}
# Not VBench's: its temporal flickering without the static filter, so that motion counts as flicker.
UNFILTERED = Dimension(
    "flicker_unfiltered",
    "Flicker-free, unfiltered",
    "prompt-free",
    "clips",
    "no model; motion counts as flicker",
    True,
)

# VBench-Long's, in other columns than VBench's: its numbers of the same clips are others. Each is a mean over the segments of all
# clips, as its code has it, but for temporal flickering, which is averaged over a clip's segments first. The last two are what it
# gives without its flag `--dev_flag`: consistency inside of segments alone.
LONG = {
    one.in_suite: replace(one, name=f"long_{one.name}", label=f"{one.label} (long)", counts="segments", of=one.name)
    for one in (*DIMENSIONS.values(), UNFILTERED)
} | {
    f"{name}_in_segments": replace(
        DIMENSIONS[of], name=f"long_{name}_in_segments", label=f"{label} in segments", counts="segments", of=of
    )
    for name, label, of in (
        ("subject", "Subject consistency", "subject_consistency"),
        ("background", "Background consistency", "background_consistency"),
    )
}
LONG["temporal_flickering"] = replace(LONG["temporal_flickering"], counts="clips")
LONG["subject_consistency"] = replace(LONG["subject_consistency"], needs="DINO ViT-B/16, DINOv2 ViT-B/14")


@dataclass(frozen=True)
class Counters:
    """What an evaluator counts beside its dimensions, by metric.

    Attributes:
        failed: the share of clips that failed.
        static: the share of clips that the static filter accepts.
        outside: the share of queries that are not of the suite.
    """

    failed: str
    static: str
    outside: str

    def metrics(self, benchmark: str) -> tuple[Metric, ...]:
        """How they are printed."""
        return (
            share(
                self.failed, "Clips that failed", "lower", f"of those that {benchmark} measures", main=False,
                aggregate=WEIGHTED_MEAN,
            ),
            share(
                self.static, "Static clips", None, "accepted by the static filter of temporal flickering", main=False,
                aggregate=WEIGHTED_MEAN,
            ),
            share(
                self.outside, "Prompts outside of VBench's suite", None, f"measured as {benchmark}'s custom_input", main=False
            ),
        )  # fmt: skip


COUNTERS = Counters("vbench_failed_clips", "vbench_static_clips", "vbench_outside_suite")
LONG_COUNTERS = Counters("vbench_long_failed_clips", "vbench_long_static_clips", "vbench_long_outside_suite")

# What the numbers of several dimensions are put together to: shown where all of them were measured.
DERIVED = totals(unless=(COUNTERS.outside,))


def chosen(names: Sequence[str], known: Mapping[str, Dimension], key: str, elsewhere: str) -> dict[str, Dimension]:
    """The dimensions of a config by its names, in VBench's order. Raises UserError for one that this evaluator does not have."""
    for name in names:
        if name in DIMENSIONS and name not in known:
            raise UserError(f"{key}: {name} is not measured here; {elsewhere}")
        if name not in known:
            raise UserError(f"{key}: {name!r} is no dimension; choose from {', '.join(known)}")
    if not names or len(set(names)) < len(names):
        raise UserError(f"{key}={list(names)} must name one dimension or more, each once")
    return {name: one for name, one in known.items() if name in names}


def labels_of(query: Query) -> list[str] | None:
    """The dimensions on which VBench measures a query of its suite; None for a query of others."""
    given = query.meta.get("dimension")
    names = [given] if isinstance(given, str) else given if isinstance(given, Sequence) else ()
    found = [name for name in names if name in DIMENSIONS]
    return found or None


def applicable(query: Query, dimensions: Mapping[str, Dimension]) -> list[str]:
    """Those of the dimensions that are measured on a query. The unfiltered flicker is, wherever it is asked for."""
    labels = labels_of(query)
    return [
        name
        for name, one in dimensions.items()
        if one.in_suite == UNFILTERED.name or (one.custom if labels is None else one.in_suite in labels)
    ]


def label_of(query: Query, dimension: str) -> Any:
    """What the suite says of a query for a dimension, such as the name of a style; None where it says nothing."""
    found = query.meta.get("auxiliary_info")
    for _ in range(2):  # {"appearance_style": {"appearance_style": "Van Gogh style"}}
        found = found.get(dimension) if isinstance(found, Mapping) else None
    return found


def applicable_to_clip(query: Query, number: int, dimensions: Mapping[str, Dimension]) -> list[str]:
    """Those that are measured on one clip of a query, of which the first has the number 0.

    VBench takes five clips of a prompt of its suite; of 25 it keeps, for temporal flickering, those that are static.
    """
    names = applicable(query, dimensions)
    beyond = labels_of(query) is not None and number >= CLIPS
    return [name for name in names if name == "temporal_flickering"] if beyond else names


def lost_clips(sample: Sample, dimensions: Mapping[str, Dimension], counters: Counters) -> dict[str, Weighted]:
    """The share of clips that failed where all of a sample's did: 1, of the clips that are to be measured."""
    count = sum(bool(applicable_to_clip(sample.query, number, dimensions)) for number in range(len(sample.clips)))
    return {counters.failed: Weighted(1.0, count)} if count else {}


def row_names(sample: Sample, dimensions: Mapping[str, Dimension], counters: Counters) -> Collection[str]:
    """The metrics that apply to a sample: its dimensions, and what is counted beside them."""
    names = applicable(sample.query, dimensions)
    counted = [counters.outside, *([counters.static] if "temporal_flickering" in names else [])]
    return [*(dimensions[name].name for name in names), counters.failed, *counted] if names else counted
