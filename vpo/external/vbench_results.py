"""What VBench's own code wrote of a folder of clips, as measurements of a run's queries.

`<name>_eval_results.json` is {dimension: [score, [{"video_path", "video_results", ...}]]}. A video belongs to the query whose text is
its file's name. VBench weighs some dimensions by frames and others by videos, and not alike in all its modes: whichever gives the
file's own score is taken.

VBench-Long's file of the same name has a third part, of whole videos (the second is of their segments), or videos with an
"inclip_score", or segments as videos; its numbers never stand in VBench's columns.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vpo.cards import WEIGHTED_MEAN, EvaluatorCard, Weighted, share
from vpo.dataset.reading.text import comparison_key
from vpo.errors import UserError
from vpo.workers.contract import JobError
from vpo.workers.vbench.script import DIMENSIONS, read_official
from vpo.workers.vbench.totals import CLIPS, DROPS, RANGES, totals

EVALUATOR, LONG_EVALUATOR = "vbench_import", "vbench_long_import"
# What VBench calls the number of frames that a video's value is of; and of how many segments VBench-Long's is.
WEIGHTS = ("cnt_per_video", "frame_count", "segments")
NEAR = 1e-4  # of a score and of what its videos give: VBench sums single-precision numbers


@dataclass
class Dimension:
    """What a file says of one dimension.

    Attributes:
        name: VBench's.
        score: the file's number of the whole dimension.
        mean: what its videos give; None without a video. It is the score, or else VBench weighed them otherwise.
        rows: by query id.
        failed: ids of queries without a number: no video of theirs has one, or the file lacks them though the suite measures them.
        strangers: videos of prompts that the run does not have.
        unreadable: videos without a number.
        lacking: clips of the run that the file lacks, of queries of which it has others.
        long: whether VBench-Long wrote it.
    """

    name: str
    score: float
    mean: float | None
    rows: dict[str, Weighted] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    unreadable: int = 0
    lacking: int = 0
    long: bool = False

    @property
    def metric(self) -> str:
        """The name of its metric."""
        return f"official_long_{self.name}" if self.long else f"official_{self.name}"

    @property
    def card(self) -> EvaluatorCard:
        """The card of its metric."""
        benchmark = "VBench-Long" if self.long else "VBench"
        label = f"{benchmark} {self.name.replace('_', ' ')}"
        return EvaluatorCard(
            name=LONG_EVALUATOR if self.long else EVALUATOR, version="2", needs=frozenset({"clips"}),
            metrics=(share(self.metric, label, "higher", f"by {benchmark}'s own code", aggregate=WEIGHTED_MEAN),),
            about=f"{benchmark}'s own code (Vchitect/VBench, Apache-2.0), run outside of vpo; from its result file, not normalised",
            derived=() if self.long else totals("official_"),
            model=f"{benchmark}'s own models", licence="VBench Apache-2.0; of the models their own",
        )  # fmt: skip

    @property
    def notes(self) -> list[str]:
        """What people should know, in lines."""
        lines = []
        if self.mean is not None and abs(self.mean - self.score) > NEAR:
            lines.append(
                f"{self.name}: the file's score is {self.score:.5f}, and its videos give {self.mean:.5f}, which is shown"
            )
        if self.unreadable:
            lines.append(f"{self.name}: {self.unreadable} videos have no number, and are counted as failed")
        if self.lacking:
            lines.append(f"{self.name}: the file lacks {self.lacking} clips of the run, which are counted as failed")
        if self.failed:
            lines.append(f"{self.name}: {len(self.failed)} prompts have no number, and are counted as failed")
        if self.strangers:
            lines.append(
                f"{self.name}: {len(self.strangers)} videos are of no query of the run, as {self.strangers[0]!r}; left out"
            )
        return lines


def read_file(path: str) -> dict[str, Any]:
    """The content of a result file. Raises UserError for what is none."""
    try:
        content = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"evaluate: file={path}: {error.strerror}; give VBench's <name>_eval_results.json") from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"evaluate: file={path} is no JSON ({' '.join(str(error).split())[:80]}); run VBench again"
        ) from error
    known = isinstance(content, dict) and bool(content) and all(one in DIMENSIONS for one in content)
    if not known:
        odd = (
            next((one for one in content if one not in DIMENSIONS), "nothing")
            if isinstance(content, dict)
            else "no mapping"
        )
        raise UserError(
            f"evaluate: file={path} has {odd!r}, and should have dimensions of VBench; give <name>_eval_results.json"
        )
    return dict(content)


def read_results(
    content: Mapping[str, Any],
    queries: Mapping[str, str],
    path: str,
    labels: Mapping[str, Collection[str]] | None = None,
    clips: Mapping[str, int] | None = None,
) -> list[Dimension]:
    """The measurements of a file, by dimension.

    A query on which the suite measures a dimension (`labels`) and which the file lacks has failed on it, but where VBench itself drops
    videos. Of queries without labels nobody knows on what they should be measured.

    Args:
        content: as `read_file` gives it.
        queries: the run's, id by text.
        path: how messages call the file.
        labels: by id, the dimensions on which the suite measures a query, where they are known.
        clips: by id, how many clips the run has of a query. Those that the file lacks have failed, but where VBench drops videos.

    Raises:
        UserError: it is not as VBench writes it, has a number that the dimension cannot have, or none of its videos is of a query.
    """
    ids = {comparison_key(text): id for text, id in queries.items()}
    found = [_dimension(name, content[name], path, ids, labels or {}, clips or {}) for name in content]
    if not any(one.rows for one in found):
        strange = next((f", such as {one.strangers[0]!r}," for one in found if one.strangers), "")
        raise UserError(
            f"evaluate: file={path}: none of its videos{strange} is of a query of the run; give the run whose clips they are"
        )
    return found


def _dimension(
    name: str,
    written: Any,
    path: str,
    ids: Mapping[str, str],
    labels: Mapping[str, Collection[str]],
    clips: Mapping[str, int],
) -> Dimension:
    long = _is_long(written)
    score, videos = _videos(written, long, name, path)
    _check_range(name, score, videos, path)
    good = [video for video in videos if math.isfinite(video["value"])]
    weights = _weights(good, score)
    found = Dimension(name, score, _mean(good, weights), unreadable=len(videos) - len(good), long=long)
    of_query: dict[str, list[tuple[float, float]]] = {}
    for video, weight in zip(good, weights, strict=True):
        query = ids.get(comparison_key(video["prompt"]))
        if query is None:
            found.strangers.append(video["name"])
        else:
            of_query.setdefault(query, []).append((video["value"], weight))
    lost: dict[str, int] = {}
    for video in videos:
        query = ids.get(comparison_key(video["prompt"]))
        if query is not None and not math.isfinite(video["value"]):
            lost[query] = lost.get(query, 0) + 1
    for query, pairs in of_query.items():
        there = len(pairs) + lost.get(query, 0)
        lacking = 0 if name in DROPS else max(0, min(clips.get(query, 0), CLIPS) - there)
        found.lacking += lacking
        away = lost.get(query, 0) + lacking
        found.rows[query] = Weighted.pooled(*zip(*pairs, strict=True), tried=len(pairs) + away, failed=away)
    due = [] if name in DROPS else [query for query in ids.values() if name in labels.get(query, ())]
    found.failed = [query for query in dict.fromkeys([*lost, *due]) if query not in found.rows]
    return found


def _is_long(written: Any) -> bool:
    """Whether VBench-Long wrote this of a dimension: `reorganize_clips_results`, or `fuse_inclip_clip2clip`."""
    if not isinstance(written, list) or len(written) < 2 or not isinstance(written[1], list):
        return False
    rows = [row for row in written[1] if isinstance(row, dict)]
    return len(written) == 3 or any("inclip_score" in row or "split_clip" in str(row.get("video_path")) for row in rows)


def _whole_videos(written: list[Any]) -> list[Any]:
    """Score and videos as VBench writes them; the last part is of videos, and may end with their number.

    A video has a row for each of its segments there, all under the video's name: its value is their mean.
    """
    of_video: dict[str, list[Any]] = {}
    for row in written[-1]:
        if "long_video_cnt" not in row:
            of_video.setdefault(Path(str(row["video_path"]).replace("\\", "/")).name, []).append(row["video_results"])
    videos = [
        {"video_path": name, "video_results": sum(values) / len(values), "segments": len(values)}
        for name, values in of_video.items()
    ]
    return [written[0], videos]


def _videos(written: Any, long: bool, dimension: str, path: str) -> tuple[float, list[dict[str, Any]]]:
    try:
        written = _whole_videos(written) if long else written
        names = [Path(str(row["video_path"]).replace("\\", "/")).name for row in written[1]]
        read = read_official({dimension: written}, dimension, names, missing=())
    except (JobError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"evaluate: file={path}: {dimension} is not as VBench writes it (a score, and a list of videos called <prompt>-<0..4>.mp4 "
            "with their video_results); run VBench again"
        ) from error
    return read["score"], read["videos"]


def _check_range(dimension: str, score: float, videos: Sequence[Mapping[str, Any]], path: str) -> None:
    """Raise UserError where a number is none that the dimension can have. What is not finite is no number, and is counted."""
    low, high = RANGES[dimension]
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    times = 100 if dimension == "imaging_quality" else 1  # its videos, as they are written; its score is not
    numbers = [("the score", score, 1), *((f"the value of {one['name']!r}", one["value"], times) for one in videos)]
    for what, value, by in numbers:
        if math.isfinite(value) and not low - NEAR <= value <= high + NEAR:
            raise UserError(
                f"evaluate: file={path}: {dimension}: {what} is {value * by:g}, and must be {low * by:g} to {high * by:g}; "
                "run VBench again"
            )


def _weights(videos: Sequence[Mapping[str, Any]], score: float) -> list[float]:
    """The number of frames of each video where that gives the file's score, else 1 each."""
    alike = [1.0] * len(videos)
    for name in WEIGHTS:
        frames = [video["counts"].get(name) for video in videos]
        if all(isinstance(one, int | float) and one > 0 for one in frames):
            weights = [float(one) for one in frames]
            nearer = abs((_mean(videos, weights) or 0) - score) < abs((_mean(videos, alike) or 0) - score)
            return weights if nearer else alike
    return alike


def _mean(videos: Sequence[Mapping[str, Any]], weights: Sequence[float]) -> float | None:
    if not videos:
        return None
    return math.fsum(video["value"] * weight for video, weight in zip(videos, weights, strict=True)) / math.fsum(
        weights
    )
