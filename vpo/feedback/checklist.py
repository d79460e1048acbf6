"""Yes/no answers and weights become scores: the arithmetic of checklist rewards (VisionReward, arXiv 2412.21059; VPO).

Pure and standard library only. An answer is True (yes), False (no) or None (no parsable answer). None is never a "no".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Answers = Sequence[bool | None]


@dataclass(frozen=True)
class Question:
    """One yes/no question. `level` 1 is the strictest of its sub-dimension; a weight of 0 never enters a score."""

    id: int
    text: str
    dimension: str
    sub_dimension: str
    level: int
    weight: float


def weighted_sum(answers: Answers, weights: Sequence[float]) -> float | None:
    """VPO's score R01 = sum_i w_i [answer_i = yes], in 0..sum(weights).

    VPO, arXiv 2503.20491, released code `src/process_data.py`. VisionReward's own script prints the mean of +-w_i
    instead, (2 R01 - sum(w)) / n for n questions. None if any answer with a non-zero weight is None: a sum over fewer
    questions would pass for a worse video. Raises ValueError where the lengths differ.
    """
    if len(answers) != len(weights):
        raise ValueError(f"{len(answers)} answers for {len(weights)} weights")
    weighty = [(answer, weight) for answer, weight in zip(answers, weights, strict=True) if weight != 0]
    if any(answer is None for answer, _ in weighty):
        return None
    return float(sum(weight for answer, weight in weighty if answer))


def dimension_scores(answers: Answers, questions: Sequence[Question]) -> dict[str, float | None]:
    """The weighted sum of each dimension's own questions, in order of first appearance; None as in `weighted_sum`.

    A dimension whose questions all weigh nothing is left out: its sum would be 0 for every clip, unreadable ones included.
    Raises ValueError where the lengths differ.
    """
    if len(answers) != len(questions):
        raise ValueError(f"{len(answers)} answers for {len(questions)} questions")
    scores: dict[str, float | None] = {}
    for dimension in dict.fromkeys(question.dimension for question in questions if question.weight != 0):
        own = [(a, q.weight) for a, q in zip(answers, questions, strict=True) if q.dimension == dimension]
        scores[dimension] = weighted_sum([answer for answer, _ in own], [weight for _, weight in own])
    return scores


def dominates(a: Answers, b: Answers) -> bool:
    """Strict dominance of VPO's released code: a says yes wherever b does, and at least once where b says no.

    All questions count, those of weight 0 as well: this is the only way in which VisionReward's safety questions enter
    VPO's pairs. With any answer None on either side nothing is known, and nothing dominates.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} answers against {len(b)}")
    if None in a or None in b:
        return False
    pairs = list(zip(a, b, strict=True))
    return all(x or not y for x, y in pairs) and any(x and not y for x, y in pairs)


def dimensions_dominate(a: Mapping[str, float | None], b: Mapping[str, float | None]) -> bool:
    """Dominance by dimensions: a is worse than b in none and better in at least one.

    VisionReward's multi-objective preference optimization (arXiv 2412.21059) asks R_i(d) >= R_j(d) of all dimensions d and of the
    totals a gap, which leaves one d with >; here this is asked for itself. A dimension that either side lacks or could not read
    (None) is not known, and then nothing dominates.
    """
    if a.keys() != b.keys():
        return False
    known = [(x, y) for x, y in ((a[name], b[name]) for name in a) if x is not None and y is not None]
    return len(known) == len(a) and all(x >= y for x, y in known) and any(x > y for x, y in known)


def weighted_dimensions(dimensions: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """The overall score of a reward of several dimensions: sum_d w_d R(d), in the unit that the weights give it.

    Prompt-A-Video (arXiv 2412.15156) ranks so: the filter of its pairs by VQ + TC + FC + 1.1 DD + 1.3 TVA + 0.8 AES + MPS/3
    (`booster/dpo/filter.py`), its evolution by VQ + FC + TC + 0.5 DD + TVA + 5/8 AES + MPS/4 (`booster/finetuning/gpt_boost.py`, where
    the last two terms are first rounded to two places, which is not done here). None where a dimension that has a weight is missing or
    could not be read: a sum of fewer terms would pass for a worse clip.
    """
    known = {name: dimensions.get(name) for name in weights}
    if any(value is None for value in known.values()):
        return None
    return math.fsum(weights[name] * value for name, value in known.items() if value is not None)


def mean_of_signed(answers: Answers, weights: Sequence[float]) -> float | None:
    """VisionReward's own scale: the mean of +w_i for yes and -w_i for no, over the n questions that have a weight.

    THUDM/VisionReward, `inference-video.py`. It equals (2 R01 - sum(w)) / n: 29 questions, in -0.21645..0.21645, for the published
    checklist. None and errors as in `weighted_sum`.
    """
    total = weighted_sum(answers, weights)
    count = sum(weight != 0 for weight in weights)
    return None if total is None or not count else (2 * total - math.fsum(weights)) / count


def is_better(a: Answers, b: Answers, weights: Sequence[float]) -> bool | None:
    """VisionReward's comparison of two videos: whether sum_i w_i (a_i - b_i) > 0 for answers of +1 and -1.

    The sum is 2 (R01(a) - R01(b)), so a tie says that b is better, as in its script. None where either could not be read.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} answers against {len(b)}")
    if weighted_sum(a, weights) is None or weighted_sum(b, weights) is None:
        return None
    # Of the questions that differ alone: two sums of many terms would differ in their last digit where nothing does.
    return math.fsum(weight * (bool(x) - bool(y)) for x, y, weight in zip(a, b, weights, strict=True)) > 0


# The scales of one video's score, by the names that a reward's config gives them.
SCALES = {"sum_of_yes": weighted_sum, "mean_of_signed": mean_of_signed}


def never_yes(answers: Answers) -> bool:
    """Whether all answers that could be read are "no", and there is one.

    In a checklist that also asks whether a video is "not static" and "not blurry", this is no bad video. It is a model that was
    loaded wrongly, whose answers never decode to "yes" (zai-org/VisionReward, issue 26: a mean of -0.21645 for every video).
    """
    read = [answer for answer in answers if answer is not None]
    return bool(read) and not any(read)
