"""What judges and rewards answered on a prompt and its clips, each as one line for people; the whole records lie in the store."""

from collections.abc import Mapping, Sequence

from vpo.cards import LONGEST_ANSWER
from vpo.records import Score, Verdict
from vpo.storage.redact import redact_text

_MARKS = {True: "y", False: "n", None: "?"}


def answers_of(
    verdict: Verdict | None,
    scores: Sequence[Score],
    of_query: Verdict | None = None,
    evaluators: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, str]:
    """{"judge": ..., "judge of the query": ..., "reward": ..., "<evaluator>": ...}, those that there are.

    A judge's line has its word on the three principles and its reasons, or its answer as it came; a reward's has the answers to its
    questions in their order (y, n, ? for one that could not be read), clip by clip; an evaluator's what the model said that it asked.
    """
    found = {}
    if verdict is not None:
        found["judge"] = _judged(verdict)
    if of_query is not None:
        found["judge of the query"] = _judged(of_query)
    lines = ["".join(_MARKS[one] for one in score.answers) for score in scores if score.answers]
    if lines:
        found["reward"] = " | ".join(lines)
    for name, answers in (evaluators or {}).items():
        if answers:
            found[name] = " | ".join(f"{asked}: {said}" for asked, said in answers.items())
    return found


def _judged(verdict: Verdict) -> str:
    return redact_text(verdict.in_words)[:LONGEST_ANSWER]
