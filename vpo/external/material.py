"""What others made of queries under one method: their prompts and clips, matched.

A clip belongs to the prompt that names it in its row, or whose id, query or prompt its file is named by (`clip_names`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from vpo.dataset.distinct import joined
from vpo.dataset.reading.entries import Entry, read_entry
from vpo.dataset.reading.problems import RowProblem
from vpo.dataset.reading.text import comparison_key
from vpo.errors import UserError
from vpo.external.clip_names import SUFFIXES, NamedClips, clip_files, split_name
from vpo.external.rows import Row, folder_of, read_rows
from vpo.records import Query
from vpo.storage.jsonio import canonical

MAX_CHARS = 2000
_KEYS = ("prompts", "clips", "method")


@dataclass(frozen=True)
class Source:
    """Where one method's material lies.

    Attributes:
        prompts: a file of rows (`rows.Row`); None where the names of the clips are the queries.
        clips: a folder of clips; None where there are none, or the rows name their files.
        method: which rows of the file are this method's, by their field; None for all of them.
    """

    prompts: str | None = None
    clips: str | None = None
    method: str | None = None

    @classmethod
    def of(cls, node: Mapping[str, Any], name: str = "source") -> "Source":
        """Of a config. Raises UserError for what is no source."""
        unknown = sorted({*node} - {*_KEYS})
        values = {key: node.get(key) for key in _KEYS}
        if unknown or not all(one is None or isinstance(one, str) for one in values.values()):
            raise UserError(
                f"{name}={dict(node)} must be {{prompts: <file>, clips: <folder>, method: <name>}}, or null for each"
            )
        if values["prompts"] is None and values["clips"] is None:
            raise UserError(f"{name}: neither prompts nor clips; give a file of prompts, a folder of clips, or both")
        return cls(**values)

    def to_json(self) -> dict[str, str | None]:
        """As a config holds it."""
        return asdict(self)


@dataclass(frozen=True)
class Given:
    """One query under one method.

    Attributes:
        query: with its labels in `meta`.
        key: equal for equal texts of queries.
        prompt: what the clips were made from; "" where the file has an empty one.
        clips: their files, whether or not they are there.
    """

    query: Query
    key: str
    prompt: str
    clips: tuple[Path, ...] = ()


@dataclass
class Material:
    """All of one method.

    Attributes:
        by_key: what is given by `Given.key`, in the order of the file.
        unused: clips that belong to no prompt.
        again: clips whose name says the same as another's, which was used.
        other_prompts: queries of which a later row gives another prompt; the first one counts, and the clips of both.
    """

    by_key: dict[str, Given]
    unused: list[Path] = field(default_factory=list)
    again: list[Path] = field(default_factory=list)
    other_prompts: list[str] = field(default_factory=list)

    def of_query(self, text: str) -> Given | None:
        """What is given of a query, by its text."""
        return self.by_key.get(comparison_key(text))

    @property
    def most_clips(self) -> int:
        """Of a prompt."""
        return max((len(one.clips) for one in self.by_key.values()), default=0)

    def contents(self) -> str:
        """A hash of all prompts, and of the bytes of all clips."""
        rows = [[one.key, one.prompt, *(hash_of_file(file) for file in one.clips)] for one in self.by_key.values()]
        return hashlib.sha256(canonical(sorted(rows)).encode()).hexdigest()


def read_material(source: Source) -> Material:
    """The prompts and clips of a source, matched.

    Raises:
        UserError: A file or folder is not there or cannot be read, there are no clips in it, or none of them fits a prompt.
    """
    folder = None if source.clips is None else clip_folder(source.clips)
    files = [] if folder is None else clip_files(folder)
    if folder is not None and not files:
        raise UserError(
            f"clips={source.clips}: no video in it; known are {', '.join(SUFFIXES)}, called <prompt>-<0..4>.mp4 or as the rows of "
            "prompts=<file> say"
        )
    named = NamedClips.of(files)
    other_prompts: list[str] = []
    by_key = _of_names(named, files) if source.prompts is None else _of_rows(source, folder, named, other_prompts)
    used = dict.fromkeys(file for one in by_key.values() for file in one.clips)
    again = [file for file in named.again if file not in used]
    if used and not any(file.is_file() for file in used):
        first = next(iter(used))
        raise UserError(
            f"prompts={source.prompts}: none of the {len(used)} clips that it names is there, such as {first}; paths are relative to "
            "clips=<folder>, or to the file where there is no folder"
        )
    if files and not used:
        raise UserError(
            f"clips={source.clips}: none of the {len(files)} videos in it, such as {files[0].name!r}, belongs to one of the "
            f"{len(by_key)} prompts of {source.prompts}; name them <query>-<0..4>.mp4, or give the rows a field clip"
        )
    return Material(by_key, [file for file in files if file not in used and file not in {*again}], again, other_prompts)


def _of_rows(source: Source, folder: Path | None, named: NamedClips, other_prompts: list[str]) -> dict[str, Given]:
    assert source.prompts is not None
    rows = [one for one in read_rows(source.prompts, MAX_CHARS) if source.method in (None, one.method)]
    if not rows:
        raise UserError(f"prompts={source.prompts}: no row has the method {source.method!r}; correct its name")
    # Never in both: a clip of the same name in the other may be another method's.
    base = folder or folder_of(source.prompts)
    by_key: dict[str, Given] = {}
    for row in rows:
        given = _given(row, base, named)
        first = by_key.setdefault(given.key, given)
        if first is not given:
            by_key[given.key] = _together(first, given)
        if first.prompt != given.prompt:
            other_prompts.append(given.query.text)
    return by_key


def clip_folder(path: str) -> Path:
    """The folder. Raises UserError where there is none."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        reason = "is a file; give the folder that it lies in" if folder.exists() else "no such folder; correct the path"
        raise UserError(f"clips={path}: {reason}")
    return folder


def methods_in(path: str) -> list[str]:
    """The methods that the rows of a file name, in their order. Raises UserError where some rows name one and some do not."""
    found = dict.fromkeys(row.method for row in read_rows(path, MAX_CHARS))
    if None in found and len(found) > 1:
        raise UserError(f"prompts={path}: some rows name a method and some do not; give all of them one, or none")
    return [one for one in found if one is not None]


def hash_of_file(file: Path) -> str:
    """The SHA-256 of a file's bytes; of one that cannot be read, why."""
    try:
        facts = file.stat()
        return _hashed(str(file.resolve()), facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        return error.strerror or type(error).__name__


@lru_cache(maxsize=100_000)
def _hashed(path: str, size: int, changed: int) -> str:
    """Once for each version of a file in a process."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_names(named: NamedClips, files: Sequence[Path]) -> dict[str, Given]:
    """Without a file of prompts: every text in the names of the clips is a query, and its own prompt."""
    by_key: dict[str, Given] = {}
    for file in files:
        text, _ = split_name(file.stem)
        try:
            entry = read_entry(text, MAX_CHARS)
        except RowProblem:  # a name that shows nothing
            continue
        if entry.key not in by_key:
            query = _query(entry)
            by_key[entry.key] = Given(query, entry.key, " ".join(query.text.split()), named.of_text(text))
    return by_key


def _given(row: Row, base: Path, named: NamedClips) -> Given:
    entry = row.entry
    clips = tuple(base / Path(one).expanduser() for one in row.clips)
    if not clips:
        names = [one for one in (entry.id, entry.text, row.prompt) if one]
        clips = next((found for one in names if (found := named.of_text(one))), ())
    return Given(_query(entry), entry.key, row.prompt, clips)


def _query(entry: Entry) -> Query:
    name = entry.id or "q-" + hashlib.sha256(entry.text.encode()).hexdigest()[:12]
    return Query(name, entry.text, meta=dict(entry.labels))


def _together(first: Given, more: Given) -> Given:
    """Two rows of one query: labels and clips of both, the first one's prompt."""
    query = replace(first.query, meta=joined(first.query.meta, more.query.meta))
    return replace(first, query=query, clips=tuple(dict.fromkeys((*first.clips, *more.clips))))
