"""How each dimension of VBench is measured on clips in this process; the formulas are `vpo.evaluator.vbench.formulas`."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vpo.cards import Weighted
from vpo.errors import UserError
from vpo.evaluator.vbench import formulas
from vpo.evaluator.vbench.dimensions import CLIPS, UNFILTERED, label_of
from vpo.records import Clip, Failure, Query
from vpo.storage.feature_store import FeatureStore
from vpo.video.aesthetic_head import read_head
from vpo.video.clips import ClipError
from vpo.video.features import ClipEncoder, DinoEncoder
from vpo.video.flow import Raft, TooSmall, check_raft
from vpo.video.frames import FrameCache, FrameReader, groups
from vpo.video.models import Place
from vpo.video.transforms import CLIP, CLIP_OF_VBENCH

FLOW = ("temporal_flickering", "dynamic_degree")  # need RAFT
GROUP_BYTES = (
    1 << 28
)  # of the frames of clips that are measured together; one clip may have more, up to what the cache keeps
TOO_SHORT = Failure("too_short", "the clip has one frame, and the dimension compares frames")
NOT_FINITE = Failure("not_finite", "the model gives what is no number")


@dataclass(frozen=True)
class Dropped:
    """A clip that a dimension leaves out, as VBench does: one that moves has no temporal flickering.

    Attributes:
        seen: whether it was looked at; five static clips of a prompt are enough.
    """

    seen: bool


Value = Weighted | Dropped | Failure


@dataclass(frozen=True)
class Job:
    """One clip, and what is found of it.

    Attributes:
        place: of its sample; clips of one sample are of one prompt.
        dimensions: that are measured on it.
        found: by dimension; weights are frames, steps between frames, or 1 for a clip, as VBench counts.
    """

    place: int
    query: Query
    clip: Clip
    dimensions: tuple[str, ...]
    found: dict[str, Value] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Of the file."""
        return Path(self.clip.path)

    @property
    def size(self) -> int:
        """Bytes of its frames."""
        return self.clip.frames * self.clip.height * self.clip.width * 3


class Measures:
    """The models of the dimensions, each loaded when it is needed first, and what they find.

    Args:
        dimensions: the names of those that are asked for.
        models: as of `VBench`.
        store: where features are kept; None for nowhere.
        dtype: of the encoders' weights.
        device: "cpu", "gpu" or "cuda".
        key: of the evaluator in the config, for messages.
    """

    def __init__(
        self,
        dimensions: Sequence[str],
        models: Mapping[str, Any],
        store: FeatureStore | None,
        dtype: str,
        device: str,
        key: str,
    ) -> None:
        def place(name: str) -> tuple[Place, str]:
            return Place(models[name]["path"], models[name]["revision"], dtype, device), f"{key}.models.{name}.path"

        self.dimensions, self.key = tuple(dimensions), key
        self.reader = FrameReader("all", cache=FrameCache())
        self.dino = DinoEncoder(*place("dino"), store=store)
        self.frames_of_b32 = ClipEncoder(*place("clip_b32"), CLIP_OF_VBENCH, store=store)
        self.images_of_b32 = ClipEncoder(*place("clip_b32"), CLIP, store=store)  # as Pillow resizes
        self.frames_of_l14 = ClipEncoder(*place("clip_l14"), CLIP_OF_VBENCH, store=store)
        self._encoders = (self.dino, self.frames_of_b32, self.images_of_b32, self.frames_of_l14)
        self.flow = Raft(models["raft_file"], device, f"{key}.models.raft_file")
        self._head_file = str(models["head_file"])
        self._head: tuple[torch.Tensor, float] | None = None
        self._accepted: Counter[int] = Counter()  # static clips by sample
        self._measures: dict[str, Callable[[Sequence[Job]], list[Value]]] = {
            "subject_consistency": self._subject_consistency,
            "background_consistency": self._background_consistency,
            "temporal_flickering": self._temporal_flickering,
            "dynamic_degree": lambda jobs: [self._dynamic_degree(job) for job in jobs],
            "aesthetic_quality": self._aesthetic_quality,
            "appearance_style": self._appearance_style,
            UNFILTERED.name: lambda jobs: [self._steadiness(job) for job in jobs],
        }

    def measure(self, jobs: Sequence[Job]) -> None:
        """Put into each job what its dimensions find. Each clip is decoded once; its frames and features go with its group."""
        self._accepted.clear()
        for group in groups([job.size for job in jobs], GROUP_BYTES):
            for name in self.dimensions:
                wanted = [jobs[number] for number in group if name in jobs[number].dimensions]
                for job, value in zip(wanted, self._measures[name](wanted) if wanted else (), strict=True):
                    job.found[name] = value
            self.reader.cache.clear()
            for encoder in self._encoders:
                encoder.forget()

    def close(self) -> None:
        """Free models and frames."""
        for one in (*self._encoders, self.flow, self.reader):
            one.close()

    def _subject_consistency(self, jobs: Sequence[Job]) -> list[Value]:
        return [_value(one, _consistency) for one in self.dino.images([job.path for job in jobs], self.reader)]

    def _background_consistency(self, jobs: Sequence[Job]) -> list[Value]:
        return [_value(one, _consistency) for one in self.frames_of_b32.images([job.path for job in jobs], self.reader)]

    def _aesthetic_quality(self, jobs: Sequence[Job]) -> list[Value]:
        if self._head is None:
            self._head = read_head(self._head_file, f"{self.key}.models.head_file")
        weight, bias = self._head
        width = self.frames_of_l14.shared.model.config.projection_dim
        if width != len(weight):
            raise UserError(
                f"{self.key}.models.head_file: it reads features of {len(weight)} numbers, and models.clip_l14 makes {width}; give "
                "the CLIP that it was trained on (ViT-L/14)"
            )
        found = self.frames_of_l14.images([job.path for job in jobs], self.reader)
        return [_value(one, lambda frames: Weighted(formulas.aesthetic(frames, weight, bias), 1)) for one in found]

    def _appearance_style(self, jobs: Sequence[Job]) -> list[Value]:
        """Against the name of the style alone, as the suite's label has it."""
        styles = [label_of(job.query, "appearance_style") for job in jobs]
        names = [style if isinstance(style, str) else "" for style in styles]
        texts = self.images_of_b32.texts(names)
        found = self.images_of_b32.images([job.path for job in jobs], self.reader)
        return [
            _value(images, lambda frames, text=text: Weighted(formulas.style(frames, text), len(frames)))  # type: ignore[misc]
            if name
            else Failure(
                "no_label", "the query's auxiliary_info names no appearance_style, as VBench_full_info.json does"
            )
            for name, text, images in zip(names, texts, found, strict=True)
        ]

    def _steadiness(self, job: Job) -> Value:
        try:
            value = formulas.steadiness(window.images for window in self.reader.windows(job.path))
        except ClipError as error:
            return _of_error(error)
        return TOO_SHORT if value is None else Weighted(value, 1)

    def _temporal_flickering(self, jobs: Sequence[Job]) -> list[Value]:
        """Of the first five clips of each prompt that are static."""
        found: list[Value] = []
        for job in jobs:
            enough = self._accepted[job.place] >= CLIPS
            found.append(Dropped(seen=False) if enough else self._steadiness_if_static(job))
            self._accepted[job.place] += isinstance(found[-1], Weighted)
        return found

    def _steadiness_if_static(self, job: Job) -> Value:
        try:
            places = self.reader.indices(job.path)
            speeds = self._speeds(job, places, formulas.STATIC_TOP)
            ends = dict(self._images(job, {places[0], places[-1]}))
            first, last = ends[places[0]], ends[places[-1]]
            there, back = self._top_speeds([(first, last), (last, first)], formulas.STATIC_TOP)
        except (ClipError, TooSmall) as error:
            return _of_error(error)
        if not all(map(math.isfinite, (*speeds, there, back))):
            return NOT_FINITE
        static = formulas.is_static(speeds, there, back, *first.shape[:2])
        return self._steadiness(job) if static else Dropped(seen=True)

    def _dynamic_degree(self, job: Job) -> Value:
        """1 for a clip that moves, 0 for one that does not."""
        try:
            rate = job.clip.fps or self.reader.rate(job.path)
            chosen = formulas.sampled(self.reader.count(job.path), rate)
            speeds = self._speeds(job, chosen, formulas.DYNAMIC_TOP)
        except (ClipError, TooSmall) as error:
            return _of_error(error)
        if not all(map(math.isfinite, speeds)):
            return NOT_FINITE
        return Weighted(float(formulas.is_dynamic(speeds, job.clip.height, job.clip.width)), 1)

    def _speeds(self, job: Job, chosen: Sequence[int], share: float) -> list[float]:
        """The top speed from each of the chosen frames to the next of them."""
        speeds: list[float] = []
        waiting: list[tuple[np.ndarray, np.ndarray]] = []
        last: np.ndarray | None = None
        for _, image in self._images(job, set(chosen)):
            if last is not None:
                waiting.append((last, image))
            last = image
            if len(waiting) == self.flow.batch_size:
                speeds += self._top_speeds(waiting, share)
                waiting = []
        return speeds + self._top_speeds(waiting, share)

    def _top_speeds(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]], share: float) -> list[float]:
        return [speed for flow in self.flow.flows(pairs) for speed in formulas.top_speed(flow, share)]

    def _images(self, job: Job, chosen: set[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The chosen frames with their places, in order. Raises ClipError where the clip cannot be read."""
        for window in self.reader.windows(job.path, chosen):
            yield from zip(window.indices, window.images, strict=True)


def check_files(dimensions: Sequence[str], models: Mapping[str, Any], key: str) -> None:
    """Raise UserError where a dimension needs a file or a package that is not there."""
    if set(FLOW) & set(dimensions):
        check_raft(models["raft_file"], f"{key}.models.raft_file")
    if "aesthetic_quality" in dimensions:
        read_head(models["head_file"], f"{key}.models.head_file")


def _consistency(features: torch.Tensor) -> Value:
    value = formulas.consistency(features)
    return TOO_SHORT if value is None else Weighted(value, len(features) - 1)


def _value(features: torch.Tensor | ClipError, formula: Callable[[torch.Tensor], Value]) -> Value:
    """What a formula makes of a clip's features; a Failure where there are none, or it gives no number, as broken weights do."""
    if isinstance(features, ClipError):
        return _of_error(features)
    found = formula(features)
    if isinstance(found, Weighted) and not math.isfinite(found.value):
        return NOT_FINITE
    return found


def _of_error(error: Exception) -> Failure:
    return Failure("too_small" if isinstance(error, TooSmall) else "unreadable", str(error))
