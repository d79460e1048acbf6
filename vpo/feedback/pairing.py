"""Verdicts and scores to preference pairs, by the rules of VPO's released code.

Source: thu-coai/VPO `src/process_data.py` and paper section 3.3; where the two differ, the code's rule is used and the
docstring says so.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from vpo.feedback.groups import by_query
from vpo.feedback.provenance import provenance, side
from vpo.feedback.video_rules import Scored, VideoRule, accepted
from vpo.records import Example, Pair, Prompt, Refinement, Score, Verdict
from vpo.seeding import seed_of

# feedback.text_pairs: which text-level preferences are made of candidates, their verdicts and refinements.
TEXT_PAIRS = ("refined", "sampled", "both")
OPENING = 25  # characters by which a text's beginning is known again, though its end may be changed


def sft_examples(
    prompts: Sequence[Prompt], verdicts: Sequence[Verdict], refinements: Sequence[Refinement]
) -> list[Example]:
    """SFT data (paper 3.2): s = p where the judge found no flaw, s = p_refined where it did.

    A draft that the judge failed on, could not read, or could not refine, is left out, and so is one that was cut off and that the
    judge did not mind: a policy would learn to stop in mid-sentence. The caller counts.
    """
    verdict_of = {one.prompt_id: one for one in verdicts}
    refined = _usable(refinements)
    examples = []
    for prompt in prompts:
        verdict = verdict_of.get(prompt.id)
        fine = verdict is not None and verdict.fine
        text = prompt.text if fine else refined.get(prompt.id)
        if text and not (fine and prompt.cut):
            examples.append(Example(prompt.query_id, prompt.query, text))
    return examples


def text_pairs(
    prompts: Sequence[Prompt],
    refinements: Sequence[Refinement],
    seed: int,
    *,
    prepended: bool,
    verdicts: Sequence[Verdict] = (),
    per_query: int | None = 1,
) -> list[Pair]:
    """Text-level pairs: refined over flawed, at most one a query, drawn at random among its flawed candidates.

    The released code drops refinements that hold a newline after it has chosen one per query, and so loses queries that had
    another usable one; here they are dropped first. It would also keep a refinement that changes nothing, and an empty candidate,
    which is no text to be trained away from.

    Args:
        prepended: whether a refinement counts that puts a sentence in front and leaves the flawed text's opening standing.
            It contradicts itself; preferred over rounds, it teaches to say the query and then something else. The released
            code has no such rule (True).
        verdicts: for the provenance of the pairs.
        per_query: pairs a query; None takes all. More than one is not part of VPO.
    """
    refined = _usable(refinements)
    verdict_of = {one.prompt_id: one for one in verdicts}
    rule = {"name": "refined over flawed", "prepended": prepended, "per_query": per_query}
    pairs = []
    for candidates in by_query(prompts).values():
        flawed = [
            one for one in candidates if one.text.strip() and refined.get(one.id, one.text).strip() != one.text.strip()
        ]
        if not prepended:
            flawed = [one for one in flawed if not _leaves_opening(refined[one.id], one.text.strip())]
        rng = random.Random(seed_of("text pair", seed, candidates[0].query_id))
        for one in _drawn(flawed, per_query, rng):
            origin = provenance(rule, side(one, refined=True), side(one, verdict=verdict_of.get(one.id)))
            pairs.append(Pair(one.query_id, one.query, refined[one.id], one.text.strip(), "text", provenance=origin))
    return numbered(pairs)


def sampled_pairs(
    prompts: Sequence[Prompt], verdicts: Sequence[Verdict], seed: int, per_query: int | None = 1
) -> list[Pair]:
    """Pairs of the policy's own candidates: one without flaw over a flawed one of the same query, both drawn at random.

    Both sides are texts that the policy writes, so that the preference moves what it samples. A refined text it may never write, and
    then the preference displaces what the pair does not compare (Razin et al. 2024, arXiv 2410.08847, on likelihood displacement). Not
    part of VPO. A candidate that the judge failed on, or could not read, is on neither side, and one that was cut off is not chosen.
    At most `per_query` pairs a query, no two of the same two candidates.
    """
    verdict_of = {one.prompt_id: one for one in verdicts}
    rule = {"name": "fine over flawed", "per_query": per_query}
    pairs = []
    for candidates in by_query(prompts).values():
        judged = [one for one in candidates if one.id in verdict_of and one.text.strip()]
        fine = [one for one in judged if verdict_of[one.id].fine is True and not one.cut]
        texts = {one.text.strip() for one in fine}
        flawed = [one for one in judged if verdict_of[one.id].fine is False and one.text.strip() not in texts]
        if not fine or not flawed:
            continue
        rng = random.Random(seed_of("sampled pair", seed, candidates[0].query_id))
        first = rng.choice(fine), rng.choice(flawed)
        others = [] if per_query == 1 else [(a, b) for a in fine for b in flawed if (a, b) != first]
        for a, b in [first, *_drawn(others, None if per_query is None else per_query - 1, rng)]:
            origin = provenance(rule, side(a, verdict=verdict_of[a.id]), side(b, verdict=verdict_of[b.id]))
            pairs.append(Pair(a.query_id, a.query, a.text.strip(), b.text.strip(), "sampled", provenance=origin))
    return numbered(pairs)


def feedback_pairs(
    prompts: Sequence[Prompt],
    verdicts: Sequence[Verdict],
    refinements: Sequence[Refinement],
    seed: int,
    *,
    kind: str,
    prepended: bool,
    per_query: int | None = 1,
) -> list[Pair]:
    """The text-level pairs of a kind of `TEXT_PAIRS`; with "both" a query may have pairs of each."""
    refined, sampled = [], []
    if kind in ("refined", "both"):
        refined = text_pairs(prompts, refinements, seed, prepended=prepended, verdicts=verdicts, per_query=per_query)
    if kind in ("sampled", "both"):
        sampled = sampled_pairs(prompts, verdicts, seed, per_query)
    return [*refined, *sampled]


def video_pairs(
    prompts: Sequence[Prompt],
    scores: Sequence[Score],
    rule: VideoRule,
    verdicts: Sequence[Verdict] = (),
    *,
    among: str | None = None,
) -> list[Pair]:
    """Video-level pairs of the candidates that have a clip with a score, by a rule.

    VPO's paper asks for a gap of the scores above 0.5 alone. Its released code, which is followed (`VideoRule(0.5)`), also asks that
    the chosen clip is worse on no question and better on one, and keeps the first pair that it meets (chosen outer, rejected inner),
    not the widest. Unlike it, a clip with an answer that could not be read is on neither side, and two equal texts make no pair. As in
    it, a candidate that was cut off may be chosen where its clip is the better one.

    Args:
        prompts: all candidates, in the order of sampling.
        scores: of their clips.
        rule: what is accepted, and how many pairs a query has.
        verdicts: for the provenance of the pairs.
        among: for the provenance of the pairs: whose clips were scored, see `video_candidates`.

    Raises:
        UserError: The scores have nothing that the rule could compare.
    """
    rule.check(scores)
    score_of = {one.prompt_id: one for one in scores}
    verdict_of = {one.prompt_id: one for one in verdicts}
    named = {"name": "clip over clip", **rule.values(), **({} if among is None else {"among": among})}
    pairs = []
    for candidates in by_query(prompts).values():
        rated = [(one, score_of[one.id]) for one in candidates if one.id in score_of and one.text.strip()]
        scored = [Scored(one, score, overall) for one, score in rated if (overall := rule.overall(score)) is not None]
        for i, j in accepted(scored, rule):
            sides = [side(one.prompt, verdict=verdict_of.get(one.prompt.id), score=one.score) for one in (i, j)]
            pairs.append(
                Pair(
                    i.prompt.query_id, i.prompt.query, i.text, j.text, "video", i.overall, j.overall,
                    provenance=provenance(named, *sides),
                )
            )  # fmt: skip
    return numbered(pairs)


def video_candidates(
    prompts: Sequence[Prompt],
    verdicts: Sequence[Verdict],
    refinements: Sequence[Refinement],
    *,
    kind: str,
    prepended: bool,
    beside: bool = False,
    among: str = "fine",
) -> list[Prompt]:
    """The candidates that can still make a video pair once text-level feedback is in.

    Text wins the merge, so rendering a query that has a text pair would be in vain; unless both are kept (`beside`).

    Paper and released code differ in the queries that are left. By the paper's section 3.3 a video pair is of prompts that pass the
    text check (`among` "fine"). The code compares all of a query's candidates (`among` "all"), and only the merge keeps flawed ones
    out: one whose refinement is of no use, or whose verdict could not be read, may be on either side there.
    """
    fine = {one.prompt_id for one in verdicts if one.fine}
    pairs = [] if beside else feedback_pairs(prompts, verdicts, refinements, seed=0, kind=kind, prepended=prepended)
    taken = {pair.query_id for pair in pairs}
    return [one for one in prompts if (among == "all" or one.id in fine) and one.query_id not in taken]


def merge(text: Sequence[Pair], video: Sequence[Pair], *, beside: bool = False) -> list[Pair]:
    """All text-level pairs, and the video-level ones of queries without any (released code), or with `beside` of all queries."""
    taken = set() if beside else {pair.query_id for pair in text}
    return numbered([*text, *(pair for pair in video if pair.query_id not in taken)])


def numbered(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs, with numbers that tell those apart that would have one id."""
    seen: Counter[str] = Counter()
    found = []
    for one in pairs:
        name = replace(one, number=0).id
        found.append(replace(one, number=seen[name]))
        seen[name] += 1
    return found


def _drawn(items: Sequence[Any], n: int | None, rng: random.Random) -> list[Any]:
    """At most n of the items in random order (None: all); the first is drawn as one alone is."""
    if not items or n == 0:
        return []
    first = rng.choice(items)
    others = [one for one in items if one is not first]
    rng.shuffle(others)
    return [first, *others][:n]


def _leaves_opening(refined: str, flawed: str) -> bool:
    """Whether the flawed text's first words, capital and all, stand in the refined one behind something new."""
    return refined.find(flawed[:OPENING]) > 0


def _usable(refinements: Iterable[Refinement]) -> dict[str, str]:
    """Refined text by prompt id, where there is one line of it."""
    texts = ((one.prompt_id, (one.text or "").strip()) for one in refinements)
    return {prompt_id: text for prompt_id, text in texts if text and "\n" not in text}
