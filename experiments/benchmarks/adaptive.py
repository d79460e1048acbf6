"""What rendering less saves in clips and costs in pairs, from a finished store: its candidates, verdicts and scores.

    python experiments/benchmarks/adaptive.py store                # of every set of video pairs in it
    python experiments/benchmarks/adaptive.py store --rerender 150 # and fewer frames, for so many queries of the first set

- stop: the candidates of a query are rendered one after the other, and none after the first accepted pair. Queries do not wait for
  one another, so that nothing is lost in parallel.
- text check: of sets that have scores of all candidates and verdicts on them, only those clips that `feedback=both` renders.
- fewer frames: candidates rendered and scored again with half the frames; its pairs against those of all frames. The sketch world's
  generator has no steps; frames are what its time grows with.

Pairs are made by the rule that the store's pairs were made by. Nothing is written to the store.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from vpo.build import build
from vpo.feedback.groups import by_query
from vpo.feedback.pairing import video_candidates, video_pairs
from vpo.feedback.video_rules import VideoRule
from vpo.records import Pair, Prompt, Refinement, Score, Verdict
from vpo.stages.render import render_prompts
from vpo.stages.score import absolute
from vpo.storage.store import Entry, read_manifest


@dataclass(frozen=True)
class Scored:
    """A set of video pairs of a store, and what they were made of."""

    name: str
    rule: VideoRule
    candidates: list[Prompt]
    scores: list[Score]
    verdicts: list[Verdict]
    refinements: list[Refinement]
    feedback: Mapping[str, Any]
    scored_by: Entry


@dataclass(frozen=True)
class Stopped:
    """What stopping has used and found.

    Attributes:
        clips, pairs: of all candidates; `used` clips and `found` pairs with stopping.
        same: of these pairs, with the same two candidates.
        gap, gap_found: mean difference of the scores of a pair.
    """

    clips: int
    used: int
    pairs: int
    found: int
    same: int
    gap: float
    gap_found: float


def stop_at_a_pair(candidates: Sequence[Prompt], scores: Sequence[Score], rule: VideoRule) -> Stopped:
    """Render the candidates of a query one by one until two of them make a pair."""
    score_of = {one.prompt_id: one for one in scores}
    used, found = 0, []
    for prompts in by_query([one for one in candidates if one.id in score_of]).values():
        for number in range(1, len(prompts) + 1):
            some = prompts[:number]
            pairs = video_pairs(some, [score_of[one.id] for one in some], rule)
            used += 1
            if pairs:
                found += pairs
                break
    pairs = video_pairs(candidates, scores, rule)
    key = {(one.query_id, one.chosen, one.rejected) for one in pairs}
    same = sum((one.query_id, one.chosen, one.rejected) in key for one in found)
    return Stopped(len(scores), used, len(pairs), len(found), same, _gap(pairs), _gap(found))


def _gap(pairs: Sequence[Pair]) -> float:
    return sum(one.chosen_score - one.rejected_score for one in pairs) / max(1, len(pairs))


def sets_of(store: Path) -> list[Scored]:
    """Every set of pairs of a store that has scores."""
    found = []
    for path in sorted(store.glob("pair/*/manifest.json")):
        manifest = read_manifest(path.parent)
        given = {name: Entry(*one.split("/"), store / one) for name, one in manifest["inputs"].items()}
        feedback = manifest["node"]["feedback"]
        if "scores" not in given:
            continue
        rule = VideoRule(**{one.name: feedback[one.name] for one in fields(VideoRule) if one.name in feedback})
        verdicts = given["verdicts"].rows("verdicts.jsonl", Verdict) if "verdicts" in given else []
        refinements = given["refinements"].rows("refinements.jsonl", Refinement) if "refinements" in given else []
        candidates = given["candidates"].rows("prompts.jsonl", Prompt)
        scores = given["scores"].rows("scores.jsonl", Score)
        found.append(
            Scored(path.parent.name, rule, candidates, scores, verdicts, refinements, feedback, given["scores"])
        )
    return found


def text_check(whole: Scored, judged: Scored) -> str:
    """Of scores of all candidates: those that the text check lets through, and the video pairs among them."""
    kept = video_candidates(
        judged.candidates, judged.verdicts, judged.refinements, kind=judged.feedback["text_pairs"],
        prepended=judged.feedback["prepended"], among=judged.feedback.get("among", "fine"),
    )  # fmt: skip
    ids = {one.id for one in kept}
    scores = [one for one in whole.scores if one.prompt_id in ids]
    every, rest = (video_pairs(whole.candidates, some, whole.rule) for some in (whole.scores, scores))
    return (
        f"text check {judged.name}: {len(scores)} of {len(whole.scores)} clips ({1 - len(scores) / len(whole.scores):.1%} saved), "
        f"{len(rest)} of {len(every)} video pairs"
    )


def fewer_frames(one: Scored, queries: int) -> str:
    """Render and score the first queries' candidates with all frames and with half of them."""
    scored = read_manifest(one.scored_by.folder)
    store = one.scored_by.folder.parents[1]
    rendered = read_manifest(store / scored["inputs"]["clips"])
    prompts = [prompt for group in list(by_query(one.candidates).values())[:queries] for prompt in group]
    reward, node = build(scored["node"]["reward"]), rendered["node"]["generator"]
    made, seconds = [], []
    for frames in (node["frames"], node["frames"] // 2):
        with tempfile.TemporaryDirectory() as place:
            start = time.process_time()
            generator = build({**node, "frames": frames})
            clips = render_prompts(generator, prompts, folder=Path(place), seed=rendered["node"]["seed"])
            scores = reward.score([absolute(clip, Path(place)) for clip in clips])
            seconds.append(time.process_time() - start)
        made.append({(p.query_id): p for p in video_pairs(prompts, scores, one.rule)})
    full, half = made
    both = [(full[name], half[name]) for name in full if name in half]
    same = sum((a.chosen, a.rejected) == (b.chosen, b.rejected) for a, b in both)
    turned = sum((a.chosen, a.rejected) == (b.rejected, b.chosen) for a, b in both)
    return (
        f"fewer frames {one.name}: {node['frames']} -> {node['frames'] // 2} of {len(prompts)} clips: CPU {seconds[0]:.1f} s -> "
        f"{seconds[1]:.1f} s; pairs {len(full)} -> {len(half)}, of {len(both)} queries with both {same} the same pair, {turned} turned"
    )


def main() -> None:
    """Print what each way saves and costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--rerender", type=int, default=0, metavar="queries")
    asked = parser.parse_args()
    sets = sets_of(asked.store)
    sums = {True: [0, 0, 0, 0], False: [0, 0, 0, 0]}
    for one in sets:
        got, judged = stop_at_a_pair(one.candidates, one.scores, one.rule), bool(one.verdicts)
        print(
            f"stop {one.name} ({'both' if judged else 'video'}): {got.used} of {got.clips} clips "
            f"({1 - got.used / got.clips:.1%} saved), {got.found} of {got.pairs} pairs, "
            f"{got.same} of them the same, mean gap {got.gap:.2f} -> {got.gap_found:.2f}"
        )
        for at, value in enumerate((got.clips, got.used, got.pairs, got.found)):
            sums[judged][at] += value
    for judged, (clips, used, pairs, found) in sums.items():
        if clips:
            print(
                f"stop, all {'both' if judged else 'video'}: {1 - used / clips:.1%} of {clips} clips saved, "
                f"{1 - found / pairs:.1%} of {pairs} pairs lost"
            )
    for judged in (one for one in sets if one.verdicts):
        whole = [one for one in sets if not one.verdicts and one.candidates == judged.candidates]
        if whole:
            print(text_check(whole[0], judged))
    if asked.rerender and sets:
        print(fewer_frames(next((one for one in sets if not one.verdicts), sets[0]), asked.rerender))


if __name__ == "__main__":
    main()
