"""Models that look at frames, loaded once in a process whoever uses them, and let go by the last user.

Two rewards on the same CLIP share its weights and, per clip and frame, what it made of them.
"""

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import CLIPModel, Dinov2Model, ViTModel
from transformers.utils.logging import disable_progress_bar

from vpo.errors import UserError
from vpo.language.checkpoints.files import read_json
from vpo.language.checkpoints.intake import fetch
from vpo.language.checkpoints.wording import in_short, some

disable_progress_bar()  # type: ignore[no-untyped-call]  # ours are per stage

_WEIGHTS = (".safetensors", ".bin")
FEATURE_BYTES = 1 << 28  # of frames' features that a model keeps


@dataclass(frozen=True)
class Place:
    """Which model, and where it runs.

    Attributes:
        path: hub id, folder or `asset:<name>`.
        revision: commit of the hub; None for a folder.
        dtype: of the weights, by torch's name.
        device: "cpu", or "gpu" (as the trainer's accelerator is called) or "cuda".
    """

    path: str
    revision: str | None = None
    dtype: str = "float32"
    device: str = "cpu"

    @property
    def torch_device(self) -> str:
        """The device by torch's name."""
        return "cuda" if self.device == "gpu" else self.device


class Shared:
    """A model and what it made of frames, for all that use it in this process.

    Attributes:
        model: in eval mode, on its device.
        folder: of its files.
        features: of frames; see `FeatureCache`.
    """

    def __init__(self, model: Any, folder: Path) -> None:
        self.model, self.folder, self.features = model, folder, FeatureCache()

    @cached_property
    def tokenizer(self) -> Any:
        """Of the model's folder."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder)

    @cached_property
    def fingerprint(self) -> str:
        """What names the weights: the commit of a folder that the hub keeps, else a hash of the files of config and weights."""
        if self.folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", self.folder.name):
            return f"{self.folder.parent.parent.name}@{self.folder.name}"
        digest = hashlib.sha256()
        for path in sorted(one for one in self.folder.iterdir() if one.name == "config.json" or one.suffix in _WEIGHTS):
            with path.open("rb") as file:
                digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        return digest.hexdigest()


Load = Callable[[Any, str], Shared]


class FeatureCache:
    """Features by clip and transform, then by frame; the least recently used clip goes first.

    Args:
        limit: bytes that are kept.
    """

    def __init__(self, limit: int = FEATURE_BYTES) -> None:
        self.limit, self._size = limit, 0
        self._clips: OrderedDict[Hashable, dict[int, torch.Tensor]] = OrderedDict()

    def get(self, key: Hashable) -> dict[int, torch.Tensor]:
        """The features of a clip's frames by index; empty where there are none."""
        if key in self._clips:
            self._clips.move_to_end(key)
        return dict(self._clips.get(key, {}))

    def add(self, key: Hashable, found: dict[int, torch.Tensor]) -> None:
        """Keep features of a clip's frames beside those that are kept of it."""
        kept = self._clips.setdefault(key, {})
        self._clips.move_to_end(key)
        self._size += sum(one.nbytes for index, one in found.items() if index not in kept)
        kept.update(found)
        while self._size > self.limit and len(self._clips) > 1:
            _, gone = self._clips.popitem(last=False)
            self._size -= sum(one.nbytes for one in gone.values())

    def clear(self) -> None:
        """Drop all features."""
        self._clips.clear()
        self._size = 0


_loaded: dict[Hashable, tuple[Shared, int]] = {}
_lock = threading.Lock()


class Lease:
    """The right to use a shared model; the model is loaded when it is first asked for.

    Args:
        load: from a place, and the config key that names it, to the model.
        place: which one; a `Place`, or what the loader takes in its stead.
        key: the config key, for messages.
    """

    def __init__(self, load: Load, place: Hashable, key: str) -> None:
        self._load, self._place, self._key = load, place, key
        self._shared: Shared | None = None

    def get(self) -> Shared:
        """The model. Raises UserError where it cannot be loaded."""
        if self._shared is None:
            name = (self._load, self._place)
            with _lock:
                shared, users = _loaded.get(name) or (self._load(self._place, self._key), 0)
                _loaded[name] = shared, users + 1
            self._shared = shared
        return self._shared

    def forget(self) -> None:
        """Drop what a model that is held has made of frames."""
        if self._shared is not None:
            self._shared.features.clear()

    def close(self) -> None:
        """Give it back; a second call does nothing."""
        if self._shared is None:
            return
        name = (self._load, self._place)
        with _lock:
            shared, users = _loaded.pop(name)
            if users > 1:
                _loaded[name] = shared, users - 1
        self._shared = None


def load_clip(place: Place, key: str) -> Shared:
    """A CLIPModel of transformers, of any size. Raises UserError where there is none."""
    return load(CLIPModel, place, key)


def load_dino(place: Place, key: str) -> Shared:
    """A ViTModel of transformers without its pooler. Raises UserError where there is none."""
    return load(ViTModel, place, key, add_pooling_layer=False)


def load_dino2(place: Place, key: str) -> Shared:
    """A Dinov2Model of transformers. Raises UserError where there is none."""
    return load(Dinov2Model, place, key)


def load(model_class: Any, place: Place, key: str, *, spare: Sequence[str] = (), **options: Any) -> Shared:
    """A model of a class of transformers, safely: weights only, no code of the model's repository.

    Args:
        model_class: with `from_pretrained`.
        place: which model.
        key: the config key that names it, for messages.
        spare: parts of the names of weights that may be missing.
        options: further ones of `from_pretrained`.

    Raises:
        UserError: It is not there, is no such model, or lacks weights, which transformers would fill with random numbers.
    """
    folder, where = find(place, key), f"{key}={place.path}"
    if place.torch_device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"{where}: device={place.device}, and there is no GPU; set {key.rpartition('.')[0]}.device=cpu")
    kind, own = read_json(folder / "config.json", where).get("model_type"), model_class.config_class.model_type
    if kind != own:
        raise UserError(f"{where}: a model of type {kind}, and {key} takes {own}; give the folder or hub id of one")
    try:
        model, report = model_class.from_pretrained(
            folder, dtype=getattr(torch, place.dtype), output_loading_info=True, weights_only=True, **options
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError) as error:
        raise UserError(
            f"{where}: cannot be loaded as a {model_class.__name__} ({in_short(error)}); give the folder or hub id of one"
        ) from error
    missing = sorted(name for name in report["missing_keys"] if not any(one in name for one in spare))
    if missing:
        raise UserError(
            f"{where}: is no whole {model_class.__name__}, weights are missing ({some(missing)}); give another one"
        )
    return Shared(model.to(place.torch_device).eval().requires_grad_(False), folder)


def find(place: Place, key: str) -> Path:
    """The folder of a model's files; of the hub, safetensors, or where it has none the weights that torch reads safely."""
    folder, commit = fetch(place.path, place.revision, key)
    if commit is not None and not place.path.startswith("asset:") and not any(folder.glob("*.safetensors")):
        snapshot_download(place.path, revision=commit, allow_patterns=["pytorch_model*.bin", "*.bin.index.json"])
    return folder
