"""VBench's dimensions that need no environment of their own, by its preprocessing, formulas and aggregation.

Frames are decoded once for all dimensions, and each image encoder sees each frame once; what it made of it is kept in the store.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.assets.models import licence_of, named
from vpo.cards import EvaluatorCard, Weighted
from vpo.errors import UserError
from vpo.evaluator.vbench.dimensions import (
    COUNTERS,
    DERIVED,
    DIMENSIONS,
    UNFILTERED,
    Counters,
    Dimension,
    applicable,
    applicable_to_clip,
    chosen,
    labels_of,
    lost_clips,
    row_names,
)
from vpo.evaluator.vbench.jobs import Dropped, Job
from vpo.evaluator.vbench.lengths import check_limit, check_made, seconds_of, too_long
from vpo.evaluator.vbench.measures import FLOW, TEXT, Measures, Setup, check_files
from vpo.records import Clip, Failure, Sample
from vpo.storage.feature_store import FeatureStore
from vpo.video.clips import ClipError
from vpo.video.flow import UPDATES

KEY = "evaluator.vbench"
HERE = {
    name: DIMENSIONS[name]
    for name in (
        "subject_consistency", "background_consistency", "temporal_flickering", "dynamic_degree", "aesthetic_quality",
        "appearance_style", "temporal_style", "overall_consistency",
    )
} | {UNFILTERED.name: UNFILTERED}  # fmt: skip

ENCODERS = ("dino", "clip_b32", "clip_l14")

Row = Mapping[str, float | Weighted | None]


class InProcess:
    """Dimensions in this process, of clips that are long enough and short enough; which ones, its subclasses say.

    A query's clips are pooled into one value with the weights of the dimension. A clip that fails is left out, as VBench leaves out
    videos that are missing, and counted; where all of a query's fail, the query does.

    Args:
        dimensions: by the names of the config.
        measures: what measures them.
        counters: the metrics beside them.
    """

    shares_frames = True  # measured with others that do, so that a clip is decoded once (vpo.stages.together)

    def __init__(self, dimensions: Mapping[str, Dimension], measures: Measures, counters: Counters) -> None:
        self.dimensions, self.measures, self.counters = dimensions, measures, counters

    def problem_of(self, clip: Clip) -> Failure | None:
        """Why a clip of this length is not measured; None where it is. Raises ClipError where it cannot be read."""
        raise NotImplementedError

    def measure(self, samples: Sequence[Sample]) -> list[Row | Failure]:
        """The dimensions that apply to each sample's query, of all its clips; a Failure where none of them could be measured."""
        jobs: list[Job] = []
        failed: dict[int, list[Failure]] = {}
        for place, sample in enumerate(samples):
            for number, clip in enumerate(sample.clips):
                names = tuple(applicable_to_clip(sample.query, number, self.dimensions))
                if not names:
                    continue
                usable = self._usable(clip)
                if isinstance(usable, Failure):
                    failed.setdefault(place, []).append(usable)
                else:
                    jobs.append(Job(place, sample.query, usable, names))
        self.measures.measure(jobs)
        of_sample: dict[int, list[Job]] = {}
        for job in jobs:
            of_sample.setdefault(job.place, []).append(job)
        return [
            self._row(sample, of_sample.get(place, []), failed.get(place, [])) for place, sample in enumerate(samples)
        ]

    def close(self) -> None:
        """Free models and frames."""
        self.measures.close()

    def _usable(self, clip: Clip | Failure) -> Clip | Failure:
        """The clip where it can be measured, else why not."""
        if isinstance(clip, Failure):
            return clip
        if clip.status != "ok":
            return Failure("unusable", f"the clip is {clip.status}")
        try:
            return self.problem_of(clip) or clip
        except ClipError as error:
            return Failure("unreadable", str(error))

    def _row(self, sample: Sample, jobs: Sequence[Job], failed: Sequence[Failure]) -> Row | Failure:
        """What stands in the rows for a sample, of its clips that were measured and of those that could not be."""
        row: dict[str, float | Weighted | None] = {}
        for name in applicable(sample.query, self.dimensions):
            values = [job.found[name] for job in jobs if name in job.found]
            found = [one for one in values if isinstance(one, Weighted)]
            if found:
                lost = len(failed) + sum(isinstance(one, Failure) for one in values)
                row[self.dimensions[name].name] = Weighted.pooled(
                    [one.value for one in found], [one.weight for one in found],
                    tried=len(values) + len(failed), failed=lost,
                )  # fmt: skip
            elif not values or any(isinstance(one, Failure) for one in values):
                row[self.dimensions[name].name] = None
        in_part = [[one for one in job.found.values() if isinstance(one, Failure)] for job in jobs]
        reasons = [*failed, *(one[0] for one in in_part if one)]
        nothing = all(value is None for value in row.values())
        if reasons and nothing and len(reasons) == len(jobs) + len(failed):
            return reasons[0]  # the card's `lost` counts the clips
        if jobs or failed:
            row[self.counters.failed] = Weighted(len(reasons) / (len(jobs) + len(failed)), len(jobs) + len(failed))
        filtered = [job.found.get("temporal_flickering") for job in jobs]
        accepted = sum(isinstance(one, Weighted) for one in filtered)
        looked_at = accepted + filtered.count(Dropped(seen=True))
        if looked_at:
            row[self.counters.static] = Weighted(accepted / looked_at, looked_at)
        return row | {self.counters.outside: float(labels_of(sample.query) is None)}


class VBench(InProcess):
    """VBench's official dimensions in this process; see `vpo.evaluator.vbench.dimensions` for which queries each one is measured on.

    Clips are pooled with the weight that VBench gives them (frames, or clips), so that the aggregate is VBench's.

    Args:
        dimensions: by name: those of VBench that can be measured here, and "flicker_unfiltered".
        models: {dino, clip_b32, clip_l14: each {path, revision}, head_file: LAION's linear head of version 1, raft_file: RAFT's
            weights, where None has torchvision fetch them, viclip_file: ViCLIP's, for temporal_style and overall_consistency}.
        below_seconds: a clip as long as this, or longer, is a Failure: VBench is for shorter ones, and VBench-Long, which cuts clips,
            gives other numbers. None measures all.
        cache: {folder: of features that are kept between runs, None keeps none; gigabytes: at most}.
        dtype: of the encoders' weights; RAFT's and ViCLIP's are float32.
        device: "cpu", "gpu" or "cuda".
        batch_size: samples at once.
    """

    not_in_key = ("cache", "batch_size")

    @staticmethod
    def card(
        dimensions: Sequence[str], models: Mapping[str, Any], below_seconds: float | None, cache: Mapping[str, Any], dtype: str,
        device: str, batch_size: int,
    ) -> EvaluatorCard:  # fmt: skip
        """The card, by the dimensions. Raises UserError where a dimension cannot be measured here, or a setting is wrong."""
        listed = _chosen(dimensions)
        check_limit(below_seconds, f"{KEY}.below_seconds")
        check_cache(cache, KEY)
        return EvaluatorCard(
            name="VBench",
            # 2: of one frame there is no motion, where 1 gave the dynamic degree 0. 3: a query of which all clips failed counts them.
            version="3",
            about=_about(listed, models),
            model=models_used(listed, models, ENCODERS),
            licence=licences_used(listed, models, ENCODERS),
            needs=frozenset({"clips"}),
            metrics=(*(one.metric for one in listed.values()), *COUNTERS.metrics("VBench")),
            applies=lambda sample: row_names(sample, listed, COUNTERS),
            lost=lambda sample: lost_clips(sample, listed, COUNTERS),
            derived=DERIVED,
        )  # fmt: skip

    @staticmethod
    def check(node: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        """Raise UserError where all clips of a run would be too long."""
        check_made(config, lambda seconds: too_long(seconds, node["below_seconds"], KEY), KEY)

    @staticmethod
    def check_files(node: Mapping[str, Any]) -> None:
        """Raise UserError where a dimension of a config needs a file or a package that is not there."""
        check_files([*_chosen(node["dimensions"])], node["models"], KEY)

    def __init__(
        self, dimensions: Sequence[str], models: Mapping[str, Any], below_seconds: float | None, cache: Mapping[str, Any], dtype: str,
        device: str, batch_size: int,
    ) -> None:  # fmt: skip
        listed = _chosen(dimensions)
        super().__init__(listed, Measures([*listed], Setup(models, store_of(cache), dtype, device, KEY)), COUNTERS)
        self.below_seconds = below_seconds

    def problem_of(self, clip: Clip) -> Failure | None:
        """Whether it is too long for VBench. Raises ClipError where it cannot be read."""
        if self.below_seconds is None:
            return None
        return too_long(seconds_of(clip, self.measures.reader), self.below_seconds, KEY)


def check_cache(cache: Mapping[str, Any], key: str) -> None:
    """Raise UserError where the settings of the features' cache are wrong."""
    if not cache["gigabytes"] > 0:
        raise UserError(f"{key}.cache.gigabytes={cache['gigabytes']} must be above 0")


def store_of(cache: Mapping[str, Any]) -> FeatureStore | None:
    """Where features are kept between runs."""
    folder = cache["folder"]
    return None if folder is None else FeatureStore(Path(folder).expanduser(), int(cache["gigabytes"] * 1e9))


def _chosen(names: Sequence[str]) -> dict[str, Dimension]:
    return chosen(
        names, HERE, f"{KEY}.dimensions", "evaluator=vbench_official measures it, in an environment of its own"
    )


def models_used(dimensions: Mapping[str, Dimension], models: Mapping[str, Any], encoders: Sequence[str]) -> str:
    """How a card names the models."""
    found = [f"{name} {named(models[name]['path'], models[name]['revision'])}" for name in encoders]
    if dimensions.keys() & set(FLOW):
        found.append(f"RAFT (torchvision's raft_large C_T_V1, {UPDATES} updates)")
    if dimensions.keys() & set(TEXT):
        found.append("ViCLIP (InternVid-10M-FLT, in float32)")
    return ", ".join(found)


def licences_used(dimensions: Mapping[str, Dimension], models: Mapping[str, Any], encoders: Sequence[str]) -> str:
    """What a card says of their licences, and of the formulas'."""
    found = [
        "VBench Apache-2.0",
        *(f"{name} {licence_of(models[name]['path'])}" for name in encoders),
        "LAION's head MIT",
    ]
    found += ["RAFT BSD-3-Clause"] if dimensions.keys() & set(FLOW) else []
    found += ["ViCLIP's code Apache-2.0"] if dimensions.keys() & set(TEXT) else []
    return ", ".join(found)


def _about(dimensions: Mapping[str, Dimension], models: Mapping[str, Any]) -> str:
    """What the card says of method, models, licences and blind spots."""
    used = models_used(dimensions, models, ENCODERS)
    return (
        f"VBench's official formulas (Vchitect/VBench at 45e79ec, arXiv 2311.17982) in this process, by {used}. Differs in the "
        "third digit or so: VBench runs CLIP in float16 on a GPU, and interpolates DINO's positions by a factor, here for the target "
        "size. Not seen: "
        "whether what moves moves as it should; consistency and steadiness are highest for a frozen clip, so read them beside dynamic "
        "degree; of wide clips CLIP sees the middle square only"
    )
