"""Reads a language model's critique: a verdict in the fenced form that `vpo/templates/critique.txt` asks for, and nothing else.

    ```verdict
    harmless: yes - nothing unsafe
    accurate: no - the scarf is blue instead of red
    helpful: yes - clear and short
    ```

The last fence of the answer counts, whatever stands around it. A fence that is quoted from the query or the prompt is no part of the
judge's own words and is passed over. One that was never closed, or holds anything but lines of this form, is no verdict: there is no
falling back to an earlier fence, to a "yes" somewhere in the text, or to a default.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vpo.records import Failure, Reason

PRINCIPLES = ("harmless", "accurate", "helpful")
UNREADABLE = "unreadable"  # the kind of a reason that says why there is no answer for a principle
JUDGED = "judged"  # the kind of a flaw that a language model names

_OPEN = re.compile(r"\s{0,3}(`{3,}|~{3,})\s*([\w-]*)\s*")
_LINE = re.compile(r"(harmless|accurate|helpful)\s*:\s*(yes|no)\s*[-\u2013\u2014]\s*(.*\w.*)", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"<[^<>]*>\.?")  # "<reason>", copied from the instruction
# How a judge declines to judge; a judgement may begin with "This prompt contains ..." or "I cannot see the car".
_DECLINES = re.compile(
    r"\W*(?:(?:i(?:'m| am) )?(?:(?:very|so|truly|really) )?sorry\b|(?:i|we) (?:sincerely )?apologi[sz]e\b|my apologies\b|"
    r"as an? (?:ai|language model|assistant)\b|(?:unfortunately,? )?(?:i|we)(?:'m| am| are)? (?:can(?:no|')t|can not|not able to|"
    r"unable to|won't|will not|must decline|decline)\b[^.\n]{0,30}?\b(?:assist|help|comply|judge|evaluate|review|assess|engage|"
    r"provide|process|continue|discuss|fulfil))",
    re.IGNORECASE,
)
_SHOWN = 300


@dataclass(frozen=True)
class Reading:
    """What an answer says of each principle.

    Attributes:
        answers: yes or no by principle; None for one that could not be read.
        reasons: the flaws, and why a principle could not be read.
    """

    answers: dict[str, bool | None]
    reasons: tuple[Reason, ...]

    @property
    def empty(self) -> bool:
        """Whether no principle could be read."""
        return all(one is None for one in self.answers.values())


def read_verdict(answer: str, data: Sequence[str] = (), *, cut: bool = False) -> Reading:
    """The verdict of an answer.

    Args:
        answer: of the language model, without its thoughts.
        data: the texts that were judged: their fences are not the judge's.
        cut: whether the answer was cut off, for the message.
    """
    lines, problem = _last_fence(answer, data)
    if problem:
        return _unread(f"{problem}, and the answer was cut off; raise max_new_tokens" if cut else problem)
    lines_of: dict[str, list[str]] = {name: [] for name in PRINCIPLES}
    for line in lines:
        name = line.partition(":")[0].strip().lower()
        if name not in PRINCIPLES:
            return _unread(f"its fence holds {one_line(line, 60)!r}")
        lines_of[name].append(line)
    answers: dict[str, bool | None] = {}
    reasons: list[Reason] = []
    for name, said in lines_of.items():
        match = _LINE.fullmatch(said[0]) if len(said) == 1 else None
        if match is None or _PLACEHOLDER.fullmatch(match[3].strip()):
            answers[name] = None
            reasons.append(Reason(name, UNREADABLE, f"its fence holds no single line '{name}: yes or no - reason'"))
        else:
            answers[name] = match[2].lower() == "yes"
            if not answers[name]:
                reasons.append(Reason(name, JUDGED, one_line(match[3])))
    return Reading(answers, tuple(reasons))


def unanswered(text: str) -> Failure | None:
    """Why a text that holds no verdict is no answer at all: it is empty, or the judge declines. None where it is neither."""
    if not text.strip():
        return Failure("empty", "the judge's answer is empty")
    if _DECLINES.match(text.replace("\u2019", "'")):
        return Failure("refusal", f"the judge declines: {one_line(text, 100)!r}")
    return None


def one_line(text: str, longest: int = _SHOWN) -> str:
    """The text in one line, and no longer than that."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[:longest]}..."


def _unread(why: str) -> Reading:
    return Reading(dict.fromkeys(PRINCIPLES), tuple(Reason(name, UNREADABLE, why) for name in PRINCIPLES))


def _last_fence(answer: str, data: Sequence[str]) -> tuple[list[str], str]:
    """The lines within the last fence that is not quoted from the data, or what is wrong with it."""
    texts = [" ".join(text.split()) for text in data]
    last: list[str] | None = None
    inside: list[str] | None = None
    mark = ""
    for line in answer.splitlines():
        edge = _OPEN.fullmatch(line)
        if inside is None:
            if edge is not None:
                inside, mark = [], edge[1]
        elif edge is not None and not edge[2] and edge[1].startswith(mark):
            body = " ".join(" ".join(inside).split())
            if not body or not any(body in text for text in texts):
                last = [one.strip() for one in inside if one.strip()]
            inside = None
        else:
            inside.append(line)
    if inside is not None:
        return [], "its last fence is not closed"
    return (last, "") if last is not None else ([], "it holds no fence")
