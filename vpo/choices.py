"""The choices of a config group, as files: ours, and those of the user's own `./conf`."""

from pathlib import Path

from vpo import conf


def files_of(group: str) -> list[Path]:
    """The group's yaml files, ours first; in a checkout the package `vpo.conf` is the folder `conf/`."""
    folders = [*(Path(root) / group for root in conf.__path__), Path("conf") / group]
    return [file for folder in folders for file in sorted(folder.glob("*.yaml"))]
