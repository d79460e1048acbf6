"""Which methods `vpo evaluate` is asked about, and where the material of each lies."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vpo.errors import UserError
from vpo.external.material import Source, clip_folder, methods_in

ALONE = "given"  # the name of a method that nobody names
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_VALUES = ("null", "true", "false", "nan", "inf")  # which are no texts in Hydra's grammar


@dataclass(frozen=True)
class Asked:
    """A method.

    Attributes:
        name: as configs and results call it.
        label: as the user does.
        source: where its prompts and clips lie.
    """

    name: str
    label: str
    source: Source


def methods_of(clips: Mapping[str, str], prompts: Mapping[str, str]) -> list[Asked]:
    """The methods of the words `clips=`, `clips.<method>=`, `prompts=` and `prompts.<method>=`.

    Methods are those that the words name, else those that the rows of the file name, else a single one. A file that names methods is
    shared out by them, and so is a folder with a folder for each of them.

    Args:
        clips, prompts: what was given by the method's name; "" is that of a word without one.

    Raises:
        UserError: nothing was given, a word with a name stands beside one without, or two methods have one name.
    """
    if not clips and not prompts:
        raise UserError(
            "evaluate: nothing to evaluate; give clips=<folder>, prompts=<file>, or both (clips.<method>=<folder> for each of several)"
        )
    for word, given in (("clips", clips), ("prompts", prompts)):
        if "" in given and len(given) > 1:
            other = next(name for name in given if name)
            raise UserError(
                f"evaluate: {word}= stands beside {word}.{other}=; name the method of both: {word}.<method>="
            )
    shared = prompts.get("")
    in_file = [] if shared is None else methods_in(shared)
    named = list(dict.fromkeys(name for name in (*clips, *prompts) if name))
    unknown = [name for name in named if in_file and name not in in_file]
    if unknown:
        raise UserError(
            f"evaluate: {shared} has no row of the method {unknown[0]!r}; its methods are {', '.join(in_file)}"
        )
    labels = named or in_file or [ALONE]
    found: dict[str, Asked] = {}
    for label in labels:
        file = prompts.get(label, shared)
        rows_name_it = file is not None and label in methods_in(file)
        source = Source(file, _clips_of(label, clips, several=len(labels) > 1), label if rows_name_it else None)
        name = _name(label)
        if name in found:
            raise UserError(
                f"evaluate: the methods {found[name].label!r} and {label!r} both become {name!r}; rename one of them"
            )
        found[name] = Asked(name, "Given" if label == ALONE else label, source)
    return list(found.values())


def _clips_of(label: str, clips: Mapping[str, str], *, several: bool) -> str | None:
    if label in clips or "" not in clips:
        return clips.get(label)
    own = Path(clip_folder(clips[""]), label)
    return str(own) if several and own.is_dir() else clips[""]


def _name(label: str) -> str:
    """The label as a key of a config: `VPO (ours)` is vpo_ours."""
    name = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
    name = f"_{name}" if name[:1].isdigit() or name in _VALUES else name
    if not _NAME.fullmatch(name):
        raise UserError(f"evaluate: the method {label!r} has no letter or digit of ASCII to be called by; rename it")
    return name
