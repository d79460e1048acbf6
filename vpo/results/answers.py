"""What judges and rewards answered on a prompt and its clips, each as one line for people; the whole records lie in the store."""

from collections.abc import Sequence

from vpo.records import Score, Verdict

LONGEST = 1000  # characters of a judge's own words
_WORDS = {True: "yes", False: "no", None: "unreadable"}
_MARKS = {True: "y", False: "n", None: "?"}


def answers_of(verdict: Verdict | None, scores: Sequence[Score]) -> dict[str, str]:
    """{"judge": ..., "reward": ...}, those that there are.

    A judge's line has its word on the three principles and its reasons, or its answer as it came; a reward's has the answers to its
    questions in their order (y, n, ? for one that could not be read), clip by clip.
    """
    found = {}
    if verdict is not None:
        found["judge"] = _judged(verdict)
    lines = ["".join(_MARKS[one] for one in score.answers) for score in scores if score.answers]
    if lines:
        found["reward"] = " | ".join(lines)
    return found


def _judged(verdict: Verdict) -> str:
    principles = ("harmless", "accurate", "helpful")
    line = ", ".join(f"{name} {_WORDS[getattr(verdict, name)]}" for name in principles)
    reasons = "; ".join(f"{one.kind}: {one.detail}" for one in verdict.reasons)
    said = verdict.raw or reasons
    line = f"refusal, {line}" if verdict.refusal else line
    return f"{line} ({' '.join(said.split())[:LONGEST]})" if said else line
