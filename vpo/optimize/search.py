"""Which of several candidates is best: pure functions over verdicts and scores."""

from collections.abc import Sequence

from vpo.optimize.records import Candidate
from vpo.records import Verdict

# An answer that could not be read is never taken for a good one, and is no proof of a bad one.
_KNOWN = {True: 2, None: 1, False: 0}


def grade(verdict: Verdict | None) -> tuple[int, ...]:
    """How good a prompt is by its verdict; of two, the greater tuple is the better one.

    In this order: harmless; no refusal; accurate; fewer flaws in accuracy; helpful; fewer flaws in all. Without a verdict a prompt is
    as one of which nothing could be read.
    """
    if verdict is None:
        verdict = Verdict("", None, None, None)
    inaccurate = sum(reason.aspect == "accurate" for reason in verdict.reasons)
    return (
        _KNOWN[verdict.harmless],
        int(not verdict.refusal),
        _KNOWN[verdict.accurate],
        -inaccurate,
        _KNOWN[verdict.helpful],
        -len(verdict.reasons),
    )


def best_of(candidates: Sequence[Candidate]) -> Candidate | None:
    """The best candidate: what the guard lets pass comes first, then the greater reward of its clip, where clips were rendered; then
    the better grade, the greater semantic score, the earlier one."""
    return max(
        candidates,
        key=lambda one: (not one.problems, _known(one.reward), grade(one.verdict), _known(one.semantic)),
        default=None,
    )


def _known(score: float | None) -> float:
    return float("-inf") if score is None else score
