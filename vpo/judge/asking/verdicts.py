"""Reads a language model's critique: a verdict in the fenced form that `vpo/templates/critique.txt` asks for, and nothing else.

    ```verdict
    harmless: yes - nothing unsafe
    accurate: no - the scarf is blue instead of red
    helpful: yes - clear and short
    ```

The last fence of the answer counts, whatever stands around it. One that was never closed, that holds anything but one such line a
principle, or that repeats a line of the query or the prompt, which is not the judge's own word, is no verdict: there is no falling
back to the principles that could be read, to an earlier fence, to a "yes" somewhere in the text, or to a default.
"""

import re
import unicodedata
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
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")  # how `vpo.language.quoting` shows a judge what nobody sees
_FILLERS = "\u115f\u1160"  # letters of Hangul that show nothing
_SHOWN = 300


@dataclass(frozen=True)
class Reading:
    """What an answer says of the principles: of all of them, or of none.

    Attributes:
        answers: yes or no by principle; None for all where the answer is not of the form.
        reasons: the flaws, or why the answer could not be read, for each principle.
    """

    answers: dict[str, bool | None]
    reasons: tuple[Reason, ...]

    @property
    def empty(self) -> bool:
        """Whether the answer could not be read."""
        return None in self.answers.values()


def read_verdict(answer: str, data: Sequence[str] = (), *, cut: bool = False) -> Reading:
    """The verdict of an answer.

    Args:
        answer: of the language model, without its thoughts.
        data: the texts that were judged: a fence that repeats a line of theirs is no verdict.
        cut: whether the answer was cut off, for the message.
    """
    lines, problem = _last_fence(answer)
    if problem:
        return _unread(f"{problem}, and the answer was cut off; raise max_new_tokens" if cut else problem)
    said: dict[str, re.Match[str]] = {}
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None or _PLACEHOLDER.fullmatch(match[3].strip()):
            return _unread(f"its fence holds {one_line(line, 60)!r}, which is no line 'principle: yes or no - reason'")
        name = match[1].lower()
        if name in said:
            return _unread(f"its fence speaks of {name} twice")
        said[name] = match
    missing = [name for name in PRINCIPLES if name not in said]
    if missing:
        return _unread(f"its fence does not speak of {', '.join(missing)}")
    quoted = _quoted(lines, data)
    if quoted:
        return _unread(f"its fence repeats {one_line(quoted, 60)!r} of the text that is judged")
    answers = {name: said[name][2].lower() == "yes" for name in PRINCIPLES}
    flaws = (Reason(name, JUDGED, one_line(said[name][3])) for name, kept in answers.items() if not kept)
    return Reading(dict(answers), tuple(flaws))


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


def _quoted(lines: Sequence[str], data: Sequence[str]) -> str | None:
    """The first of the lines that stands in the data; None where all are the judge's own."""
    texts = [_letters(text) for text in data]
    return next((line for line in lines if any(_letters(line) in text for text in texts)), None)


def _letters(text: str) -> str:
    """Letters and digits alone: a text is known again behind another case or width, accents, marks of quotation, unseen signs."""
    shown = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", shown).casefold())
    return "".join(letter for letter in plain if letter.isalnum() and letter not in _FILLERS)


def _last_fence(answer: str) -> tuple[list[str], str]:
    """The lines within the last fence that hold anything, or what is wrong with it."""
    last: list[str] | None = None
    inside: list[str] | None = None
    mark = ""
    for line in answer.splitlines():
        edge = _OPEN.fullmatch(line)
        if inside is None:
            if edge is not None:
                inside, mark = [], edge[1]
        elif edge is not None and not edge[2] and edge[1].startswith(mark):
            last, inside = inside, None
        else:
            inside.append(line)
    if inside is not None:
        return [], "its last fence is not closed"
    if last is None:
        return [], "it holds no fence"
    return [line.strip() for line in last if line.strip()], ""
