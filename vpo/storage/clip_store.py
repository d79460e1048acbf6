"""Clips by what made them, so that the same clip is never rendered twice: `<store>/clips/`.

`<two digits>/<key>.mp4` is a clip and `<key>.json` what it is: what was asked for, the clip's record, how it was made, and the
SHA-256 of the file. The key hashes the video model's node (without what cannot change a clip, and with the content of local
files), the prompt's text and the seed; not the query, the method or the run that asked.

A clip in a stage's folder and in here is one file with two names (a hard link), where the file system has such; elsewhere it is
a copy. So the number of names says whether a stage's folder uses a clip: one that has a single name is used by none, and `vpo
store prune` deletes it. (A copy of a store that was made without its links, as by `cp -r`, is complete, and all its clips may be
pruned.)

Files appear whole, by renaming, so several processes and machines may share the folder. A file that does not fit its hash is
taken for missing, and is replaced.
"""

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpo.storage.folders import claim
from vpo.storage.jsonio import canonical, write_json

log = logging.getLogger(__name__)

FOLDER = "clips"  # of a store
LEFT_OVER = 3600.0  # seconds after which a temporary file is taken for one of a killed process


@dataclass(frozen=True)
class StoredClip:
    """A clip in the store: its file, its record as JSON (of whoever asked first), and how it was made."""

    path: Path
    clip: Mapping[str, Any]
    made: Mapping[str, Any]


@dataclass(frozen=True)
class ClipStore:
    """Finds clips by what was asked for: {"generator": node, "prompt": text, "seed": seed}."""

    folder: Path

    def find(self, asked: Mapping[str, Any]) -> StoredClip | None:
        """The clip of this, whole and unchanged; None where there is none."""
        path = self._path(asked)
        try:
            content = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            if canonical(content["asked"]) != canonical(asked):
                reason = "it is of something else"
            elif content["sha256"] != _sha256(path):
                reason = "its file has changed"
            else:
                return StoredClip(path, content["clip"], content["made"])
        except FileNotFoundError:
            return None
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:100] or type(error).__name__
        log.warning("%s: damaged (%s); it is rendered again", path, reason)
        return None

    def keep(self, asked: Mapping[str, Any], file: Path, clip: Mapping[str, Any], made: Mapping[str, Any]) -> None:
        """Keep the clip in `file`, which stays where it is. For who holds the claim."""
        path = self._path(asked)
        path.parent.mkdir(parents=True, exist_ok=True)
        place(file, path)
        write_json(path.with_suffix(".json"), {"asked": asked, "sha256": _sha256(path), "clip": clip, "made": made})

    def claim(self, asked: Mapping[str, Any]) -> AbstractContextManager[bool]:
        """Whether this process may render it now: False while another one does. The claim of a killed process is void."""
        return claim(self._path(asked).with_suffix(".json"))  # which is written last

    def _path(self, asked: Mapping[str, Any]) -> Path:
        name = hashlib.sha256(canonical(asked).encode(errors="surrogatepass")).hexdigest()[:40]
        return self.folder / name[:2] / f"{name}.mp4"


def place(file: Path, path: Path) -> None:
    """Give a file a second name, or a copy where there can be none; `path` appears whole, over what was there."""
    part = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    try:
        try:
            os.link(file, part)
        except FileNotFoundError:
            raise
        except OSError:  # another disk, a file system without links, too many of them
            shutil.copyfile(file, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)  # renaming one name of a file to another name of it does nothing, and leaves both


@dataclass(frozen=True)
class ClipFile:
    """One clip of a store for housekeeping: its file, the size of that in bytes, and the file's identity."""

    path: Path
    size: int
    names: int
    identity: tuple[int, int]


def clips_in(store: Path) -> list[ClipFile]:
    """All clips of a store, and what killed processes left there."""
    found = []
    now = time.time()
    for path in sorted((store / FOLDER).glob("[0-9a-f][0-9a-f]/*")):
        with suppress(FileNotFoundError):
            facts = path.stat()
            left = path.suffix in (".part", ".partial", ".lock") and now - facts.st_mtime > LEFT_OVER
            if path.suffix == ".mp4" or left:
                found.append(ClipFile(path, facts.st_size, facts.st_nlink, (facts.st_dev, facts.st_ino)))
    return found


def unused(clips: Collection[ClipFile], going: Collection[Path] = ()) -> list[ClipFile]:
    """The clips that no stage's folder uses, once the folders in `going` are deleted."""
    shared = {one.identity for one in clips if one.names > 1}
    there: dict[tuple[int, int], int] = {}
    for folder in going:
        for root, _, names in os.walk(folder):
            for name in names:
                with suppress(FileNotFoundError):
                    facts = os.stat(os.path.join(root, name))
                    if facts.st_nlink > 1 and (facts.st_dev, facts.st_ino) in shared:
                        there[facts.st_dev, facts.st_ino] = there.get((facts.st_dev, facts.st_ino), 0) + 1
    return [one for one in clips if one.names - there.get(one.identity, 0) <= 1]


def delete_clips(clips: Collection[ClipFile]) -> int:
    """Delete those of these clips that no stage's folder has taken meanwhile. Returns their bytes."""
    freed = 0
    for one in clips:
        with suppress(FileNotFoundError):
            if one.path.stat().st_nlink > 1:
                continue
            one.path.with_suffix(".json").unlink(missing_ok=True)  # first, so that no record is left without its file
            one.path.unlink()
            freed += one.size
        with suppress(OSError):  # not empty
            one.path.parent.rmdir()
    return freed


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
