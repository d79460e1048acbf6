"""The choices of a config group, as files: ours, and those of the user's own `./conf`."""

from pathlib import Path

from vpo import conf


def files_of(group: str) -> list[Path]:
    """The group's yaml files, ours first; in a checkout the package `vpo.conf` is the folder `conf/`."""
    return [file for folder in _folders() for file in sorted((folder / group).glob("*.yaml"))]


# Groups of values that `vpo optimize` reads; a run composes none of them.
OF_OPTIMIZE = ("search", "target")


def groups() -> dict[str, list[str]]:
    """The choices by their names of every group that a run composes."""
    found = sorted(
        {one.name for folder in _folders() for one in folder.glob("[a-z]*") if one.is_dir()} - {*OF_OPTIMIZE}
    )
    choices = {group: sorted({file.stem for file in files_of(group)}) for group in found}
    return {group: names for group, names in choices.items() if names}


def _folders() -> list[Path]:
    return [*(Path(root) for root in conf.__path__), Path("conf")]
