"""Features of frames by CLIP (images and texts) and DINO, in batches over clips, each frame of a clip once a model.

What an encoder made of a clip is kept in the process, and, for one that is given a `FeatureStore`, between runs.

CLIP: transformers' CLIPModel, the projected embedding. DINO: transformers' ViTModel, the CLS token after the last LayerNorm, as
torch.hub's `dino_vitb16` gives it (its position embedding is interpolated for the target size, torch.hub's by a scale factor, so that
numbers differ in the third digit or so). DINOv2: transformers' Dinov2Model, the same token; torch.hub's `dinov2_vitb14` shifts the
position embedding by a tenth of a patch when it interpolates it.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from vpo.storage.feature_store import FeatureStore, KeptFeatures
from vpo.video.clips import ClipError
from vpo.video.frames import FrameReader, Key, key_of
from vpo.video.models import Lease, Place, Shared, load_clip, load_dino, load_dino2
from vpo.video.transforms import CLIP, DINO2_OF_VBENCH, DINO_OF_VBENCH, Transform

BATCH = 64  # frames of one forward
VERSION = 1  # of what makes features of frames; another one finds none that were kept before


class ClipEncoder:
    """Images and texts by a CLIP; its weights and the features of frames are shared in the process.

    Args:
        place: of a CLIPModel: B/32, L/14, H/14 or another.
        key: the config key that names it, for messages.
        transform: of frames; the size is the model's own.
        batch_size: frames of one forward.
        store: where features are kept between runs; None for nowhere.
    """

    def __init__(
        self, place: Place, key: str, transform: Transform = CLIP, batch_size: int = BATCH,
        store: FeatureStore | None = None,
    ) -> None:  # fmt: skip
        self.place, self.transform, self.batch_size, self.store = place, transform, batch_size, store
        self._lease = Lease(load_clip, place, key)

    @property
    def shared(self) -> Shared:
        """The model. Raises UserError where it cannot be loaded."""
        return self._lease.get()

    @property
    def logit_scale(self) -> float:
        """What the model multiplies cosines with."""
        return float(self.shared.model.logit_scale.exp())

    def images(self, paths: Sequence[str | Path], reader: FrameReader) -> list[torch.Tensor | ClipError]:
        """The embeddings of each clip's selected frames, float32 (n, d), not normalised; ClipError where it cannot be read."""
        transform = self.transform.of_size(self.shared.model.config.vision_config.image_size)
        encoding = FrameEncoding(self.shared, self._forward, transform, "clip image embedding", self.place.dtype)
        return frame_features(encoding, paths, reader, self.batch_size, self.store)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """The embeddings of texts, float32 (len(texts), d), not normalised; what is longer than the model reads is cut."""
        model = self.shared.model
        batch = self.shared.tokenizer(
            list(texts), padding=True, truncation=True, max_length=model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(model.device)  # fmt: skip
        found: torch.Tensor = model.get_text_features(**batch).pooler_output
        return found.float().cpu()

    def forget(self) -> None:
        """Drop the features of frames, which nobody needs any more."""
        self._lease.forget()

    def close(self) -> None:
        """Give the model back."""
        self._lease.close()

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.shared.model.get_image_features(pixel_values=pixels).pooler_output
        return found


class DinoEncoder:
    """Images by a DINO, whose input keeps its aspect ratio; shared as CLIPs are.

    Args:
        place: of a ViTModel, such as facebook/dino-vitb16.
        key: the config key that names it, for messages.
        transform: of frames; the size is the model's own.
        batch_size: frames of one forward.
        store: where features are kept between runs; None for nowhere.
    """

    load, kind = staticmethod(load_dino), "vit class token"

    def __init__(
        self, place: Place, key: str, transform: Transform = DINO_OF_VBENCH, batch_size: int = BATCH,
        store: FeatureStore | None = None,
    ) -> None:  # fmt: skip
        self.place, self.transform, self.batch_size, self.store = place, transform, batch_size, store
        self._lease = Lease(self.load, place, key)

    @property
    def shared(self) -> Shared:
        """The model. Raises UserError where it cannot be loaded."""
        return self._lease.get()

    def images(self, paths: Sequence[str | Path], reader: FrameReader) -> list[torch.Tensor | ClipError]:
        """The CLS token of each clip's selected frames, float32 (n, d), not normalised; ClipError where it cannot be read."""
        encoding = FrameEncoding(self.shared, self._forward, self._sized(), self.kind, self.place.dtype)
        return frame_features(encoding, paths, reader, self.batch_size, self.store)

    def forget(self) -> None:
        """Drop the features of frames, which nobody needs any more."""
        self._lease.forget()

    def close(self) -> None:
        """Give the model back."""
        self._lease.close()

    def _sized(self) -> Transform:
        return self.transform.of_size(self.shared.model.config.image_size)

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.shared.model(pixels, interpolate_pos_encoding=True).last_hidden_state[:, 0]
        return found


class Dino2Encoder(DinoEncoder):
    """Images by a DINOv2 (a Dinov2Model, such as facebook/dinov2-base), in squares of the transform's size, whatever the model's."""

    load, kind = staticmethod(load_dino2), "dinov2 class token"

    def __init__(
        self, place: Place, key: str, transform: Transform = DINO2_OF_VBENCH, batch_size: int = BATCH,
        store: FeatureStore | None = None,
    ) -> None:  # fmt: skip
        super().__init__(place, key, transform, batch_size, store)

    def _sized(self) -> Transform:
        return self.transform

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.shared.model(pixels).last_hidden_state[:, 0]
        return found


@dataclass(frozen=True)
class FrameEncoding:
    """How frames become features.

    Attributes:
        shared: the model, which keeps features.
        forward: from pixels (n, 3, h, w) on its device to features (n, d).
        transform: from frames to pixels.
        kind: what features are taken from the model.
        dtype: of the weights.
    """

    shared: Shared
    forward: Any
    transform: Transform
    kind: str
    dtype: str

    def asked(self, path: Path) -> dict[str, Any]:
        """What the features of a clip depend on."""
        named = asdict(self.transform).items()
        transform = {key: list(one) if isinstance(one, tuple) else one for key, one in named if one is not None}
        own = {"kind": self.kind, "dtype": self.dtype, "transform": transform, "version": VERSION}
        return own | {"weights": self.shared.fingerprint, "clip": _sha256(key_of(path))}


def frame_features(
    encoding: FrameEncoding,
    paths: Sequence[str | Path],
    reader: FrameReader,
    batch_size: int,
    store: FeatureStore | None = None,
) -> list[torch.Tensor | ClipError]:
    """Features of the selected frames of clips; a frame that the model has seen by this transform is not seen again.

    Args:
        encoding: the model, and how it is used.
        paths: of the clips.
        reader: which frames.
        batch_size: frames of one forward, of several clips where they are of one size.
        store: where features are looked for, and kept.

    Returns:
        Float32 (n, d) a clip, in the order of its selection; ClipError where the clip cannot be read.
    """
    shared, transform = encoding.shared, encoding.transform
    batch = _Batch(shared, encoding.forward, batch_size)
    names: list[Hashable | ClipError] = []
    collected: dict[Hashable, dict[int, torch.Tensor]] = {}
    orders: dict[Hashable, list[int] | ClipError] = {}
    stored: dict[Hashable, tuple[Path, int]] = {}  # how many frames of a clip the store has
    for one in paths:
        path = Path(one)
        try:
            name: Hashable = (key_of(path), transform)
        except ClipError as error:
            names.append(error)
            continue
        names.append(name)
        if name not in orders:
            collected[name] = shared.features.get(name)
            try:
                if store is not None and not collected[name].keys() >= set(reader.indices(path)):
                    found = _find(store, encoding, path, reader)
                    stored[name] = path, len(found)
                    collected[name] = found | collected[name]
                batch.fill(collected[name], path, reader, transform)
                orders[name] = reader.indices(path)
            except ClipError as error:
                orders[name] = error
    batch.flush()
    for name, features in collected.items():
        shared.features.add(name, features)
    for name, (path, known) in stored.items():
        if store is not None and len(collected[name]) > known and not isinstance(orders[name], ClipError):
            with suppress(ClipError):  # gone meanwhile: its features are known all the same
                _keep(store, encoding, path, reader, collected[name])
    return [_in_order(name, collected, orders) for name in names]


def _find(store: FeatureStore, encoding: FrameEncoding, path: Path, reader: FrameReader) -> dict[int, torch.Tensor]:
    """The stored features of a clip by the frame's place; none where its index names another number of frames than there were."""
    found = store.find(encoding.asked(path))
    if found is None or found.count != reader.count(path):
        return {}
    return {place: torch.from_numpy(feature) for place, feature in found.frames.items()}


def _keep(
    store: FeatureStore, encoding: FrameEncoding, path: Path, reader: FrameReader, features: Mapping[int, torch.Tensor]
) -> None:
    frames = {place: features[place].numpy() for place in sorted(features)}
    store.keep(encoding.asked(path), KeptFeatures(reader.count(path), frames))


@lru_cache(maxsize=4096)
def _sha256(key: Key) -> str:
    """Of a clip's bytes. Raises ClipError where it cannot be read."""
    try:
        with open(key[0], "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ClipError(f"{key[0]}: cannot be read: {error.strerror}") from error


def _in_order(
    name: Hashable | ClipError,
    collected: Mapping[Hashable, Mapping[int, torch.Tensor]],
    orders: Mapping[Hashable, list[int] | ClipError],
) -> torch.Tensor | ClipError:
    order = name if isinstance(name, ClipError) else orders[name]
    return order if isinstance(order, ClipError) else torch.stack([collected[name][index] for index in order])


class _Batch:
    """Pixels that wait for a forward, and where their features go."""

    def __init__(self, shared: Shared, forward: Any, size: int) -> None:
        self.shared, self.forward, self.size = shared, forward, size
        self._pixels: list[torch.Tensor] = []
        self._places: list[tuple[dict[int, torch.Tensor], int]] = []

    def fill(self, into: dict[int, torch.Tensor], path: str | Path, reader: FrameReader, transform: Transform) -> None:
        """Have the features of a clip's selected frames that are not in `into` put there, by the next flush at the latest."""
        known = set(into)
        for _ in range(2):  # a second time where the clip has other frames than its index says
            missing = set(reader.indices(path)) - known
            for window in reader.windows(path, missing) if missing else ():
                fresh = [place for place, index in enumerate(window.indices) if index not in known]
                fresh = list(
                    {window.indices[place]: place for place in fresh}.values()
                )  # a frame may be selected twice
                if fresh:
                    self._add(transform(window.images[fresh]), [(into, window.indices[place]) for place in fresh])
                    known.update(window.indices[place] for place in fresh)

    def flush(self) -> None:
        """Run what waits."""
        if not self._pixels:
            return
        model = self.shared.model
        pixels = torch.cat(self._pixels).to(model.device, model.dtype)
        with torch.inference_mode():
            features = self.forward(pixels).float().cpu()
        for (into, index), feature in zip(self._places, features, strict=True):
            into[index] = feature.clone()
        self._pixels, self._places = [], []

    def _add(self, pixels: torch.Tensor, places: list[tuple[dict[int, torch.Tensor], int]]) -> None:
        if self._pixels and self._pixels[0].shape[1:] != pixels.shape[1:]:
            self.flush()
        for start in range(0, len(pixels), self.size):
            part = pixels[start : start + self.size]
            if self._pixels and len(self._places) + len(part) > self.size:
                self.flush()
            self._pixels.append(part)
            self._places.extend(places[start : start + self.size])


def mean_cosine(images: torch.Tensor, text: torch.Tensor) -> float:
    """The mean over frames of the cosine of image and text: (n, d) and (d,)."""
    return float(torch.nn.functional.cosine_similarity(images.double(), text.double().unsqueeze(0)).mean())


def unit(features: torch.Tensor) -> torch.Tensor:
    """Scaled to length 1 along the last axis."""
    return torch.nn.functional.normalize(features, dim=-1)
