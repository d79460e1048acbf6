"""A run's clips as the folder that VBench's own code reads: called by the ORIGINAL prompt, `<prompt_en>-<0..4>.mp4`."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vpo.dataset.reading.text import comparison_key
from vpo.errors import UserError
from vpo.external.clip_names import clip_name, problem_of_name
from vpo.external.run_clips import clips_of
from vpo.records import Query
from vpo.storage.rows import read_rows
from vpo.workers.vbench.totals import CLIPS

LONG = 5.0  # seconds from which VBench-Long is meant (VBench, README of vbench2_beta_long)


@dataclass
class Plan:
    """What is to be written for one method.

    Attributes:
        files: (the clip, its name in the folder).
        refused: by name, why no file can have it.
        incomplete: prompts with fewer clips than VBench takes, and how many they have.
        unknown: queries that the suite does not have; they are not written.
        long: clips of 5 seconds and more.
        other: names that do not end in .mp4.
    """

    files: list[tuple[Path, str]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    incomplete: dict[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    long: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What people should know, in lines."""
        of = "; ".join(f"{name!r}: {reason}" for name, reason in list(self.refused.items())[:3])
        lines = (
            [f"{len(self.refused)} clips are not written, because no file can have their names: {of}"]
            if self.refused
            else []
        )
        if self.incomplete:
            first, count = next(iter(self.incomplete.items()))
            lines.append(
                f"{len(self.incomplete)} prompts have fewer than {CLIPS} clips, as {first!r}, which has {count}"
            )
        if self.unknown:
            lines.append(
                f"{len(self.unknown)} queries are not in the suite, and not written, such as {self.unknown[0]!r}"
            )
        if self.long:
            mixed = "" if len(self.long) == len(self.files) else ", the others are shorter: never mix the two"
            lines.append(
                f"{len(self.long)} of {len(self.files)} clips take {LONG:g} seconds or more, for which VBench-Long is meant{mixed}"
            )
        if self.other:
            lines.append(
                f"{len(self.other)} clips are no .mp4, such as {self.other[0]!r}; VBench takes one suffix for a whole folder"
            )
        return lines


def plan_export(items: Sequence[Mapping[str, Any]], run: Path, suite: Sequence[str] | None = None) -> Plan:
    """What to write of one method.

    Args:
        items: its lines of the run's items.jsonl: "query", "clip" and, with several, "clips", relative to the run folder.
        run: the run folder.
        suite: the prompts by whose exact spelling files are called; None: the queries' own.
    """
    plan = Plan()
    by_key = {comparison_key(item["query"]): item for item in items}
    asked = dict.fromkeys(suite if suite is not None else [item["query"] for item in items])
    known = {comparison_key(text) for text in asked}
    plan.unknown = [item["query"] for key, item in by_key.items() if key not in known]
    for text in asked:
        item = by_key.get(comparison_key(text), {"clip": None})
        clips = [clip for clip in clips_of(item, run) if clip is not None]
        if len(clips) < CLIPS:
            plan.incomplete[text] = len(clips)
        for index, clip in enumerate(clips):
            _add(plan, clip, clip_name(text, index, clip.suffix))
    return plan


def read_suite(path: str) -> dict[str, list[str]]:
    """The prompts of VBench_full_info.json, as they are spelled, with the dimensions on which each is measured.

    Raises UserError for what is no such file.
    """
    try:
        rows = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        prompts: dict[str, list[str]] = {}
        for row in rows:
            prompts.setdefault(row["prompt_en"], []).extend(row.get("dimension", []))
    except OSError as error:
        raise UserError(f"evaluate: suite={path}: {error.strerror}; give VBench_full_info.json") from error
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"evaluate: suite={path} is no list of VBench's prompts (prompt_en); give VBench_full_info.json"
        ) from error
    return prompts


def labels_of(results: Mapping[str, Any], queries: Mapping[str, str], suite: str | None) -> dict[str, list[str]]:
    """By query id, the dimensions on which VBench measures the run's queries: by a file of the suite, or as the run's own data say.

    Empty where neither says anything, as where the run's data have been pruned.

    Args:
        results: the content of results.json.
        queries: id by text.
        suite: VBench_full_info.json.
    """
    if suite is not None:
        of_key = {comparison_key(text): names for text, names in read_suite(suite).items()}
        return {id: names for text, id in queries.items() if (names := of_key.get(comparison_key(text)))}
    run = results.get("run", {})
    stored = Path(run.get("store", ""), run.get("data", {}).get("entry", ""), "test.jsonl")
    if not stored.is_file():
        return {}
    labels = {one.id: one.meta.get("dimension") for one in read_rows(stored, Query)}
    return {id: [names] if isinstance(names, str) else list(names) for id, names in labels.items() if names}


def _add(plan: Plan, clip: Path, name: str) -> None:
    problem = problem_of_name(name, windows=os.name == "nt")
    if problem:
        plan.refused[name] = problem
        return
    plan.files.append((clip, name))
    if clip.suffix != ".mp4":
        plan.other.append(name)
    try:
        record = json.loads(clip.with_suffix(".json").read_text(encoding="utf-8"))
        if record["fps"] and record["frames"] / record["fps"] >= LONG:
            plan.long.append(name)
    except (OSError, ValueError, LookupError, TypeError):
        pass  # a clip without its description is exported all the same
