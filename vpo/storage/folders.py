"""Deleting folders of the store so that a kill on the way does no harm."""

import shutil
from pathlib import Path


def discard(folder: Path) -> None:
    """Delete a result's folder: rename it first, so that a kill leaves no manifest over half of a payload."""
    trash = folder.with_name(folder.name.split(".")[0] + ".trash")
    if folder != trash:
        if trash.exists():
            shutil.rmtree(trash)
        folder.rename(trash)
    shutil.rmtree(trash)
