"""Queries of several files, such as a benchmark's prompts and what users typed, with rewrites that others have published for them."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vpo.dataset.distinct import check_labels, joined, meta_of
from vpo.dataset.reading.columns import PAIRS, REWRITE, Columns, columns_of
from vpo.dataset.reading.data_file import DataFile
from vpo.dataset.reading.entries import read_entry, read_rewrite
from vpo.dataset.reading.labels import read_label
from vpo.dataset.reading.near import near_groups
from vpo.dataset.reading.problems import FileProblem, RowProblem, in_one_line
from vpo.dataset.reading.source import shown_path
from vpo.errors import UserError
from vpo.records import Query
from vpo.seeding import seed_of

SPLITS = ("sft", "dpo", "test")
REST = "rest"
KEYS = ("path", "rewrites", "splits", "columns", "labels")
FILES = ("path", "rewrites")


class CollectionDataset:
    """Queries of several sources, dealt to splits so that near-duplicates never stand on both sides of one.

    A source is a file as `dataset=file` reads it (rows may have a "rewrite"), or a file of plain text with one query a line and a
    second one whose lines are rewrites of these. It says how many of its queries each split gets; besides sft, dpo and test there
    may be splits of any other name, which a run measures on by `measured=<name>`.

    Queries whose words are nearly the same form a group (`vpo.dataset.reading.near`), over all sources. Sources are dealt in their
    order and groups by a hash of their text, so that a source keeps its split when another is added behind it. A split that asks for
    a number gets one query of a group, and the others of the group are left out; a split that asks for the rest gets the whole group.
    A text that occurs again is kept once, where it stands first. What is left out is counted.

    `Query.id` is the source with a hash of the text; `Query.meta` holds "source" and, where they are given, "rewrite", "pairs" and
    labels. What several rows say of one text is joined: VBench has two prompts twice, each time under other dimensions.

    Args:
        sources: by name, {path, rewrites (a file, or null), splits: {split: a number, or "rest"}, columns: how the file calls its
            fields (see `dataset=file`), labels: {name: value} for all of its queries}; a source that is null is not used.
        near: least Jaccard index of the content words of near-duplicates, in (0, 1]; null groups nothing but equal texts.
        max_chars: a longer query is an error.

    Attributes:
        left_out: how many queries the last `splits()` did not use, by reason.
        changed: how many rows have a text that the last `splits()` changed, or something that it did not read, by what it is.
        in_fingerprint: where the files lie; `fingerprint()` hashes their content.
    """

    def __init__(self, sources: Mapping[str, Any], near: float | None, max_chars: int) -> None:
        if near is not None and not 0 < near <= 1:
            raise UserError(f"dataset.near={near} must be above 0 and at most 1, or null")
        self.near, self.max_chars = near, max_chars
        self.sources = {name: _source(name, given) for name, given in sources.items() if given is not None}
        if not self.sources:
            raise UserError("dataset.sources is empty; name at least one file, as in dataset=vbench")
        self.in_fingerprint = tuple(f"sources.{name}.{key}" for name in self.sources for key in FILES)
        self.left_out: dict[str, int] = {}
        self.changed: dict[str, int] = {}

    def fingerprint(self) -> str:
        """A hash of the content of all files."""
        digest = hashlib.sha256()
        for source in self.sources.values():
            for key, file in source.files.items():
                with source.problems(key):
                    digest.update(f"{source.name} {key} {file.fingerprint()}\n".encode())
        return digest.hexdigest()

    def splits(self) -> Mapping[str, list[Query]]:
        """The queries of each split, by source and in the order of its file.

        Raises:
            UserError: a file, or rows of it, cannot be used, or a source has too few queries.
        """
        left_out: Counter[str] = Counter()
        found = self._queries(left_out)
        queries = [query for query, _ in found.values()]
        places = {query.id: place for place, query in enumerate(queries)}
        firsts = (
            list(range(len(queries))) if self.near is None else near_groups([one.text for one in queries], self.near)
        )
        deal = _Deal({query.id: queries[first].id for query, first in zip(queries, firsts, strict=True)})
        for source in self.sources.values():
            deal.add(source, [query for query, name in found.values() if name == source.name])
        names = dict.fromkeys((*SPLITS, *(split for source in self.sources.values() for split in source.splits)))
        self.left_out = dict(+(left_out + deal.left_out))
        return {name: sorted(deal.splits.get(name, []), key=lambda one: places[one.id]) for name in names}

    def _queries(self, left_out: Counter[str]) -> dict[str, tuple[Query, str]]:
        """Every text once with the name of its source, by comparison key."""
        found: dict[str, tuple[Query, str]] = {}
        changed: Counter[str] = Counter()
        for source in self.sources.values():
            for key, query, changes in source.read(self.max_chars):
                changed.update(changes)
                if key not in found:
                    found[key] = query, source.name
                    continue
                first, name = found[key]
                more = joined(first.meta, query.meta)
                left_out["duplicates dropped"] += len(more.get(PAIRS, ())) == len(first.meta.get(PAIRS, ()))
                found[key] = replace(first, meta=more), name
        self.changed = dict(changed)
        return found


@dataclass
class _Source:
    """One file of queries, as the config describes it."""

    name: str
    paths: Mapping[str, str]
    splits: Mapping[str, int | str]
    files: dict[str, DataFile]
    columns: Columns
    labels: Mapping[str, Any]

    def problems(self, key: str) -> "_Named":
        """What is wrong with a file becomes a UserError that names it."""
        return _Named(f"dataset.sources.{self.name}.{key}", self.paths[key])

    def read(self, max_chars: int) -> Iterator[tuple[str, Query, tuple[str, ...]]]:
        """(comparison key, query, what was changed) of each row."""
        rewrites = self._rewrites()
        with self.problems("path"):
            problems, lines = [], []
            for place, value in self.files["path"].values():
                try:
                    if isinstance(value, RowProblem):
                        raise value
                    lines.append((place.number, read_entry(value, max_chars, self.columns)))
                except RowProblem as problem:
                    problems.append((place, problem))
            if problems:
                raise FileProblem(in_one_line(problems))
            check_labels(self.columns, (entry.labels for _, entry in lines))
        if rewrites is not None and rewrites.keys() != {number for number, _ in lines}:
            raise UserError(
                f"dataset.sources.{self.name}.rewrites={self.paths['rewrites']}: {len(rewrites):,} lines for {len(lines):,} queries; "
                f"give a rewrite in the same line as its query in {self.paths['path']}"
            )
        for number, entry in lines:
            meta = {"source": self.name} | dict(self.labels) | meta_of(entry)
            if rewrites is not None:
                meta[REWRITE] = rewrites[number]
            digest = hashlib.sha256(entry.text.encode()).hexdigest()[:12]
            yield entry.key, Query(f"{self.name}-{digest}", entry.text, meta=meta), entry.changes

    def _rewrites(self) -> dict[int, str] | None:
        """The rewrites of a file of their own by the number of their line."""
        if "rewrites" not in self.files:
            return None
        with self.problems("rewrites"):
            found = {}
            for place, value in self.files["rewrites"].values():
                try:
                    if isinstance(value, RowProblem):
                        raise value
                    found[place.number] = read_rewrite(value)
                except RowProblem as problem:
                    raise FileProblem(in_one_line([(place, problem)])) from problem
            return {number: text for number, text in found.items() if text}


class _Named:
    """Turns a FileProblem into a UserError that names the key and the path."""

    def __init__(self, key: str, path: str) -> None:
        self.key, self.path = key, path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, problem: Any, trace: Any) -> None:
        if isinstance(problem, FileProblem):
            source, _, _ = self.key.rpartition(".")
            reason = str(problem).replace("dataset.path", self.key).replace("dataset.columns", f"{source}.columns")
            raise UserError(f"{self.key}={shown_path(self.path)}: {reason}") from problem


@dataclass
class _Deal:
    """Queries that have got their split.

    Attributes:
        group: by a query's id, what its group is called: the id of the group's first query.
        splits: what each split has so far.
        taken: the split of each group.
        left_out: counts by reason.
    """

    group: Mapping[str, str]
    splits: dict[str, list[Query]] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, source: _Source, queries: list[Query]) -> None:
        """Deal the queries of a source. Raises UserError where there are too few."""
        need = {name: int(amount) for name, amount in source.splits.items() if amount != REST}
        rest = next((name for name, amount in source.splits.items() if amount == REST), None)
        groups: dict[str, list[Query]] = {}
        for query in sorted(queries, key=lambda one: seed_of("split", one.id)):
            groups.setdefault(self.group[query.id], []).append(query)
        for group, members in groups.items():
            split = self.taken.get(group)
            if split is None:
                split = next((name for name, amount in need.items() if amount), rest)
                if split is None:
                    self.left_out["left over"] += len(members)
                    continue
                self.taken[group] = split
                if split in need:
                    need[split] -= 1
                kept = members if split == rest else members[:1]
            else:  # of an earlier source
                kept = members if split == rest else []
            self.splits.setdefault(split, []).extend(kept)
            self.left_out["near a query that is used"] += len(members) - len(kept)
        short = {name: amount for name, amount in need.items() if amount}
        if short:
            name, lacking = next(iter(short.items()))
            asked = int(source.splits[name])
            raise UserError(
                f"dataset.sources.{source.name}.splits.{name}={asked}: {asked - lacking} different queries are left for it; lower it"
            )


def _source(name: str, given: Any) -> _Source:
    """A source of the config. Raises UserError for what is no source."""
    key = f"dataset.sources.{name}"
    if not isinstance(given, Mapping) or "path" not in given or not isinstance(given.get("splits"), Mapping):
        raise UserError(
            f"{key} must have a path and splits, as in {{path: queries.txt, splits: {{test: 50, sft: rest}}}}"
        )
    unknown = sorted(set(given) - set(KEYS))
    if unknown:
        raise UserError(f"{key} has the unknown key {unknown[0]!r}; known are {', '.join(KEYS)}")
    strange = next((split for split in given["splits"] if not str(split).isidentifier()), None)
    if strange is not None:
        raise UserError(f"{key}.splits: {strange!r} is no name for a split; use letters, digits and underscores")
    splits = {split: amount for split, amount in given["splits"].items() if amount not in (None, 0)}
    for split, amount in splits.items():
        if amount != REST and (not isinstance(amount, int) or isinstance(amount, bool) or amount < 0):
            raise UserError(f"{key}.splits.{split}={amount} must be a whole number of queries, or {REST}")
    if list(splits.values()).count(REST) > 1:
        raise UserError(f"{key}.splits: only one split can get the rest")
    columns = columns_of(given.get("columns"), f"{key}.columns")
    labels = given.get("labels") or {}
    if not isinstance(labels, Mapping) or {REWRITE, PAIRS, "source"} & {*labels}:
        raise UserError(f"{key}.labels={labels} must map names to values, and not rewrite, pairs or source")
    try:
        labels = {label: read_label(label, value) for label, value in labels.items()}
    except RowProblem as problem:
        raise UserError(f"{key}.labels: it {problem.one}; correct it") from problem
    paths = {part: given[part] for part in FILES if given.get(part) is not None}
    return _Source(
        name,
        paths,
        splits,
        {part: DataFile(path, columns if part == "path" else None) for part, path in paths.items()},
        columns,
        labels,
    )
