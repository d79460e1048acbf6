"""A file of what others made, row by row: the query, the prompt that it became, its clips and the method."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpo.dataset.reading.columns import Columns, blank, fields_of
from vpo.dataset.reading.data_file import DataFile
from vpo.dataset.reading.entries import Entry, read_entry, read_rewrite
from vpo.dataset.reading.problems import FileProblem, RowProblem, in_one_line, names_in_short, shown
from vpo.dataset.reading.source import local_path, shown_path
from vpo.errors import UserError

# The first of these that a row has.
QUERY = ("query", "prompt_en", "original", "text")
PROMPT = ("prompt", "rewrite", "optimized")
CLIPS = ("clip", "clips", "video", "videos", "video_path", "path")
METHOD = ("method", "model")
# Fields that come along in `Query.meta`: what benchmarks say of their prompts.
LABELS = (
    "dimension", "auxiliary_info", "aspects", "aspect_ids", "category", "harmless", "sounds_like", "questions",
)  # fmt: skip
_ONLY_LABELS = Columns(labels={name: name for name in LABELS})


class _AnyOfThese(Columns):
    """Columns that a table may have; none of them must be there but one of a text."""

    @property
    def texts(self) -> tuple[str, ...]:
        return (*QUERY, *PROMPT)

    @property
    def headers(self) -> frozenset[str]:
        return frozenset((*self.texts, *CLIPS, *METHOD, *LABELS, "id"))


@dataclass(frozen=True)
class Row:
    """What one row says.

    Attributes:
        entry: the query with its labels; its id is None where the row gives none.
        prompt: what the video model was given; the query where the row has no such field, "" where the field is empty.
        method: who wrote it; None where the row does not say.
        clips: paths as they are written, absolute or relative.
    """

    entry: Entry
    prompt: str
    method: str | None
    clips: tuple[str, ...]


def read_rows(path: str, max_chars: int) -> list[Row]:
    """All rows of a file of any format that `dataset=file` reads; a text is a query alone.

    Raises:
        UserError: the file cannot be read, or rows of it are no queries; all of these are named.
    """
    rows, problems = [], []
    try:
        for place, value in DataFile(path, _AnyOfThese()).values():
            try:
                rows.append(_row(value, max_chars))
            except RowProblem as problem:
                problems.append((place, problem))
        if problems:
            raise FileProblem(in_one_line(problems))
        if not rows:
            raise FileProblem(
                "no rows in it; give JSON lines with a query, and a prompt and a clip where there are some"
            )
    except FileProblem as problem:
        reason = str(problem).replace(", or say in dataset.columns.query how it is called", "")
        reason = reason.replace("dataset.path", "prompts").replace("dataset.max_chars=", "")
        raise UserError(f"prompts={shown_path(path)}: {reason}") from problem
    return rows


def folder_of(path: str) -> Path:
    """The folder of a file of rows, which relative paths in it are relative to."""
    return local_path(path).parent


def _row(value: Any, max_chars: int) -> Row:
    if isinstance(value, RowProblem):
        raise value
    fields: Mapping[str, Any] = fields_of(value) if isinstance(value, dict) else {"query": value}
    prompt = _first(fields, PROMPT)
    query = _first(fields, QUERY)
    if query is None and prompt is None:
        raise RowProblem(
            f"has no field query or prompt; found {names_in_short(fields)}",
            "without a field query or prompt",
            differs=True,
        )
    text = prompt if query is None else query
    given = {"query": text, "id": fields.get("id")} | {name: fields[name] for name in LABELS if name in fields}
    entry = read_entry(given, max_chars, _ONLY_LABELS)
    method = _first(fields, METHOD)
    if method is not None and not isinstance(method, str | int):
        raise RowProblem(f"has the method {shown(method)}, which is no name", "with a method that is no name")
    asked = any(name in fields for name in PROMPT)
    written = (read_rewrite(prompt) or "") if asked else " ".join(entry.text.split())
    return Row(entry, written, None if method is None else str(method).strip(), tuple(_clips(_first(fields, CLIPS))))


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((fields[name] for name in names if not blank(fields.get(name))), None)


def _clips(given: Any) -> Iterator[str]:
    for one in given if isinstance(given, list | tuple) else [] if given is None else [given]:
        if not isinstance(one, str) or not one.strip():
            raise RowProblem(
                f"has the clip {shown(one)}, which is no path", "with a clip that is no path", "give paths of files",
                differs=True,
            )  # fmt: skip
        yield one
