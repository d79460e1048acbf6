"""A text as a row of shots: 'Shot 1: ... Shot 2: ...', '[0-3s] ...', numbered lines, 'cut to', 'First ... then ... finally'.

A query is cut where it says so itself. Its rewrite may tell the same shots in any form, so it is cut by what the shots are about:
each of its sentences goes to the shot whose own things it names, in the order of the shots (`spans`). Whether the order was changed
is seen by the same things (`swapped`): of two shots, where first what is the later one's own is shown and then what is the earlier's.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vpo.judge.rules.items import Item
from vpo.judge.rules.words import Reading

_NUMBER = r"(?:\d{1,2}|[ivx]{1,4}|one|two|three|four|five|six|seven|eight|nine|ten)"
_ORDINAL = r"(?:opening|first|second|third|fourth|fifth|sixth|next|last|final|closing)"
_UNIT = r"(?:shot|scene|clip|cut|part|act|frame|segment|panel|beat|sequence|camera shot)"
_CLOCK = r"(?:\d{1,2}:)?\d{1,2}:\d{2}(?:\.\d+)?"
_SECONDS = r"\d{1,3}(?:\.\d+)?\s?(?:s|secs?|seconds?)"
_TO = r"\s?(?:-|\u2010|\u2011|\u2012|\u2013|\u2014|to|until)\s?"
_LABEL = re.compile(
    rf"(?:^|(?<=[\s.;,:*\[(|]))[*_\[(]{{0,3}}(?:{_UNIT}\s?(?:#|no\.\s?)?{_NUMBER}\b|{_ORDINAL}\s{_UNIT}\b)"
    rf"\s?(?:\([^()\n]{{0,40}}\)|\[[^\[\]\n]{{0,40}}\])?[*_\])]{{0,3}}\s?(?:[:.\u2013\u2014|-]+|(?<=\]))\s*[*_]{{0,2}}\s?"
    rf"|(?:^|(?<=[.;,]\s))(?:in|for) the {_ORDINAL}\s{_UNIT}\b,?\s+",
    re.I,
)
_TIME = re.compile(
    rf"[\[(]\s?(?:from\s)?(?:{_CLOCK}|\d{{1,3}}(?:\.\d+)?\s?(?:s|secs?|seconds?)?)(?:{_TO}(?:{_CLOCK}|{_SECONDS}|\d{{1,3}}))?\s?"
    rf"(?:s|secs?|seconds?)?\s?[\])]\s?[:.,\u2013\u2014-]?\s?"
    rf"|(?<![\w:])(?:from\s)?(?:{_CLOCK}{_TO}{_CLOCK}|\d{{1,3}}(?:\.\d+)?\s?s?{_TO}{_SECONDS})\b\s?[:.,\u2013\u2014-]?\s?"
    rf"|(?:^|(?<=[\s.;,]))at\s(?:{_CLOCK}|{_SECONDS}|second \d{{1,3}}),?\s",
    re.I,
)
_LINE_NUMBER = re.compile(r"^[ \t]*[(\[]?(\d{1,2})[.):\]][ \t]+", re.M)
_INLINE_NUMBER = re.compile(r"(?:^|(?<=\s))[(\[]?(\d{1,2})[.)\]]\s+(?=[^\W\d])")
_FILMED = r"(?:the |a )?(?:shot|scene|camera|view|video|film|clip|picture|image|we|it)"
_AND_THEN = r"(?:(?:then|and|next|finally),?\s+)*"
_CUT = re.compile(
    rf"(?:^|(?<=[.;,:\n\u2013\u2014-]\s)|(?<=[.;,]))\s*{_AND_THEN}(?:smash |hard |match |jump |quick )?cut to:?\s+"
    rf"|(?:^|(?<=\s)){_AND_THEN}(?:{_FILMED}\s+)(?:then\s+)?"
    rf"(?:cuts?|switch(?:es)?|transitions?|dissolves?|jumps?|changes|shifts)\s+(?:back\s+)?to:?\s+",
    re.I,
)
_FIRST = (
    r"first(?! (?:person|light|class|lady|floor|snow|day|time|of|place)\b)|firstly|at first(?! light)|initially|"
    r"in the beginning|at the beginning(?! of)|to begin with|to start"
)
_LATER = (
    r"then|next(?! to\b)|after that|afterwards?|after this|(?:secondly|thirdly|fourthly)|(?:second|third|fourth|last)(?=,)|"
    r"later(?: on)?|finally|lastly|at last|in the end|at the end(?! of)|a moment later|moments later|in the next moment|eventually"
)
_CLAUSE = r"(?:^|(?<=[.!?;,:\n]\s)|(?<=\n))"
_FIRST_CUE = re.compile(rf"{_CLAUSE}(?:and\s+)?(?:{_FIRST})\b,?\s+", re.I)
_LATER_CUE = re.compile(rf"{_CLAUSE}(?:and\s+|but\s+)?(?:and\s+)?(?:{_LATER})\b,?\s+", re.I)
_TURN = re.compile(
    rf"{_CLAUSE}(?:and\s+|but\s+)?(?:{_FIRST}|{_LATER}|suddenly|meanwhile)\b|\b(?:cuts?|cutting|switch(?:es|ing)?|"
    rf"transition(?:s|ing)?|shift(?:s|ing)?|changes) (?:back )?to\b|\b(?:and|before|as|while) (?:then\b|the camera\b)|;",
    re.I,
)
_LEAST_WORDS = 2  # of a shot
_LINE_WORDS = 4  # of a line that is a shot though no number says so
_OPENS = re.compile(r"^\W*(?:[A-Z]|[-*\u2022])")


@dataclass(frozen=True)
class Shot:
    """A shot that a query asks for.

    Attributes:
        number: from 1 on.
        first, last: its tokens in the query's reading.
        own: what it asks for and no other shot does.
    """

    number: int
    words: str
    first: int
    last: int
    own: tuple[Item, ...] = ()

    @property
    def name(self) -> str:
        """How a reason calls it: 'shot 2 (the fox listens with its ...)'."""
        words = self.words.split()
        return f"shot {self.number} ({' '.join(words[:_NAMED])}{' ...' if len(words) > _NAMED else ''})"


_NAMED = 6


def cut(query: str) -> tuple[str, tuple[str, ...]]:
    """What stands before a query's first shot, and its shots without their labels; no shots where it has fewer than two."""
    for marks in (_labels, _times, _numbers, _turns, _cuts):
        places = marks(query)
        if places:
            ends = [start for start, _ in places[1:]] + [len(query)]
            parts = [query[end:until].strip() for (_, end), until in zip(places, ends, strict=True)]
            if len(parts) > 1 and all(len(re.findall(r"\w+", part)) >= _LEAST_WORDS for part in parts):
                return query[: places[0][0]].strip(), tuple(parts)
    lines = [line for line in query.split("\n") if line.strip()]
    if len(lines) > 1 and all(len(line.split()) >= _LINE_WORDS and _OPENS.match(line) for line in lines):
        return "", tuple(line.strip(" \t-*\u2022") for line in lines)
    return query, ()


_Places = list[tuple[int, int]]


def _labels(query: str) -> _Places:
    found = [match.span() for match in _LABEL.finditer(query)]
    return found if len(found) > 1 else []


def _times(query: str) -> _Places:
    found = [match.span() for match in _TIME.finditer(query)]
    return found if len(found) > 1 else []


def _numbers(query: str) -> _Places:
    """Numbers that count from 1, at the beginning of lines or within one."""
    for pattern in (_LINE_NUMBER, _INLINE_NUMBER):
        found = list(pattern.finditer(query))
        if len(found) > 1 and [int(match[1]) for match in found] == list(range(1, len(found) + 1)):
            return [match.span() for match in found]
    return []


def _turns(query: str) -> _Places:
    """'First' and what comes after it."""
    first = _FIRST_CUE.search(query)
    if first is None:
        return []
    later = [match.span() for match in _LATER_CUE.finditer(query, first.end())]
    return [first.span(), *later] if later else []


def _cuts(query: str) -> _Places:
    found = [match.span() for match in _CUT.finditer(query) if match.start()]
    return [(0, 0), *found] if found else []


# A rewrite


Places = Mapping[Item, Sequence[int]]


def own_items(shots: Sequence[Shot], items: Sequence[Item]) -> tuple[Shot, ...]:
    """The shots with what is their own among the query's items."""
    inside = [[item for item in items if shot.first <= item.first <= shot.last] for shot in shots]
    found = []
    for at, shot in enumerate(shots):
        others = {key for other in (*inside[:at], *inside[at + 1 :]) for item in other for key in item.keys}
        own = {item.key: item for item in inside[at] if item.keys.isdisjoint(others)}
        found.append(Shot(shot.number, shot.words, shot.first, shot.last, tuple(own.values())))
    return tuple(found)


def units(prompt: Reading) -> list[tuple[int, int]]:
    """The first and last tokens of the text's sentences, cut where they turn to something else: 'then', 'cut to', a semicolon."""
    turns = [match.start() for match in _TURN.finditer(prompt.text)]
    found: list[tuple[int, int]] = []
    start = 0
    for at in range(1, len(prompt.tokens)):
        before, token = prompt.tokens[at - 1], prompt.tokens[at]
        if token.sentence != before.sentence or any(before.end <= turn <= token.start for turn in turns):
            found.append((start, at - 1))
            start = at
    return [*found, (start, len(prompt.tokens) - 1)] if prompt.tokens else []


def spans(
    shots: Sequence[Shot], prompt: Reading, places: Places, weight: Callable[[Item], float]
) -> dict[int, tuple[int, int]]:
    """From which token to which the text shows each shot, by the shot's number; a shot that it does not show has none.

    The division of the text, in the shots' order, in which they have most of what is their own.
    """
    parts = units(prompt)
    if not parts:
        return {}
    gains = [
        [
            sum(weight(item) for item in shot.own if any(first <= at <= last for at in places[item]))
            for first, last in parts
        ]
        for shot in shots
    ]
    best = [[0.0] * len(shots) for _ in parts]
    came = [[0] * len(shots) for _ in parts]
    for part in range(len(parts)):
        top, top_at = 0.0, 0
        for at in range(len(shots)):
            if part and best[part - 1][at] >= top:
                top, top_at = best[part - 1][at], at
            best[part][at], came[part][at] = (top if part else 0.0) + gains[at][part], top_at if part else at
    at = max(range(len(shots)), key=lambda one: (best[-1][one], one))
    owners = []
    for part in reversed(range(len(parts))):
        owners.append(at)
        at = came[part][at]
    owners.reverse()
    found: dict[int, tuple[int, int]] = {}
    for (first, last), owner in zip(parts, owners, strict=True):
        number = shots[owner].number
        found[number] = (found[number][0] if number in found else first, last)
    shown = {shot.number for shot, row in zip(shots, gains, strict=True) if any(row)}
    return {number: span for number, span in found.items() if number in shown}


def swapped(shots: Sequence[Shot], places: Places, weight: Callable[[Item], float]) -> Iterator[tuple[Shot, Shot]]:
    """Pairs of shots of which the text shows the later one first."""
    ranges = [
        [(weight(item), min(places[item]), max(places[item])) for item in shot.own if places[item]] for shot in shots
    ]
    for i, earlier in enumerate(ranges):
        for j in range(i + 1, len(shots)):
            if earlier and ranges[j] and _in_order(ranges[j], earlier) > _in_order(earlier, ranges[j]) + _SURE:
                yield shots[i], shots[j]


_SURE = 0.85  # weight of what must be out of order: an action or a thing


def _in_order(one: Sequence[tuple[float, int, int]], other: Sequence[tuple[float, int, int]]) -> float:
    """The greatest weight of things of which, cut anywhere, the first part of a text has one's and the second the other's."""
    cuts = {0, *(first + 1 for _, first, _ in (*one, *other))}
    return max(
        sum(weight for weight, first, _ in one if first < at) + sum(weight for weight, _, last in other if last >= at)
        for at in cuts
    )
