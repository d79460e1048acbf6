"""VBench's own code on the clips, in an environment of its own (`vpo/workers/vbench/`): the dimensions that need models of theirs.

NEVER RUN BY US on the real models. `vpo workers install vbench` makes the environment.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.cards import WEIGHTED_MEAN, EvaluatorCard, Weighted, share
from vpo.errors import UserError
from vpo.evaluator.vbench.dimensions import DERIVED, DIMENSIONS, Dimension, chosen, labels_of
from vpo.evaluator.vbench.lengths import check_limit, check_made, seconds_of, too_long
from vpo.records import Clip, Failure, Query, Sample
from vpo.video.clips import ClipError
from vpo.video.frames import FrameReader
from vpo.workers.client import WorkerProcess, check_settings
from vpo.workers.vbench import script
from vpo.workers.vbench.totals import CLIPS

log = logging.getLogger(__name__)

KEY = "evaluator.vbench_official"
LOST = "vbench_official_failed_clips"
# VBench's code leaves the static filter to its user: without it temporal flickering is another number.
HERE = {name: one for name, one in DIMENSIONS.items() if name != "temporal_flickering"}
LONGEST_NAME = 255  # bytes of a file's name

Row = Mapping[str, float | Weighted | None]


class VBenchOfficial:
    """Dimensions of VBench by its own code, on the queries of its suite, each on the prompts that VBench lists for it.

    Clips are put into a folder under the ORIGINAL query's text, `<query>-<0..4>.mp4`, whatever prompt they were rendered from: VBench
    reads from the name what should be seen. Of several clips of a query one value is made with the weights that VBench counts by.

    Args:
        dimensions: by name; temporal_flickering is `evaluator=vbench`'s, which has its static filter.
        imaging_quality_mode: how imaging_quality resizes frames: VBench's "longer", "shorter", "shorter_centercrop" or "None".
        full_info_file: VBench's list of prompts, another VBench_full_info.json than its own; None for its own.
        below_seconds: a clip as long as this, or longer, is a Failure, as of `evaluator=vbench`; None measures all.
        job_seconds: how long one dimension may take on one batch; None waits for ever.
        batch_size: queries at once. VBench loads a dimension's models anew for each batch, so that it should hold the whole suite.
    """

    not_in_key = ("job_seconds", "batch_size")
    needs_workers = ("vbench",)

    @staticmethod
    def card(
        dimensions: Sequence[str], imaging_quality_mode: str, full_info_file: str | None, below_seconds: float | None,
        job_seconds: float | None, batch_size: int,
    ) -> EvaluatorCard:  # fmt: skip
        """The card, by the dimensions. Raises UserError where a dimension or a setting is wrong."""
        listed = _chosen(dimensions)
        check_limit(below_seconds, f"{KEY}.below_seconds")
        check_settings(script.VBench(), _settings(imaging_quality_mode, full_info_file), KEY)
        return EvaluatorCard(
            name="VBench, its own code",
            version="3",  # 2: clips of 5 s and more are not measured. 3: see VBench's
            about="VBench's own code (Vchitect/VBench at 45e79ec, Apache-2.0, arXiv 2311.17982; not run by us) in an environment of "
            "its own, on the prompts of its suite alone. Its models have licences of their own: imaging_quality's pyiqa is for "
            "non-commercial use. Not seen: color's label of an object is that of the first thing that was found in the frame, "
            "spatial_relationship does not look on which side something is, as VBench has it",
            model=", ".join(dict.fromkeys(one.needs for one in listed.values())),
            licence="VBench Apache-2.0; of the models their own: pyiqa, with MUSIQ, is for non-commercial use",
            needs=frozenset({"clips"}),
            metrics=(
                *(one.metric for one in listed.values()),
                share(
                    LOST, "Clips that failed", "lower", "of those given to VBench", main=False, aggregate=WEIGHTED_MEAN
                ),
            ),
            applies=lambda sample: [*names, LOST] if (names := _applicable(sample.query, listed)) else [],
            lost=lambda sample: _lost(sample, listed),
            derived=DERIVED,
        )

    @staticmethod
    def check(node: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        """Raise UserError where all clips of a run would be too long."""
        check_made(config, lambda seconds: too_long(seconds, node["below_seconds"], KEY), KEY)

    def __init__(
        self, dimensions: Sequence[str], imaging_quality_mode: str, full_info_file: str | None, below_seconds: float | None,
        job_seconds: float | None, batch_size: int,
    ) -> None:  # fmt: skip
        """The worker starts when the first clips are measured."""
        self.dimensions, self.below_seconds = _chosen(dimensions), below_seconds
        self.reader = FrameReader("all")
        settings = _settings(imaging_quality_mode, full_info_file)
        self.worker = WorkerProcess(script.VBench(), settings, key=KEY, seconds=job_seconds)

    def measure(self, samples: Sequence[Sample]) -> list[Row | Failure]:
        """The dimensions that VBench measures on each sample's query; nothing for a query that is not of its suite."""
        given: dict[int, dict[str, Clip]] = {}
        failed: dict[int, list[Failure]] = {}
        for place, sample in enumerate(samples):
            for number, clip in enumerate(sample.clips[:CLIPS] if _applicable(sample.query, self.dimensions) else ()):
                name = f"{sample.query.text}-{number}.mp4"
                problem = _problem_of(clip, name) or self._too_long(clip)
                if isinstance(clip, Failure) or problem is not None:
                    failed.setdefault(place, []).append(problem or Failure("missing", "no clip"))
                else:
                    given.setdefault(place, {})[name] = clip
        with tempfile.TemporaryDirectory() as folder:
            for named in given.values():
                for name, clip in named.items():
                    _link(Path(clip.path), Path(folder) / name)
            found = {name: self._results(name, samples, given, folder) for name in self.dimensions}
        return [
            self._row(sample, given.get(place, {}), failed.get(place, []), found)
            for place, sample in enumerate(samples)
        ]

    def close(self) -> None:
        """End the worker, which gives its GPU memory back."""
        self.reader.close()
        self.worker.close()

    def _too_long(self, clip: Clip | Failure) -> Failure | None:
        """Whether a clip that can be given to VBench is too long for it."""
        if self.below_seconds is None or isinstance(clip, Failure):
            return None
        try:
            return too_long(seconds_of(clip, self.reader), self.below_seconds, KEY)
        except ClipError as error:
            return Failure("unreadable", str(error))

    def _results(
        self, dimension: str, samples: Sequence[Sample], given: Mapping[int, Mapping[str, Clip]], folder: str
    ) -> Mapping[str, Any] | Failure | None:
        """What the worker says of a dimension; None where no clip is measured on it."""
        if not any(dimension in _applicable(samples[place].query, self.dimensions) for place in given):
            return None
        (result,) = self.worker.work([{"id": dimension, "dimension": dimension, "videos": folder}])
        if isinstance(result, Failure):
            if not result.retryable:
                log.warning("%s: %s: %s", KEY, dimension, result.detail)
            return result
        return result | {"by_name": {one["name"]: one for one in result["videos"]}}

    def _row(
        self,
        sample: Sample,
        given: Mapping[str, Clip],
        failed: Sequence[Failure],
        found: Mapping[str, Mapping[str, Any] | Failure | None],
    ) -> Row | Failure:
        """What stands in the rows for a sample; a Failure where all of it failed, or a worker that died may do better again."""
        names = _applicable(sample.query, self.dimensions)
        if not names:
            return {}
        row: dict[str, float | Weighted | None] = {}
        reasons = list(failed)
        lost: set[str] = set()
        for name in names:
            result = found[name]
            if isinstance(result, Failure):
                reasons.append(result)
                lost |= given.keys()
                row[name] = None
                if result.retryable:
                    return result
                continue
            videos = {one: result["by_name"][one] for one in given if one in result["by_name"]} if result else {}
            missing = given.keys() - videos.keys() - set(result["left_out"] if result else ())
            if missing:
                lost |= missing
                reasons.append(
                    Failure("no_result", f"VBench gives no {name} of {min(missing)!r}: is the query in its suite?")
                )
            values = [(one["value"], _weight(name, one["counts"], given[video])) for video, one in videos.items()]
            if values:
                away = len(missing) + len(failed)
                row[name] = Weighted.pooled(*zip(*values, strict=True), tried=len(values) + away, failed=away)
            elif missing or not given:
                row[name] = None  # what VBench itself leaves out is no failure
        count = len(given) + len(failed)
        nothing = all(value is None for value in row.values())
        if reasons and nothing and len(failed) + len(lost) == count:
            return reasons[0]  # the card's `lost` counts the clips
        return row | ({LOST: Weighted((len(failed) + len(lost)) / count, count)} if count else {})


def _lost(sample: Sample, dimensions: Mapping[str, Dimension]) -> dict[str, Weighted]:
    """The share of clips that failed where all of a sample's did: 1, of those that are to be given to VBench."""
    count = len(sample.clips[:CLIPS]) if _applicable(sample.query, dimensions) else 0
    return {LOST: Weighted(1.0, count)} if count else {}


def _weight(dimension: str, counts: Mapping[str, Any], clip: Clip) -> float:
    """What a clip counts for in VBench's number of a dimension: frames, steps between frames, or 1."""
    if DIMENSIONS[dimension].counts == "clips":
        return 1
    if dimension in ("subject_consistency", "background_consistency"):
        return float(counts.get("cnt_per_video", clip.frames - 1))
    if "frame_count" in counts:
        return float(counts["frame_count"])
    return len(counts["frame_results"])


def _problem_of(clip: Clip | Failure, name: str) -> Failure | None:
    """Why a clip cannot be given to VBench; None where it can."""
    if isinstance(clip, Failure):
        return clip
    if clip.status != "ok":
        return Failure("unusable", f"the clip is {clip.status}")
    if not Path(clip.path).is_file():
        return Failure("unreadable", f"{clip.path}: no such file")
    if "/" in name or "\0" in name or len(os.fsencode(name)) > LONGEST_NAME:
        return Failure(
            "unnamable", "VBench reads the query from the file's name, and no file can be called like this query"
        )
    return None


def _link(path: Path, to: Path) -> None:
    """A link, or a copy where the file system has none."""
    try:
        to.symlink_to(path.absolute())
    except OSError:
        shutil.copyfile(path, to)


def _applicable(query: Query, dimensions: Mapping[str, Dimension]) -> list[str]:
    labels = labels_of(query) or ()
    return [name for name in dimensions if name in labels]


def _chosen(names: Sequence[str]) -> dict[str, Dimension]:
    return chosen(names, HERE, f"{KEY}.dimensions", "evaluator=vbench measures it, with its static filter")


def _settings(mode: str, full_info_file: str | None) -> dict[str, Any]:
    modes = ("longer", "shorter", "shorter_centercrop", "None")
    if mode not in modes:
        raise UserError(f"{KEY}.imaging_quality_mode={mode} is unknown; choose one of {', '.join(modes)}")
    where = {} if full_info_file is None else {"full_info": str(Path(full_info_file).expanduser().absolute())}
    return {"imaging_quality_preprocessing_mode": mode, **where}
