"""What a run found of the material that it was given: what is missing, what cannot be read, what does not fit together."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.external.material import Material, Source, read_material
from vpo.results.schema import read_results
from vpo.storage.items import read_failures
from vpo.storage.jsonio import write_json
from vpo.storage.rows import whole_lines

FILE = "inputs.json"
SHOWN = 3  # of many of a kind, in the log; the file has all


def report(folder: Path, sources: Mapping[str, Source]) -> list[str]:
    """Write `inputs.json` into a finished run folder: by method, what was found.

    Returns:
        The same in short, as lines for people.
    """
    run = read_results(folder / "results.json")["run"]
    found = {}
    for name, source in sources.items():
        row = run["rows"][name]
        clips = None if row["clips"] is None else Path(run["store"]) / row["clips"] / "clips.jsonl"
        found[name] = findings(read_material(source), clips)
    write_json(folder / FILE, found, indent=1)
    return [line for name, one in found.items() for line in _lines(name, one)]


def findings(material: Material, clips: Path | None) -> dict[str, Any]:
    """What was found of one method.

    Args:
        material: what was given.
        clips: the records of its clips; None where no evaluator looked at any.

    Returns:
        The numbers of "queries" and "given_clips"; counts of the prompts by their clips ("clips_per_prompt") and of the clips
        by "sizes", "rates" and "frames"; by the prompt's id, why a clip "failed" or is "unusable"; the names of "unused_files" and
        "repeated_files"; and queries with "other_prompts" in later rows.
    """
    rows = [] if clips is None else whole_lines(clips)
    good = [one for one in rows if one["status"] == "ok"]
    failures = {} if clips is None else read_failures(clips)
    # A prompt with some clips, but fewer than others, says so by its number of clips.
    failures = {name: one for name, one in failures.items() if one.kind != "no_clip" or "#" not in name}
    return {
        "queries": len(material.by_key),
        "given_clips": sum(len(one.clips) for one in material.by_key.values()),
        "clips_per_prompt": _counted(str(len(one.clips)) for one in material.by_key.values()),
        "sizes": _counted(f"{one['width']}x{one['height']}" for one in good),
        "rates": _counted(f"{one['fps']:g}" for one in good),
        "frames": _counted(str(one["frames"]) for one in good),
        "failed": {name: f"{one.kind}: {one.detail}" for name, one in failures.items()},
        "unusable": {one["id"]: one["status"] for one in rows if one["status"] != "ok"},
        "unused_files": [str(file) for file in material.unused],
        "other_prompts": material.other_prompts,
        "repeated_files": [str(file) for file in material.again],
    }


def _counted(values: Iterator[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _lines(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield f"{name}: {_many(found['queries'], 'prompt')}, {_many(found['given_clips'], 'clip')}"
    for key, what, of in (
        ("clips_per_prompt", "clips a prompt", "prompt"), ("sizes", "pixels", "clip"),
        ("rates", "frames per second", "clip"), ("frames", "frames", "clip"),
    ):  # fmt: skip
        if len(found[key]) > 1:
            counts = [f"{value} ({_many(count, of)})" for value, count in found[key].items()]
            yield f"  they differ in {what}: {_short(counts)}"
    unusable = found["failed"] | found["unusable"]
    if unusable:
        yield f"  {_many(len(unusable), 'clip')} missing or unusable: {_short([f'{one}: {why}' for one, why in unusable.items()])}"
    if found["other_prompts"]:
        rows = _many(len(found["other_prompts"]), "row")
        yield f"  {rows} with another prompt of the same query, which is not used: {_short(found['other_prompts'])}"
    for key, what in (("unused_files", "of no prompt"), ("repeated_files", "with the name of another")):
        if found[key]:
            yield f"  {_many(len(found[key]), 'file')} {what}, not used: {_short(found[key])}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _short(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return "; ".join(names[:SHOWN]) + more
