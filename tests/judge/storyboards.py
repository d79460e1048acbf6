"""Multi-shot queries of our own with rewrites that keep every shot, and with ones that lose or change one thing.

A row of `tests/data/shots.jsonl` holds the query, the sentences of a faithful rewrite, one a shot, and what links them. In a sentence
`{...}` holds the on-screen text, `<...>` the line of speech and `[...]` the camera, each with the words that fall away with it.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from tests.judge.probes import Probe

TEXT, SPEECH, CAMERA = r"\{([^{}]*)\}", r"<([^<>]*)>", r"\[((?!\d)[^\[\]]*)\]"


def load(path: Path, half: str) -> list[dict[str, Any]]:
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [row for row in rows if row["half"] == half]


def probes_of(row: Mapping[str, Any]) -> Iterator[Probe]:
    """The faithful rewrite, and every defect that the row allows."""
    query, shots = row["query"], row["shots"]
    places = range(len(shots))
    yield Probe("good", query, _text(row, shots))
    for gone in places:
        yield Probe("shot dropped", query, _text(row, [shot for at, shot in enumerate(shots) if at != gone]))
    for one, other in combinations(places, 2):
        order = {one: other, other: one}
        yield Probe("shot swapped", query, _text(row, [shots[order.get(at, at)] for at in places]))
    for kind, mark in (("text", TEXT), ("speech", SPEECH), ("camera", CAMERA)):
        without = [re.sub(mark, "", shot) for shot in shots]
        if without != shots:
            yield Probe(f"{kind} dropped", query, _text(row, without))
        if f"changed_{kind}" in row:
            changed = [re.sub(mark, _quoting(row[f"changed_{kind}"]), shot) for shot in shots]
            yield Probe(f"{kind} changed", query, _text(row, changed))


def _quoting(words: str):
    """What a marked piece becomes when other words stand in its quotes."""
    return lambda match: re.sub(r'"[^"]*"', f'"{words}"', match[1])


def _text(row: Mapping[str, Any], shots: Sequence[str]) -> str:
    """The sentences behind their links, without marks, each with a capital letter."""
    found = []
    for link, shot in zip(row["links"], shots, strict=False):
        plain = " ".join(re.sub(CAMERA, r"\1", re.sub(SPEECH, r"\1", re.sub(TEXT, r"\1", shot))).split())
        plain = re.sub(r" ([,.])", r"\1", plain)
        opens = not link or link.rstrip()[-1] in ":.]"
        plain = (plain[:1].upper() if opens else plain[:1].lower()) + plain[1:]
        found.append(f"{link[:1].upper()}{link[1:]}{plain}")
    return " ".join(found)
