"""VBench's rule of file names: `<prompt>-<index>.mp4`, where the prompt is the ORIGINAL one, whatever the clip was made from.

Vchitect/VBench, README ("Evaluate Your Own Videos", videos of the prompt suite) and `vbench/__init__.py`: five videos a prompt with
indices 0 to 4, and the prompt of a file is its name without the trailing `-<digits>`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vpo.dataset.reading.text import comparison_key

SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif")
_INDEXED = re.compile(r"(?P<text>.+)-(?P<index>\d+)", re.DOTALL)
_FORBIDDEN = re.compile(r'[<>:"\\|?*\x00-\x1f]')  # in names of files on Windows
_LONGEST = 255  # bytes of a name, on almost every file system


def split_name(stem: str) -> tuple[str, int | None]:
    """The text and the index of a file's name without its suffix: `a cat-3` is ("a cat", 3); None without an index."""
    found = _INDEXED.fullmatch(stem)
    return (found["text"], int(found["index"])) if found else (stem, None)


def clip_name(text: str, index: int, suffix: str = ".mp4") -> str:
    """The file name of a clip: `a cat-3.mp4`."""
    return f"{text}-{index}{suffix}"


def problem_of_name(name: str, *, windows: bool = False) -> str | None:
    """Why no file can have this name, on Windows or on other systems; None where it can."""
    if "/" in name:
        return "it has a / in it, which separates folders"
    if "\0" in name:
        return "it has a NUL in it"
    forbidden = _FORBIDDEN.search(name) if windows else None
    if forbidden:
        return f"it has {forbidden[0]!a} in it, which Windows does not take"
    size = len(name.encode("utf-8", errors="surrogatepass"))
    if size > _LONGEST:
        return f"it has {size} bytes, and file systems take {_LONGEST}"
    return None


def clip_files(folder: Path) -> list[Path]:
    """All videos in a folder and the folders in it, by name; hidden ones are none."""
    found = [one for one in folder.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file()]
    shown = [one for one in found if not any(part.startswith(".") for part in one.relative_to(folder).parts)]
    return sorted(shown, key=lambda one: one.relative_to(folder).parts)


@dataclass
class NamedClips:
    """The clips of a folder by the texts in their names.

    Attributes:
        indexed: by the comparison key of the text, the files by index.
        whole: by the comparison key of a name without an index, or with what looks like one as its part.
        again: files whose text and index another file has, which stands first; they are not used.
    """

    indexed: dict[str, dict[int, Path]] = field(default_factory=dict)
    whole: dict[str, Path] = field(default_factory=dict)
    again: list[Path] = field(default_factory=list)

    @classmethod
    def of(cls, files: Iterable[Path]) -> "NamedClips":
        """By the names of these files."""
        named = cls()
        for file in files:
            text, index = split_name(file.stem)
            first = named.whole.setdefault(comparison_key(file.stem), file)
            if index is None:
                if first != file:
                    named.again.append(file)
            elif named.indexed.setdefault(comparison_key(text), {}).setdefault(index, file) != file:
                named.again.append(file)
        return named

    def of_text(self, text: str) -> tuple[Path, ...]:
        """The clips of a prompt in the order of their indices; a single one where its name has none."""
        key = comparison_key(text)
        if key in self.indexed:
            return tuple(file for _, file in sorted(self.indexed[key].items()))
        return (self.whole[key],) if key in self.whole else ()
