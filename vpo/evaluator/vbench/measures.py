"""How each dimension is measured on clips in this process: on all of a clip, or on its segments.

The formulas are `vpo.evaluator.vbench.formulas`; what VBench-Long does differently is `vpo.evaluator.vbench.long`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vpo.cards import Weighted
from vpo.errors import UserError
from vpo.evaluator.vbench import formulas
from vpo.evaluator.vbench.dimensions import UNFILTERED, label_of
from vpo.evaluator.vbench.jobs import TOO_SHORT, Job, Parts, Value, failure_of
from vpo.evaluator.vbench.motion import Motion
from vpo.evaluator.vbench.segments import Cut, Whole
from vpo.records import Failure
from vpo.storage.feature_store import FeatureStore
from vpo.video.aesthetic_head import read_head
from vpo.video.clips import ClipError
from vpo.video.features import ClipEncoder, DinoEncoder
from vpo.video.flow import Raft, check_raft
from vpo.video.frames import FrameReader, groups
from vpo.video.models import Place
from vpo.video.selection import middle
from vpo.video.transforms import CLIP, CLIP_OF_VBENCH
from vpo.video.viclip import Viclip, check_viclip

FLOW = ("temporal_flickering", "dynamic_degree")  # need RAFT
TEXT = ("temporal_style", "overall_consistency")  # need ViCLIP
GROUP_BYTES = (
    1 << 28
)  # of the frames of clips that are measured together; one clip may have more, up to what the cache keeps
NO_STYLE = Failure("no_label", "the query's auxiliary_info names no appearance_style, as VBench_full_info.json does")


@dataclass(frozen=True)
class Setup:
    """Where the models of the dimensions are, and how they run.

    Attributes:
        models: as of `VBench`.
        store: where features are kept; None for nowhere.
        dtype: of the encoders' weights.
        device: "cpu", "gpu" or "cuda".
        key: of the evaluator in the config, for messages.
    """

    models: Mapping[str, Any]
    store: FeatureStore | None
    dtype: str
    device: str
    key: str

    def place(self, name: str) -> tuple[Place, str]:
        """Where a model of the config is, and the key that names it."""
        model = self.models[name]
        return Place(model["path"], model["revision"], self.dtype, self.device), f"{self.key}.models.{name}.path"


class Measures:
    """The models of the dimensions, each loaded when it is needed first, and what they find.

    Args:
        dimensions: the names of those that are asked for.
        setup: of the models.
    """

    cut: Cut = Whole()

    def __init__(self, dimensions: Sequence[str], setup: Setup) -> None:
        models, store, device, key, place = setup.models, setup.store, setup.device, setup.key, setup.place
        self.dimensions, self.key = tuple(dimensions), key
        self.reader = FrameReader("all")
        self.dino = DinoEncoder(*place("dino"), store=store)
        self.frames_of_b32 = ClipEncoder(*place("clip_b32"), CLIP_OF_VBENCH, store=store)
        self.images_of_b32 = ClipEncoder(*place("clip_b32"), CLIP, store=store)  # as Pillow resizes
        self.frames_of_l14 = ClipEncoder(*place("clip_l14"), CLIP_OF_VBENCH, store=store)
        self._encoders: list[ClipEncoder | DinoEncoder] = [
            self.dino, self.frames_of_b32, self.images_of_b32, self.frames_of_l14
        ]  # fmt: skip
        self.parts = Parts(self.reader, self.cut)
        self.flow = Raft(models["raft_file"], device, f"{key}.models.raft_file")
        self.motion = Motion(self.parts, self.flow)
        tokenizer, tokenizer_key = place("clip_l14")
        viclip_key = f"{key}.models.viclip_file"
        self.viclip = Viclip(models["viclip_file"], tokenizer, device, viclip_key, tokenizer_key)
        self._head_file = str(models["head_file"])
        self._head: tuple[torch.Tensor, float] | None = None
        # Of the group's jobs, by their identity: two dimensions ask for the same.
        self._embedded: dict[int, list[torch.Tensor]] = {}
        self._measures: dict[str, Callable[[Sequence[Job]], list[Value]]] = {
            "subject_consistency": self._subject_consistency,
            "background_consistency": self._background_consistency,
            "temporal_flickering": lambda jobs: [self.motion.temporal_flickering(job) for job in jobs],
            "dynamic_degree": lambda jobs: [self.motion.dynamic_degree(job) for job in jobs],
            "aesthetic_quality": self._aesthetic_quality,
            "appearance_style": self._appearance_style,
            **dict.fromkeys(TEXT, self._text_consistency),
            UNFILTERED.name: lambda jobs: [self.motion.steadiness(job) for job in jobs],
        }

    def measure(self, jobs: Sequence[Job]) -> None:
        """Put into each job what its dimensions find. Each clip is decoded once; its frames and features go with its group."""
        self.motion.begin()
        for group in groups([job.size for job in jobs], GROUP_BYTES):
            self._embedded.clear()  # first, as what was left by an error has the identities of jobs that are gone
            for name in self.dimensions:
                wanted = [jobs[number] for number in group if name in jobs[number].dimensions]
                for job, value in zip(wanted, self._measures[name](wanted) if wanted else (), strict=True):
                    job.found[name] = value
            self.reader.let_go()
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
        if id(job) not in self._embedded:
            try:
                self._embedded[id(job)] = self.parts.settled(job, lambda: self._embeddings(job))
            except ClipError as error:
                return failure_of(error)
        embeddings = self._embedded[id(job)]
        return self.parts.pooled([Weighted(float(one.double() @ text.double()), 1) for one in embeddings])

    def _embeddings(self, job: Job) -> list[torch.Tensor]:
        """Of the middle frames of each part, one part after the other."""
        found = []
        for span in self.parts.spans(job):
            places = [span[one] for one in middle(len(span), self.viclip.model.frames)]
            images = self.parts.images_at(job, set(places))
            found.append(self.viclip.embedding(np.stack([images[one] for one in places])))
        return found

    def _of_features(
        self, job: Job, features: torch.Tensor | ClipError, formula: Callable[[torch.Tensor], Value]
    ) -> Value:
        """What a formula makes of the features of a clip's parts; a Failure where there are none."""
        try:
            if isinstance(features, ClipError):
                raise features
            spans = self.parts.spans(job)
        except ClipError as error:
            return failure_of(error)
        return self.parts.pooled([formula(features[span.start : span.stop]) for span in spans])


def check_files(dimensions: Sequence[str], models: Mapping[str, Any], key: str) -> None:
    """Raise UserError where a dimension needs a file or a package that is not there."""
    if set(FLOW) & set(dimensions):
        check_raft(models["raft_file"], f"{key}.models.raft_file")
    if set(TEXT) & set(dimensions):
        check_viclip(models["viclip_file"], f"{key}.models.viclip_file")
    if "aesthetic_quality" in dimensions:
        read_head(models["head_file"], f"{key}.models.head_file")


def _consistency(features: torch.Tensor) -> Value:
    value = formulas.consistency(features)
    return TOO_SHORT if value is None else Weighted(value, len(features) - 1)
