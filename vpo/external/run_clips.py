"""A run's methods and clips, and new folders with some of these in them."""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.errors import UserError


def clips_of(item: Mapping[str, Any], run: Path) -> list[Path | None]:
    """The clips of a line of a run's items.jsonl, in their order; None where one cannot be used."""
    return [run / path if path else None for path in item.get("clips", [item["clip"]])]


def methods_asked(methods: Sequence[str], asked: str | None) -> list[str]:
    """The methods of a run that are meant. Raises UserError where there is none of this name."""
    if asked is None:
        return list(methods)
    names = [one for one in re.split(r"[\s,]+", asked.strip("[] ")) if one]
    unknown = [one for one in names if one not in methods]
    if unknown or not names:
        raise UserError(f"evaluate: the run has no method {(unknown or [asked])[0]!r}; it has {', '.join(methods)}")
    return names


def write_folder(
    files: Sequence[tuple[Path, str]], out: Path, *, copy: bool = False, texts: Mapping[str, str] | None = None
) -> None:
    """Write a new folder, whole or not at all.

    Args:
        files: (a clip, its name in the folder); it becomes a further name of the clip (a hard link), or a copy.
        out: the folder.
        copy: whether to copy in any case.
        texts: by name, files with these texts beside them.

    Raises:
        UserError: there is something called so, a clip is not there, or the folder cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"evaluate: {out} is there already; set out=<a new folder>")
    part = out.with_name(f"{out.name}.partial")
    clip = part
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for clip, name in files:
            (part / name).parent.mkdir(exist_ok=True)
            _put(clip.resolve(), part / name, copy=copy)
        for name, text in (texts or {}).items():
            (part / name).write_text(text, encoding="utf-8")
        if out.exists():
            out.rmdir()
        part.rename(out)
    except FileNotFoundError as error:
        raise UserError(
            f"evaluate: {clip}: no such file; give the run's command again, so that its clips are there"
        ) from error
    except OSError as error:
        raise UserError(
            f"evaluate: {out}: {error.strerror or error}; make room, or set out=<a folder elsewhere>"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _put(clip: Path, path: Path, *, copy: bool) -> None:
    """Another name of a clip, or a copy of it. Where the file system takes two names for one, the first one counts."""
    if path.exists():
        return
    try:
        if not copy:
            os.link(clip, path)
            return
    except FileNotFoundError:
        raise
    except OSError:  # another disk, a file system without links, too many of them
        pass
    shutil.copyfile(clip, path)
