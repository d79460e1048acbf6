"""What a set of preference pairs is like: where they come from, and by what else than quality their sides differ.

Pure and standard library only.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vpo.feedback.groups import by_query
from vpo.records import Pair, Prompt, Refinement, Score, Verdict

Z95 = 1.96  # the normal distribution's two-sided 95 % quantile
NO_REASON = "no reason recorded"


@dataclass(frozen=True)
class Mean:
    """A mean with the half width of its 95 % interval (1.96 s / sqrt(n); None of a single value)."""

    value: float
    half: float | None
    n: int

    def __str__(self) -> str:
        return f"{self.value:.2f}" + ("" if self.half is None else f" ± {self.half:.2f}")


def mean_of(values: Sequence[float]) -> Mean | None:
    """The mean of the values; None of no values."""
    n = len(values)
    if n == 0:
        return None
    mean = math.fsum(values) / n
    if n == 1:
        return Mean(mean, None, n)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return Mean(mean, Z95 * math.sqrt(variance / n), n)


def share_of(flags: Sequence[bool]) -> tuple[float, float, float]:
    """A share with the ends of its 95 % interval (Wilson 1927, which is no point at shares of 0 and 1); n must be above 0."""
    n, share = len(flags), sum(flags) / len(flags)
    scale = 1 + Z95**2 / n
    centre = (share + Z95**2 / (2 * n)) / scale
    half = Z95 * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2)) / scale
    return share, max(0.0, centre - half), min(1.0, centre + half)


def extra_words(pair: Pair) -> int:
    """How many words the chosen prompt has more than the rejected one."""
    return len(pair.chosen.split()) - len(pair.rejected.split())


def lexical_distance(a: str, b: str) -> float:
    """1 - |A ∩ B| / |A ∪ B| of the sets of lower-cased words (Jaccard): 0 for the same words, 1 for none in common."""
    one, other = (set(re.findall(r"\w+", text.lower())) for text in (a, b))
    return 1 - len(one & other) / len(one | other) if one | other else 0.0


def reasons_of(pair: Pair) -> tuple[str, ...]:
    """Why the chosen one is preferred: kinds of flaws of the rejected one, or dimensions in which the chosen clip is better."""
    chosen, rejected = (pair.provenance.get(name, {}) for name in ("chosen", "rejected"))
    if pair.source == "video":
        better = _better_dimensions(chosen.get("score", {}), rejected.get("score", {}))
        return better or ("a higher score",)
    verdict: Mapping[str, Any] = rejected.get("verdict", {})
    flaws = dict.fromkeys(f"{one['aspect']}: {one['kind']}" for one in verdict.get("reasons", ()))
    return tuple(flaws) or (("refusal",) if verdict.get("refusal") else (NO_REASON,))


def _better_dimensions(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, ...]:
    values, others = a.get("dimensions", {}), b.get("dimensions", {})
    known = [name for name in values if values[name] is not None and others.get(name) is not None]
    return tuple(f"better: {name}" for name in known if values[name] > others[name])


def count_reasons(pairs: Sequence[Pair]) -> dict[str, Counter[str]]:
    """By source, how many of its pairs have each reason; a pair may have several."""
    counts: dict[str, Counter[str]] = {}
    for pair in pairs:
        counts.setdefault(pair.source, Counter()).update(reasons_of(pair))
    return counts


@dataclass(frozen=True)
class Feedback:
    """All that pairs were made of; what a run has not is empty.

    Attributes:
        failed: the queries of candidates that could not be sampled, one entry a candidate.
        given: the queries that may have come with pairs; no candidates were sampled for these.
        refined_pairs: whether refined texts were to be preferred to flawed candidates.
    """

    prompts: Sequence[Prompt] = ()
    verdicts: Sequence[Verdict] = ()
    refinements: Sequence[Refinement] = ()
    scores: Sequence[Score] = ()
    failed: Sequence[str] = ()
    given: Sequence[str] = ()
    refined_pairs: bool = True

    @property
    def queries(self) -> list[str]:
        """All queries that were asked about, each once."""
        return list(dict.fromkeys((*(one.query_id for one in self.prompts), *self.failed, *self.given)))


def without_pair(feedback: Feedback, paired: Collection[str]) -> Counter[str]:
    """Why queries have no pair, each counted once."""
    candidates_of = by_query(feedback.prompts)
    fine_of = {one.prompt_id: one.fine for one in feedback.verdicts}
    refined = {one.prompt_id for one in feedback.refinements if (one.text or "").strip()}
    scored = {one.prompt_id for one in feedback.scores if one.value is not None}
    why: Counter[str] = Counter()
    for query_id in feedback.queries:
        if query_id in paired:
            continue
        if query_id in candidates_of:
            why[_why_none(candidates_of[query_id], fine_of, refined, scored, feedback.refined_pairs)] += 1
        else:
            why["came without a pair" if feedback.given else "all candidates failed"] += 1
    return why


def _why_none(
    candidates: Sequence[Prompt],
    fine_of: Mapping[str, bool | None],
    refined: Collection[str],
    scored: Collection[str],
    refined_pairs: bool,
) -> str:
    if len({one.text.strip() for one in candidates}) == 1 < len(candidates):
        return "all candidates are one text"
    judged = [fine_of[one.id] for one in candidates if one.id in fine_of]
    if fine_of and None in [*judged, *([None] * (len(candidates) - len(judged)))]:
        return "the judge failed on a candidate, and the others differ too little"
    flawed = [one for one in candidates if fine_of.get(one.id) is False]
    if flawed and refined_pairs:  # a refined text of use would have made a pair
        if any(one.id in refined for one in flawed):
            return "refined texts of flawed candidates, but none that a pair may have, and no other preference"
        return "flawed candidates that could not be refined, and no other preference"
    if flawed and True not in judged:
        return "all candidates are flawed, and refined texts make no pairs"
    if sum(one.id in scored for one in candidates) > 1:
        return "scores of the clips too close, or none dominates another"
    if fine_of and all(judged):
        return "all candidates are fine, and no clips were compared"
    return "no clip could be read" if not fine_of else "no usable difference"
