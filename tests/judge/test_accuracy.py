"""The rule judge's error rates on VBench's prompts with their published rewrites, and in the sketch world.

Missing words were looked up and added for VBench's even-numbered prompts only, and every bar is asked of both halves.
The odd half is not untouched, though: all prompts and a sample of the rewrites were read before the lexicon was made,
`missing_tolerance` was chosen on both halves, and harmless phrases were collected from all rewrites.
"""

import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.judge.conftest import ROOT, prompt_of, verdict_of
from vpo.judge.rules import harm
from vpo.judge.rules.judge import RulesJudge
from vpo.judge.rules.words import read
from vpo.records import Prompt

VBENCH = ROOT.parent / "shared" / "data" / "vbench"
QUERIES = ROOT.parent / "shared" / "data" / "vpo"
REWRITES = {"gpt4o": "all_dimension_gpt4o_cogvideox_style.txt", "wan": "all_dimension_wan2.1_qwen2.5-3b_seed42.txt"}
needs_vbench = pytest.mark.skipif(not VBENCH.is_dir(), reason="shared/data/vbench is not beside the repository")
needs_queries = pytest.mark.skipif(not QUERIES.is_dir(), reason="shared/data/vpo is not beside the repository")


# Rates on VBench


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _shares(hits: Sequence[tuple[int, bool]]) -> tuple[float, float, float]:
    """Share of hits over all, even-numbered and odd-numbered items."""
    parts = hits, [hit for hit in hits if hit[0] % 2 == 0], [hit for hit in hits if hit[0] % 2]
    return tuple(sum(hit for _, hit in part) / len(part) for part in parts)


def _accurate(judge: RulesJudge, rows: Sequence[tuple[int, str, str]]) -> list[tuple[int, bool]]:
    verdicts = judge.critique([prompt_of(query, text) for _, query, text in rows])
    return [(row[0], bool(verdict.accurate)) for row, verdict in zip(rows, verdicts, strict=True)]


def _shuffled() -> list[tuple[int, int]]:
    """(i, j): prompt i with the rewrite of another prompt j of its first dimension; identical prompts are left out."""
    queries, rooms = _lines(VBENCH / "all_dimension.txt"), defaultdict(list)
    for i, entry in enumerate(json.loads((VBENCH / "VBench_full_info.json").read_text())):
        rooms[entry["dimension"][0]].append(i)
    rng, pairs = random.Random(0), []
    for members in rooms.values():
        rng.shuffle(members)
        pairs += [(i, j) for i, j in zip(members, members[1:] + members[:1], strict=True) if queries[i] != queries[j]]
    return pairs


COLOURS = ["red", "green", "blue", "yellow", "orange", "purple", "pink", "black", "white", "brown"]
NUMBERS = ["two", "three", "four", "five"]
SIDES = {"left": "right", "right": "left"}
LEVELS = {
    "atop": "beneath",
    "top": "bottom",
    "above": "below",
    "beneath": "above",
    "below": "above",
    "under": "above",
    "bottom": "top",
}
THINGS = (
    "bicycle car motorcycle airplane bus train truck boat",
    "bird cat dog horse sheep cow elephant bear zebra giraffe",
    "chair couch bed bench toilet",
    "bottle cup bowl vase fork knife spoon",
    "banana apple sandwich orange carrot pizza donut cake broccoli",
    "tv laptop remote keyboard microwave oven toaster refrigerator",
    "book clock scissors toothbrush suitcase umbrella handbag backpack tie",
    "frisbee skis snowboard kite skateboard surfboard",
    "panda raccoon corgi shark squirrel koala turtle rabbit",
    "guitar piano flute trumpet harp",
    "beach forest desert mountain river street kitchen library",
    "alley barn cliff bathroom bedroom restaurant tower palace courtyard",
    "table sink lamp mirror",
    "watermelon grapes pear plums",
    "castle church lighthouse skyscraper house mansion",
    "robot astronaut clown",
)


def _changes(query: str, text: str, rng: random.Random) -> Iterator[str]:
    """The text with one colour, number, thing or relation of the query changed everywhere, if the text has it.

    'Everywhere' is every inflection of the word itself. People are left alone: a rewrite names them in too many words.
    """
    words = re.findall(r"[a-z]+", query.lower())
    for word in dict.fromkeys(words):
        if word in ("black", "white") and "black and white" in query:
            continue  # a style, which the rewrite also calls monochrome
        kind = next((k for k in (COLOURS, NUMBERS, *(row.split() for row in THINGS)) if word in k), None)
        if kind is not None:
            yield _replaced(text, {word: rng.choice([other for other in kind if other not in words])})
    if re.search(r"\b(left|right) of\b", query):
        yield _replaced(text, SIDES)
    if re.search(r"\b(top|bottom) of\b", query):
        yield _replaced(text, LEVELS)


def _replaced(text: str, table: dict[str, str]) -> str:
    pattern = re.compile(rf"\b({'|'.join(table)})(e?s)?\b", re.I)
    return pattern.sub(lambda match: table[match[1].lower()] + (match[2] or ""), text)


def _perturbed(queries: Sequence[str], rewrites: Sequence[str]) -> list[tuple[int, str, str]]:
    rng = random.Random(0)
    rows = []
    for i, (query, text) in enumerate(zip(queries, rewrites, strict=True)):
        rows += [(i, query, changed) for changed in _changes(query, text, rng) if changed != text]
    return rows


@pytest.mark.slow
@needs_vbench
@pytest.mark.parametrize("name", REWRITES)
def test_vbench_figures(judge: RulesJudge, name: str, record_property: Callable[[str, object], None]) -> None:
    """Accepts a rewrite of the prompt (85 %); rejects another's rewrite (95 %) and one with a single change (90 %)."""
    queries, rewrites = _lines(VBENCH / "all_dimension.txt"), _lines(VBENCH / "optimized" / REWRITES[name])[:946]
    kept = _shares(_accurate(judge, [(i, *row) for i, row in enumerate(zip(queries, rewrites, strict=True))]))
    others = [(i, queries[i], rewrites[j]) for i, j in _shuffled()]
    shuffled = _shares([(i, not accurate) for i, accurate in _accurate(judge, others)])
    changed = _shares([(i, not accurate) for i, accurate in _accurate(judge, _perturbed(queries, rewrites))])
    for case, shares in (("kept", kept), ("shuffled", shuffled), ("changed", changed)):
        record_property(case, " ".join(f"{share:.4f}" for share in shares))
        print(f"{name} {case}: all {shares[0]:.4f}, even {shares[1]:.4f}, odd {shares[2]:.4f}")
    assert min(kept) >= 0.85
    assert min(shuffled) >= 0.95
    assert min(changed) >= 0.90


@needs_vbench
def test_vbench_prompts_are_safe() -> None:
    prompts = _lines(VBENCH / "all_dimension.txt")
    assert sum(bool(harm.find(read(prompt))) for prompt in prompts) <= 0.01 * len(prompts)


@needs_queries
def test_sample_queries_are_safe() -> None:
    queries = [
        q for split in ("sft", "dpo") for q in json.loads((QUERIES / f"{split}_queries.sample.json").read_text())
    ]
    assert sum(bool(harm.find(read(query))) for query in queries) <= 0.01 * len(queries)


# The sketch world: the judge knows nothing of it, and still finds what its drafter spoils

FLAWS = {
    "drop": "accurate",
    "change": "accurate",
    "leak": "harmless",
    "lead_in": "helpful",
    "long": "helpful",
    "bare": "helpful",
}


def _drafts(rates: dict[str, float], count: int) -> list[tuple[Prompt, tuple[str, ...]]]:
    dataset = pytest.importorskip("vpo.sketch.dataset")
    drafter = pytest.importorskip("vpo.sketch.drafter").SketchDrafter(**(dict.fromkeys(FLAWS, 0.0) | rates))
    queries = dataset.SketchDataset(seed=11, sft=count, dpo=0, test=0, unsafe_rate=0.1).splits()["sft"]
    drafts = ((query, *drafter.draft_with_truth(query, 3)) for query in queries)
    return [(prompt_of(query.text, text, query.id), flaws) for query, text, flaws in drafts]


def test_sketch_experts_pass(judge: RulesJudge) -> None:
    verdicts = judge.critique([prompt for prompt, _ in _drafts({}, 400)])
    assert sum(bool(verdict.fine) for verdict in verdicts) >= 0.97 * len(verdicts)


def test_sketch_queries_that_are_unsafe_are_found() -> None:
    dataset = pytest.importorskip("vpo.sketch.dataset")
    queries = dataset.SketchDataset(seed=5, sft=300, dpo=0, test=0, unsafe_rate=1.0).splits()["sft"]
    missed = [query.text for query in queries if not harm.find(read(query.text))]
    assert len(missed) <= 3  # 1 %: "a fish ... holding a knife" reads like a kitchen


@pytest.mark.parametrize("flaw", FLAWS)
@pytest.mark.slow
def test_sketch_flaws_are_found_and_repaired(judge: RulesJudge, flaw: str) -> None:
    prompts = [prompt for prompt, flaws in _drafts({flaw: 1.0}, 600) if flaw in flaws]
    verdicts = judge.critique(prompts)
    found = sum(getattr(verdict, FLAWS[flaw]) is False for verdict in verdicts)
    assert found >= 0.95 * len(prompts)
    flawed = [(prompt, verdict) for prompt, verdict in zip(prompts, verdicts, strict=True) if not verdict.fine]
    repaired = judge.refine([prompt for prompt, _ in flawed], [verdict for _, verdict in flawed])
    fine = [
        bool(verdict_of(judge, prompt.query, text).fine)
        for (prompt, _), text in zip(flawed, repaired, strict=True)
        if text is not None
    ]
    assert all(fine)
    # Given up are captions that never name their subject again, or name another: with the query in front they would be stock.
    assert len(fine) >= 0.95 * len(flawed)
