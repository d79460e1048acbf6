"""How each dimension is measured on clips in this process: on all of a clip, or on its segments.

The formulas are `vpo.evaluator.vbench.formulas`; what VBench-Long does differently is `vpo.evaluator.vbench.long`.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vpo.cards import Weighted
from vpo.errors import UserError
from vpo.evaluator.vbench import formulas
from vpo.evaluator.vbench.dimensions import CLIPS, UNFILTERED, label_of
from vpo.evaluator.vbench.segments import Cut, Whole
from vpo.records import Clip, Failure, Query
from vpo.storage.feature_store import FeatureStore
from vpo.video.aesthetic_head import read_head
from vpo.video.clips import ClipError
from vpo.video.features import ClipEncoder, DinoEncoder
from vpo.video.flow import Raft, TooSmall, check_raft
from vpo.video.frames import FrameCache, FrameReader, groups
from vpo.video.models import Place
from vpo.video.selection import middle
from vpo.video.transforms import CLIP, CLIP_OF_VBENCH
from vpo.video.viclip import Viclip, check_viclip

FLOW = ("temporal_flickering", "dynamic_degree")  # need RAFT
TEXT = ("temporal_style", "overall_consistency")  # need ViCLIP
GROUP_BYTES = (
    1 << 28
)  # of the frames of clips that are measured together; one clip may have more, up to what the cache keeps
TOO_SHORT = Failure("too_short", "the clip has one frame, and the dimension compares frames")
NO_STYLE = Failure("no_label", "the query's auxiliary_info names no appearance_style, as VBench_full_info.json does")
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

    cut: Cut = Whole()

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
            return place_of(models, name, dtype, device, key)

        self.dimensions, self.key = tuple(dimensions), key
        self.reader = FrameReader("all", cache=FrameCache())
        self.dino = DinoEncoder(*place("dino"), store=store)
        self.frames_of_b32 = ClipEncoder(*place("clip_b32"), CLIP_OF_VBENCH, store=store)
        self.images_of_b32 = ClipEncoder(*place("clip_b32"), CLIP, store=store)  # as Pillow resizes
        self.frames_of_l14 = ClipEncoder(*place("clip_l14"), CLIP_OF_VBENCH, store=store)
        self._encoders: list[ClipEncoder | DinoEncoder] = [
            self.dino, self.frames_of_b32, self.images_of_b32, self.frames_of_l14
        ]  # fmt: skip
        self.flow = Raft(models["raft_file"], device, f"{key}.models.raft_file")
        self.viclip = Viclip(
            models["viclip_file"], place("clip_l14")[0], device, f"{key}.models.viclip_file", place("clip_l14")[1]
        )
        self._head_file = str(models["head_file"])
        self._head: tuple[torch.Tensor, float] | None = None
        self._accepted: Counter[int] = Counter()  # static clips, or segments, by sample
        self._measures: dict[str, Callable[[Sequence[Job]], list[Value]]] = {
            "subject_consistency": self._subject_consistency,
            "background_consistency": self._background_consistency,
            "temporal_flickering": lambda jobs: [self._temporal_flickering(job) for job in jobs],
            "dynamic_degree": lambda jobs: [self._dynamic_degree(job) for job in jobs],
            "aesthetic_quality": self._aesthetic_quality,
            "appearance_style": self._appearance_style,
            **dict.fromkeys(TEXT, self._text_consistency),
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
        for one in (*self._encoders, self.flow, self.viclip, self.reader):
            one.close()

    def _subject_consistency(self, jobs: Sequence[Job]) -> list[Value]:
        found = self.dino.images([job.path for job in jobs], self.reader)
        return [self._of_features(job, one, _consistency) for job, one in zip(jobs, found, strict=True)]

    def _background_consistency(self, jobs: Sequence[Job]) -> list[Value]:
        found = self.frames_of_b32.images([job.path for job in jobs], self.reader)
        return [self._of_features(job, one, _consistency) for job, one in zip(jobs, found, strict=True)]

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

        def formula(frames: torch.Tensor) -> Value:
            return Weighted(formulas.aesthetic(frames, weight, bias), 1)

        found = self.frames_of_l14.images([job.path for job in jobs], self.reader)
        return [self._of_features(job, one, formula) for job, one in zip(jobs, found, strict=True)]

    def _appearance_style(self, jobs: Sequence[Job]) -> list[Value]:
        """Against the name of the style alone, as the suite's label has it."""
        styles = [label_of(job.query, "appearance_style") for job in jobs]
        names = [style if isinstance(style, str) else "" for style in styles]
        texts = self.images_of_b32.texts(names)
        found = self.images_of_b32.images([job.path for job in jobs], self.reader)

        def value(job: Job, name: str, text: torch.Tensor, images: torch.Tensor | ClipError) -> Value:
            if not name:
                return NO_STYLE
            return self._of_features(job, images, lambda one: Weighted(formulas.style(one, text), len(one)))

        return [value(*one) for one in zip(jobs, names, texts, found, strict=True)]

    def _text_consistency(self, jobs: Sequence[Job]) -> list[Value]:
        """Of eight frames with the user's query, whatever prompt the clip was rendered from."""
        return [self._consistency_with(job, text) for job, text in zip(jobs, self._queries(jobs), strict=True)]

    def _queries(self, jobs: Sequence[Job]) -> list[torch.Tensor]:
        """Embeddings of the queries' texts; of a text that several clips have, once."""
        texts = list(dict.fromkeys(job.query.text for job in jobs))
        found = dict(zip(texts, self.viclip.texts(texts), strict=True))
        return [found[job.query.text] for job in jobs]

    def _consistency_with(self, job: Job, text: torch.Tensor) -> Value:
        try:
            chosen = [[span[one] for one in middle(len(span), self.viclip.model.frames)] for span in self._spans(job)]
            images = dict(self._images(job, {one for places in chosen for one in places}))
            clips = self.viclip.clips([np.stack([images[one] for one in places]) for places in chosen])
        except ClipError as error:
            return failure_of(error)
        return self._pooled([Weighted(float(one), 1) for one in clips.double() @ text.double()])

    def _steadiness(self, job: Job) -> Value:
        try:
            spans = self._spans(job)
            steps = self._steps(job)
        except ClipError as error:
            return failure_of(error)
        return self._pooled([_steady(steps, span) for span in spans])

    def _temporal_flickering(self, job: Job) -> Value:
        """Of the first five clips of each prompt that are static (of VBench-Long: segments)."""
        wanted = CLIPS - self._accepted[job.place]
        if wanted <= 0:
            return Dropped(seen=False)
        try:
            static = self._static(job)
            if not isinstance(static, list):
                return static
            if not static:
                return Dropped(seen=True)
            steps = self._steps(job)
        except (ClipError, TooSmall) as error:
            return failure_of(error)
        value = self._pooled([_steady(steps, span) for span in static[:wanted]])
        self._accepted[job.place] += len(static[:wanted]) if isinstance(value, Weighted) else 0
        return value

    def _static(self, job: Job) -> list[range] | Failure:
        """The parts of a clip that the static filter accepts."""
        spans = self._spans(job)
        pairs = [pair for span in spans for pair in (*pairwise(span), (span[0], span[-1]), (span[-1], span[0]))]
        speeds = self._speeds(job, pairs, formulas.STATIC_TOP)
        if not all(map(math.isfinite, speeds)):
            return NOT_FINITE
        found, start = [], 0
        for span in spans:
            *own, there, back = speeds[start : start + len(span) + 1]
            start += len(span) + 1
            if formulas.is_static(own, there, back, job.clip.height, job.clip.width):
                found.append(span)
        return found

    def _dynamic_degree(self, job: Job) -> Value:
        """1 for a clip that moves, 0 for one that does not; of segments, the share of those that move."""
        try:
            rate = job.clip.fps or self.reader.rate(job.path)
            sampled = [[span[place] for place in formulas.sampled(len(span), rate)] for span in self._spans(job)]
            speeds = self._speeds(job, [pair for one in sampled for pair in pairwise(one)], formulas.DYNAMIC_TOP)
        except (ClipError, TooSmall) as error:
            return failure_of(error)
        if not all(map(math.isfinite, speeds)):
            return NOT_FINITE
        found: list[Value] = []
        for one in sampled:
            own, speeds = speeds[: len(one) - 1], speeds[len(one) - 1 :]
            found.append(Weighted(float(formulas.is_dynamic(own, job.clip.height, job.clip.width)), 1))
        return self._pooled(found)

    def _spans(self, job: Job) -> list[range]:
        """The parts on which a clip is measured, by their frames. Raises ClipError where it cannot be read."""
        return self.cut.spans(
            job.query, self.reader.count(job.path), lambda: job.clip.fps or self.reader.rate(job.path)
        )

    def _of_features(
        self, job: Job, features: torch.Tensor | ClipError, formula: Callable[[torch.Tensor], Value]
    ) -> Value:
        """What a formula makes of the features of a clip's parts; a Failure where there are none."""
        if isinstance(features, ClipError):
            return failure_of(features)
        return self._pooled([formula(features[span.start : span.stop]) for span in self._spans(job)])

    def _pooled(self, values: Sequence[Value]) -> Value:
        """A clip's value; a Failure where a part has one, or a number is none, as of broken weights."""
        found = [one for one in values if isinstance(one, Weighted)]
        if len(found) < len(values):
            return next(one for one in values if not isinstance(one, Weighted))
        if not all(math.isfinite(one.value) for one in found):
            return NOT_FINITE
        return self.cut.pooled(found)

    def _steps(self, job: Job) -> list[float]:
        """How much the picture changes from each frame to the next. Raises ClipError where the clip cannot be read."""
        return formulas.changes(window.images for window in self.reader.windows(job.path))

    def _speeds(self, job: Job, pairs: Sequence[tuple[int, int]], share: float) -> list[float]:
        """The top speed from one frame to another, of each pair; the clip is read once, and frames are held while they are needed.

        Raises:
            ClipError: The clip cannot be read.
            TooSmall: Its pictures are too small for the model.
        """
        found = [math.nan] * len(pairs)
        complete: dict[int, list[int]] = {}  # by the frame with which a pair is there
        needed: dict[int, int] = {}  # of each frame, the last one that it is compared with
        for number, pair in enumerate(pairs):
            complete.setdefault(max(pair), []).append(number)
            for one in pair:
                needed[one] = max(needed.get(one, 0), *pair)
        held: dict[int, np.ndarray] = {}
        waiting: list[tuple[int, tuple[np.ndarray, np.ndarray]]] = []

        def measure() -> None:
            if waiting:
                numbers, images = zip(*waiting, strict=True)
                top = [speed for flow in self.flow.flows(images) for speed in formulas.top_speed(flow, share)]
                for number, speed in zip(numbers, top, strict=True):
                    found[number] = speed
                waiting.clear()

        for place, image in self._images(job, set(needed)):
            held[place] = image
            for number in complete.get(place, ()):
                first, second = pairs[number]
                waiting.append((number, (held[first], held[second])))
                if len(waiting) == self.flow.batch_size:
                    measure()
            held = {one: picture for one, picture in held.items() if needed[one] > place}
        measure()
        return found

    def _images(self, job: Job, chosen: set[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The chosen frames with their places, in order. Raises ClipError where the clip cannot be read."""
        for window in self.reader.windows(job.path, chosen):
            yield from zip(window.indices, window.images, strict=True)


def check_files(dimensions: Sequence[str], models: Mapping[str, Any], key: str) -> None:
    """Raise UserError where a dimension needs a file or a package that is not there."""
    if set(FLOW) & set(dimensions):
        check_raft(models["raft_file"], f"{key}.models.raft_file")
    if set(TEXT) & set(dimensions):
        check_viclip(models["viclip_file"], f"{key}.models.viclip_file")
    if "aesthetic_quality" in dimensions:
        read_head(models["head_file"], f"{key}.models.head_file")


def place_of(models: Mapping[str, Any], name: str, dtype: str, device: str, key: str) -> tuple[Place, str]:
    """Where a model of the config is, and the key that names it."""
    return Place(models[name]["path"], models[name]["revision"], dtype, device), f"{key}.models.{name}.path"


def _consistency(features: torch.Tensor) -> Value:
    value = formulas.consistency(features)
    return TOO_SHORT if value is None else Weighted(value, len(features) - 1)


def _steady(steps: Sequence[float], span: range) -> Value:
    """Of the steps inside of a part."""
    value = formulas.steadiness(steps[span.start : span.stop - 1])
    return TOO_SHORT if value is None else Weighted(value, 1)


def failure_of(error: Exception) -> Failure:
    """Of a clip that cannot be read, or whose pictures are too small."""
    return Failure("too_small" if isinstance(error, TooSmall) else "unreadable", str(error))
