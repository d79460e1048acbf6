"""VBench-Long's dimensions that need no environment of their own: clips of 5 s and more, cut into segments."""

from collections.abc import Mapping, Sequence
from typing import Any

from vpo.cards import EvaluatorCard, Weighted
from vpo.errors import UserError
from vpo.evaluator.vbench.dimensions import LONG, LONG_COUNTERS, Dimension, chosen, lost_clips, row_names
from vpo.evaluator.vbench.evaluator import InProcess, check_cache, licences_used, models_used, store_of
from vpo.evaluator.vbench.formulas import consistency
from vpo.evaluator.vbench.jobs import Job, Value, failure_of
from vpo.evaluator.vbench.lengths import check_limit, check_made, seconds_of, too_short
from vpo.evaluator.vbench.measures import Measures, Setup, check_files
from vpo.evaluator.vbench.segments import Cut, Segments
from vpo.evaluator.vbench.slow_fast import fused
from vpo.records import Clip, Failure
from vpo.video.clips import ClipError
from vpo.video.features import Dino2Encoder
from vpo.video.frames import FrameReader

KEY = "evaluator.vbench_long"
ENCODERS = ("dino", "dino2", "clip_b32", "clip_l14")
HERE = {
    name: LONG[name]
    for name in (
        "subject_consistency", "subject_in_segments", "background_in_segments", "temporal_flickering", "dynamic_degree",
        "aesthetic_quality", "appearance_style", "temporal_style", "overall_consistency", "flicker_unfiltered",
    )
}  # fmt: skip


class LongMeasures(Measures):
    """VBench-Long's: on segments, and consistency between segments, by the model `dino2`, beside that inside of them."""

    cut: Cut = Segments()

    def __init__(self, dimensions: Sequence[str], setup: Setup) -> None:
        super().__init__(dimensions, setup)
        self.dino2 = Dino2Encoder(*setup.place("dino2"), store=setup.store)
        self._encoders.append(self.dino2)
        self._measures |= {
            "subject_consistency": self._fused_subject_consistency,
            "subject_in_segments": self._subject_consistency,
            "background_in_segments": self._background_consistency,
        }
        del self._measures["background_consistency"]

    def _fused_subject_consistency(self, jobs: Sequence[Job]) -> list[Value]:
        return [self._fused(job, inside) for job, inside in zip(jobs, self._subject_consistency(jobs), strict=True)]

    def _fused(self, job: Job, inside: Value) -> Value:
        """With the consistency of the segments' first frames."""
        if not isinstance(inside, Weighted):
            return inside
        try:
            firsts = [span.start for span in self.parts.spans(job)]
        except ClipError as error:
            return failure_of(error)
        reader = FrameReader(lambda _: firsts, cache=self.reader.cache)
        (features,) = self.dino2.images([job.path], reader)
        reader.close()
        if isinstance(features, ClipError):
            return failure_of(features)
        value = self.parts.pooled([Weighted(fused(inside.value, consistency(features)), 1)])
        return Weighted(value.value, inside.weight) if isinstance(value, Weighted) else value


class VBenchLong(InProcess):
    """VBench-Long in this process: VBench's formulas on segments of 2 s (10 s for some prompts), and the mean over all segments.

    `subject_consistency` is fused with the consistency of the segments' first frames by DINOv2, as `evaluate_long.sh` has it.
    `subject_in_segments` and `background_in_segments` are consistency inside of segments alone, which VBench-Long gives without its
    flag `--dev_flag`. background_consistency as in `evaluate_long.sh` needs DreamSim, which is not here.

    Args:
        dimensions: by name.
        models: {dino, dino2, clip_b32, clip_l14: each {path, revision}, head_file, raft_file, viclip_file}; see `VBench`.
        from_seconds: a shorter clip is a Failure: it is one for VBench, whose numbers are others. None measures all.
        cache: see `VBench`.
        dtype: of the encoders' weights; RAFT's and ViCLIP's are float32.
        device: "cpu", "gpu" or "cuda".
        batch_size: samples at once.
    """

    not_in_key = ("cache", "batch_size")

    @staticmethod
    def card(
        dimensions: Sequence[str], models: Mapping[str, Any], from_seconds: float | None, cache: Mapping[str, Any], dtype: str,
        device: str, batch_size: int,
    ) -> EvaluatorCard:  # fmt: skip
        """The card, by the dimensions. Raises UserError where a dimension cannot be measured here, or a setting is wrong."""
        listed = _chosen(dimensions)
        check_limit(from_seconds, f"{KEY}.from_seconds")
        check_cache(cache, KEY)
        return EvaluatorCard(
            name="VBench-Long",
            version="3",  # see VBench's
            about=_about(listed, models),
            model=models_used(listed, models, ENCODERS),
            licence=licences_used(listed, models, ENCODERS),
            needs=frozenset({"clips"}),
            metrics=(*(one.metric for one in listed.values()), *LONG_COUNTERS.metrics("VBench-Long")),
            applies=lambda sample: row_names(sample, listed, LONG_COUNTERS),
            lost=lambda sample: lost_clips(sample, listed, LONG_COUNTERS),
        )

    @staticmethod
    def check(node: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        """Raise UserError where all clips of a run would be too short."""
        check_made(config, lambda seconds: too_short(seconds, node["from_seconds"], KEY), KEY)

    @staticmethod
    def check_files(node: Mapping[str, Any]) -> None:
        """Raise UserError where a dimension of a config needs a file or a package that is not there."""
        check_files([*_chosen(node["dimensions"])], node["models"], KEY)

    def __init__(
        self, dimensions: Sequence[str], models: Mapping[str, Any], from_seconds: float | None, cache: Mapping[str, Any], dtype: str,
        device: str, batch_size: int,
    ) -> None:  # fmt: skip
        listed = _chosen(dimensions)
        super().__init__(
            listed, LongMeasures([*listed], Setup(models, store_of(cache), dtype, device, KEY)), LONG_COUNTERS
        )
        self.from_seconds = from_seconds

    def problem_of(self, clip: Clip) -> Failure | None:
        """Whether it is too short for VBench-Long. Raises ClipError where it cannot be read."""
        if self.from_seconds is None:
            return None
        return too_short(seconds_of(clip, self.measures.reader), self.from_seconds, KEY)


def _chosen(names: Sequence[str]) -> dict[str, Dimension]:
    if "background_consistency" in names:
        raise UserError(
            f"{KEY}.dimensions: background_consistency compares segments by DreamSim, which is not here; background_in_segments is "
            "what VBench-Long gives without --dev_flag"
        )
    return chosen(
        names, HERE, f"{KEY}.dimensions", "VBench-Long's own code measures it: vpo evaluate export format=vbench"
    )


def _about(dimensions: Mapping[str, Dimension], models: Mapping[str, Any]) -> str:
    """What the card says of method, models, licences and blind spots."""
    used = models_used(dimensions, models, ENCODERS)
    return (
        f"VBench-Long's formulas (Vchitect/VBench at 45e79ec, vbench2_beta_long, arXiv 2411.13503) in this process, by {used}. "
        "Segments of 2 s, or of 10 s for a prompt of the suite that human action, temporal style or overall consistency measures; the "
        "mean over all segments of all clips, as the code has it, of temporal flickering over clips. Not to be compared with VBench's "
        "numbers. Differs: segments are not written to files again, which changes pixels a little; see VBench's card for the rest. "
        "Not seen: cuts between scenes (upstream's split by scenes is off, too), and what changes between segments but for the subject"
    )
