"""What image encoders made of clips' frames, kept between runs: `<store>/features/`.

`<two digits>/<key>.npz` holds the features of a clip's frames by one encoder, their places in the clip, and how many frames it has.
The key hashes the clip's bytes and what decides the features (weights, kind of number, transform); not its path or who asked.

Files appear whole, by renaming, and are never changed but replaced, so several processes may share the folder; where two of them add
frames of one clip at once, one file stays and is right as far as it goes. What is damaged is taken for missing (the archive has
checksums). When the folder grows beyond its limit the files go that were not read for the longest time. All of it can be computed
again: deleting the folder costs nothing but time.
"""

import hashlib
import logging
import os
import time
import uuid
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vpo.storage.disk import is_full
from vpo.storage.jsonio import canonical

log = logging.getLogger(__name__)

FOLDER = "features"  # of a store
LEFT_OVER = 3600.0  # seconds after which a temporary file is taken for one of a killed process
_ROOM = 0.9  # of the limit is kept when files are deleted, so that this is not done for every file


@dataclass(frozen=True)
class KeptFeatures:
    """Features of some frames of a clip.

    Attributes:
        count: of the frames that the clip has.
        frames: float32 (d,) by the frame's place.
    """

    count: int
    frames: Mapping[int, np.ndarray]


class FeatureStore:
    """Finds features by {"clip": hash of its bytes, ...: what decides them}.

    Args:
        folder: where they are kept; it is made when something is.
        limit: bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._size: int | None = None  # of all files, as far as this process knows
        self._stopped = False

    def find(self, asked: Mapping[str, Any]) -> KeptFeatures | None:
        """The features of this; None where there are none that can be read."""
        path = self._path(asked)
        try:
            with np.load(path, allow_pickle=False) as file:
                features, places, count = file["features"], file["places"], int(file["count"])
            if features.ndim != 2 or features.dtype != np.float32 or places.shape != features.shape[:1]:
                raise ValueError("it holds other arrays")
            os.utime(path)  # read now: the last to go
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
            log.warning("%s: damaged (%s); it is computed again", path, " ".join(str(error).split())[:100])
            return None
        return KeptFeatures(count, dict(zip(places.tolist(), features, strict=True)))

    def keep(self, asked: Mapping[str, Any], kept: KeptFeatures) -> None:
        """Keep these in the place of what is kept. Where the disk takes no more, nothing is kept any more, and that is said once."""
        if self._stopped or not kept.frames:
            return
        path = self._path(asked)
        part = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.savez(
                    file, features=np.stack(list(kept.frames.values())).astype(np.float32),
                    places=np.array(list(kept.frames), dtype=np.int64), count=np.int64(kept.count),
                )  # fmt: skip
            size = part.stat().st_size
            os.replace(part, path)
        except OSError as error:
            self._stopped = True
            reason = "the disk is full" if is_full(error) else error.strerror
            log.warning("%s: %s; features are not kept, and computed again when they are needed", self.folder, reason)
            return
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        self._size = size + (sum(one.size for one in features_in(self.folder)) if self._size is None else self._size)
        if self._size > self.limit:
            self._make_room()

    def _make_room(self) -> None:
        """Delete the files that were not read for the longest time."""
        files = features_in(self.folder)
        self._size = sum(one.size for one in files)
        for one in sorted(files, key=lambda one: one.read):
            if self._size <= _ROOM * self.limit:
                break
            self._size -= delete_features([one])

    def _path(self, asked: Mapping[str, Any]) -> Path:
        name = hashlib.sha256(canonical(asked).encode(errors="surrogatepass")).hexdigest()[:40]
        return self.folder / name[:2] / f"{name}.npz"


@dataclass(frozen=True)
class FeatureFile:
    """One file of features for housekeeping: its size in bytes, and when it was last read or written."""

    path: Path
    size: int
    read: float


def features_in(folder: Path) -> list[FeatureFile]:
    """All files of features in a folder, and what killed processes left there."""
    found = []
    now = time.time()
    for path in folder.glob("[0-9a-f][0-9a-f]/*"):
        with suppress(FileNotFoundError):
            facts = path.stat()
            left = path.suffix == ".part" and now - facts.st_mtime > LEFT_OVER
            if path.suffix == ".npz" or left:
                found.append(FeatureFile(path, facts.st_size, facts.st_mtime))
    return found


def delete_features(files: Iterable[FeatureFile]) -> int:
    """Delete files; who needs what they held computes it again. Returns their bytes."""
    freed = 0
    for one in files:
        one.path.unlink(missing_ok=True)
        freed += one.size
        with suppress(OSError):  # not empty
            one.path.parent.rmdir()
    return freed
