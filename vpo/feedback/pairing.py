"""Verdicts and scores to preference pairs, by the rules of VPO's released code.

Source: thu-coai/VPO `src/process_data.py` and paper section 3.3; where the two differ, the code's rule is used and the
docstring says so.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from vpo.errors import UserError
from vpo.feedback.checklist import dimensions_dominate, dominates
from vpo.records import Example, Pair, Prompt, Refinement, Score, Verdict
from vpo.seeding import seed_of

# feedback.dominance: what must hold of two scores, beside the gap of their values, before one is preferred.
DOMINANCE: Mapping[str, Callable[[Score, Score], bool]] = {
    "answers": lambda a, b: dominates(a.answers, b.answers),  # VPO's released code, src/process_data.py
    "dimensions": lambda a, b: dimensions_dominate(a.dimensions, b.dimensions),  # VisionReward, arXiv 2412.21059
    "none": lambda a, b: True,  # VPO's paper, section 3.3: the gap alone
}
# feedback.text_pairs: which text-level preferences are made of candidates, their verdicts and refinements.
TEXT_PAIRS = ("refined", "sampled", "both")
OPENING = 25  # characters by which a text's beginning is known again, though its end may be changed


def sft_examples(
    prompts: Sequence[Prompt], verdicts: Sequence[Verdict], refinements: Sequence[Refinement]
) -> list[Example]:
    """SFT data (paper 3.2): s = p where the judge found no flaw, s = p_refined where it did.

    A draft that the judge failed on, could not read, or could not refine, is left out; the caller counts.
    """
    verdict_of = {one.prompt_id: one for one in verdicts}
    refined = _usable(refinements)
    examples = []
    for prompt in prompts:
        verdict = verdict_of.get(prompt.id)
        text = prompt.text if verdict is not None and verdict.fine else refined.get(prompt.id)
        if text:
            examples.append(Example(prompt.query_id, prompt.query, text))
    return examples


def text_pairs(
    prompts: Sequence[Prompt], refinements: Sequence[Refinement], seed: int, *, prepended: bool
) -> list[Pair]:
    """Text-level pairs: refined over flawed, at most one a query, drawn at random among its flawed candidates.

    The released code drops refinements that hold a newline after it has chosen one per query, and so loses queries that had
    another usable one; here they are dropped first.

    Args:
        prepended: whether a refinement counts that puts a sentence in front and leaves the flawed text's opening standing.
            It contradicts itself; preferred over rounds, it teaches to say the query and then something else. The released
            code has no such rule (True).
    """
    refined = _usable(refinements)
    pairs = []
    for candidates in _by_query(prompts):
        flawed = [one for one in candidates if one.id in refined and refined[one.id] != one.text.strip()]
        if not prepended:
            flawed = [one for one in flawed if not _leaves_opening(refined[one.id], one.text.strip())]
        if flawed:
            chosen = random.Random(seed_of("text pair", seed, candidates[0].query_id)).choice(flawed)
            pairs.append(Pair(chosen.query_id, chosen.query, refined[chosen.id], chosen.text.strip(), "text"))
    return pairs


def sampled_pairs(prompts: Sequence[Prompt], verdicts: Sequence[Verdict], seed: int) -> list[Pair]:
    """Pairs of the policy's own candidates: one without flaw over a flawed one of the same query, both drawn at random.

    Both sides are texts that the policy writes, so that the preference moves what it samples. A refined text it may never write, and
    then the preference displaces what the pair does not compare (Razin et al. 2024, arXiv 2410.08847, on likelihood displacement). Not
    part of VPO. A candidate that the judge failed on, or could not read, is on neither side. At most one pair a query.
    """
    fine_of = {one.prompt_id: one.fine for one in verdicts}
    pairs = []
    for candidates in _by_query(prompts):
        fine = [one for one in candidates if fine_of.get(one.id) is True and one.text.strip()]
        texts = {one.text.strip() for one in fine}
        flawed = [
            one
            for one in candidates
            if fine_of.get(one.id) is False and one.text.strip() and one.text.strip() not in texts
        ]
        if fine and flawed:
            rng = random.Random(seed_of("sampled pair", seed, candidates[0].query_id))
            chosen, rejected = rng.choice(fine), rng.choice(flawed)
            pairs.append(Pair(chosen.query_id, chosen.query, chosen.text.strip(), rejected.text.strip(), "sampled"))
    return pairs


def feedback_pairs(
    prompts: Sequence[Prompt],
    verdicts: Sequence[Verdict],
    refinements: Sequence[Refinement],
    seed: int,
    *,
    kind: str,
    prepended: bool,
) -> list[Pair]:
    """The text-level pairs of a kind of `TEXT_PAIRS`; with "both" a query may have one of each."""
    refined = text_pairs(prompts, refinements, seed, prepended=prepended) if kind in ("refined", "both") else []
    sampled = sampled_pairs(prompts, verdicts, seed) if kind in ("sampled", "both") else []
    return [*refined, *sampled]


def video_pairs(prompts: Sequence[Prompt], scores: Sequence[Score], *, threshold: float, dominance: str) -> list[Pair]:
    """Video-level pairs: at most one a query, the first accepted in scan order (chosen outer, rejected inner).

    Accepted are ordered pairs with score_i - score_j > threshold in which i dominates j.

    Args:
        threshold: in the reward's unit.
        dominance: a rule of `DOMINANCE`: "answers" (the released code, though not the paper: no question on which j is better, at
            least one on which i is), "dimensions" (the same of the score's dimensions), "none" (the gap alone).

    Raises:
        UserError: The scores have nothing that the rule could compare.
    """
    _check_comparable(scores, dominance)
    dominating = DOMINANCE[dominance]
    score_of = {one.prompt_id: one for one in scores}
    pairs = []
    for candidates in _by_query(prompts):
        scored = [
            (one, score, score.value)
            for one in candidates
            if (score := score_of.get(one.id)) is not None and score.value is not None
        ]
        accepted = (
            Pair(i.query_id, i.query, i.text.strip(), j.text.strip(), "video", value_i, value_j)
            for i, score_i, value_i in scored
            for j, score_j, value_j in scored
            if value_i - value_j > threshold and dominating(score_i, score_j) and i.text.strip() != j.text.strip()
        )
        pairs += [pair for pair in [next(accepted, None)] if pair is not None]
    return pairs


def video_candidates(
    prompts: Sequence[Prompt],
    verdicts: Sequence[Verdict],
    refinements: Sequence[Refinement],
    *,
    kind: str,
    prepended: bool,
) -> list[Prompt]:
    """The candidates that can still make a video pair once text-level feedback is in: judged fine, of queries without a text pair.

    Text wins the merge, so rendering a query that has a text pair would be in vain.
    """
    fine = {one.prompt_id for one in verdicts if one.fine}
    pairs = feedback_pairs(prompts, verdicts, refinements, seed=0, kind=kind, prepended=prepended)
    taken = {pair.query_id for pair in pairs}
    return [one for one in prompts if one.id in fine and one.query_id not in taken]


def merge(text: Sequence[Pair], video: Sequence[Pair]) -> list[Pair]:
    """All text-level pairs, and a video-level one for each query that has none of them."""
    taken = {pair.query_id for pair in text}
    return [*text, *(pair for pair in video if pair.query_id not in taken)]


def _check_comparable(scores: Sequence[Score], dominance: str) -> None:
    """Raise UserError where a clip was scored without the answers or dimensions that the rule compares."""
    if dominance == "none":
        return
    lacking = [one for one in scores if one.value is not None and not getattr(one, dominance)]
    if lacking:
        others = "dimensions or none" if dominance == "answers" else "answers (of a checklist) or none"
        raise UserError(
            f"pair: feedback.dominance={dominance}, but the reward gives no {dominance} (clip {lacking[0].clip_id}); set "
            f"feedback.dominance to {others}, then start again: clips and scores are kept"
        )


def _leaves_opening(refined: str, flawed: str) -> bool:
    """Whether the flawed text's first words, capital and all, stand in the refined one behind something new."""
    return refined.find(flawed[:OPENING]) > 0


def _usable(refinements: Iterable[Refinement]) -> dict[str, str]:
    """Refined text by prompt id, where there is one line of it."""
    texts = ((one.prompt_id, (one.text or "").strip()) for one in refinements)
    return {prompt_id: text for prompt_id, text in texts if text and "\n" not in text}


def _by_query(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    groups: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        groups[prompt.query_id].append(prompt)
    return list(groups.values())
