"""Where W&B keeps its files of a run: below the run folder, with one complete offline copy at most."""

import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def run_id(folder: Path) -> str:
    """The W&B id of a run folder: the same for the same `<experiment>/<overrides>-<hash>`, wherever it lies."""
    return hashlib.sha256("/".join(folder.absolute().parts[-2:]).encode()).hexdigest()[:16]


@contextmanager
def replacing_earlier_copy(folder: Path, mode: str) -> Iterator[None]:
    """Replace our earlier offline copy by what the body writes. Where that fails, keep it and remove what the body has written.

    One is enough: each mirror is complete, and two would be synced on top of one another. A mirror online needs no copy, and one
    that failed leaves none.
    """
    earlier = _copies(folder, mode)
    try:
        yield
    except BaseException:
        _remove(_copies(folder, mode) - earlier)
        raise
    if mode == "offline" and _copies(folder, mode) - earlier:
        _remove(earlier)


def _copies(folder: Path, mode: str) -> set[Path]:
    """The folders of our mirrors in one mode, of which W&B numbers a second one in the same second, and those of their files."""
    if mode == "online":
        return {*(folder / "wandb").glob(f"run-*-{run_id(folder)}*")}
    return {*(folder / "wandb").glob(f"offline-run-*-{run_id(folder)}*"), *(folder / "wandb" / "data").glob("*")}


def _remove(folders: Iterable[Path]) -> None:
    for one in folders:
        shutil.rmtree(one, ignore_errors=True)


@contextmanager
def media_in_run_folder(folder: Path, mode: str) -> Iterator[None]:
    """Have W&B keep a table's clips in the run folder until they are uploaded; left alone, it takes the user's home.

    Each offline copy has a place of its own, so that the earlier one goes with its files. W&B reads WANDB_MODE even where it
    is given a mode, and refuses to start on one that it does not know.
    """
    own = str(time.time_ns()) if mode == "offline" else "online"
    settings = {"WANDB_DATA_DIR": str((folder / "wandb" / "data" / own).absolute()), "WANDB_MODE": mode}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
