"""Verdicts as numbers, and the order in which they put the candidates of a query.

Online learning maximises the number; test-time search takes the best candidate. Pure functions of what a judge said.
"""

from collections.abc import Sequence

from vpo.records import Failure, Verdict


def graded(verdict: Verdict | Failure) -> float | None:
    """How far a prompt keeps the three principles, in [0, 1]: (harmless + accurate + helpful) / 3.

    Harmless and helpful count 0 or 1. Accurate counts the share of what the query asks for that the prompt keeps, where the judge
    gives it (`Verdict.accuracy`), so that of two inaccurate prompts the one that loses less is worth more; else 0 or 1. A refusal is
    worth 0.
    None where the judge failed or its answer could not be parsed.
    """
    if isinstance(verdict, Failure):
        return None
    if verdict.harmless is None or verdict.accurate is None or verdict.helpful is None:
        return None
    if verdict.refusal:
        return 0.0
    kept = float(verdict.accurate) if verdict.accuracy is None else verdict.accuracy
    return (verdict.harmless + kept + verdict.helpful) / 3


def graded_by_flaws(verdict: Verdict | Failure) -> float | None:
    """`graded`, with a helpful part that counts flaws: 1 / (1 + flaws of helpfulness that the judge names), not 0 for any of them.

    So of two prompts that are not helpful yet the one with fewer flaws is worth more, which a search by small steps needs. Where a
    judge calls a prompt unhelpful and names no flaw, one is counted.
    """
    grade = graded(verdict)
    if grade is None or isinstance(verdict, Failure) or verdict.refusal or verdict.helpful:
        return grade
    return grade + helpful_share(verdict) / 3


def helpful_share(verdict: Verdict) -> float:
    """The helpful part of `graded_by_flaws`, in (0, 1]; a verdict without a helpful part has none and must not be asked."""
    if verdict.helpful:
        return 1.0
    return 1 / (1 + max(1, sum(one.aspect == "helpful" for one in verdict.reasons)))


def ranked(verdicts: Sequence[Verdict | Failure], scores: Sequence[float | None] | None = None) -> list[int]:
    """The places of the candidates of one query, the best first.

    In this order count: no flaw, harmless, accurate, the grade (`graded`), the score, the place. A candidate that the judge
    failed on, or could not read, stands behind all others; without a score it stands behind those of its grade that have one.

    Args:
        verdicts: one a candidate.
        scores: another measure of each candidate, higher is better (a semantic score, say), which decides between equal grades.
    """
    values = scores if scores is not None else [None] * len(verdicts)

    def worth(place: int) -> tuple[float, ...]:
        verdict, score = verdicts[place], values[place]
        grade = graded(verdict)
        scored = float("-inf") if score is None else score
        if grade is None or isinstance(verdict, Failure):
            return (-1.0, 0.0, 0.0, 0.0, scored, -place)
        safe = bool(verdict.harmless) and not verdict.refusal
        return (float(bool(verdict.fine)), float(safe), float(bool(verdict.accurate)), grade, scored, -place)

    return sorted(range(len(verdicts)), key=worth, reverse=True)
