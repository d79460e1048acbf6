"""Marks of a list, rules, block quotes and brackets around the whole of an answer. Used by `vpo.language.answers` alone.

A list of several items is none: "1. Wide shot: a city. 2. Close-up: a man." are the shots of one scene.
"""

import re

# Behind a dash a capital or a Chinese character: "- camera zoom in" is a flag.
_ITEM = re.compile(r"\A\s*(?:(?:\d{1,2}[.)、]|[*•])\s+(?=\S)|[-–]\s+(?=[A-Z\"\u201c\u3040-\u30ff\u3400-\u9fff]))")
_NEXT_ITEM = re.compile(r"(?:^|\s)\d{1,2}[.)、]\s|(?:^|\n|[.!?。！？]\s)\s*[-*•–]\s", re.M)
_RULE = re.compile(r"\s*(?:-{3,}|\*{3,}|_{3,}|={3,})?\s*")
_BRACKETS = {"[": "]", "【": "】"}


def without_marks_around(text: str) -> str | None:
    """The text inside; None where nothing of the kind surrounds it."""
    plain = text.strip()
    for rule in (_without_rules, _without_block_quote, _without_brackets, _without_item):
        inner = rule(plain)
        if inner and inner != plain:
            return inner
    return None


def _without_rules(text: str) -> str:
    lines = text.split("\n")
    kept = [place for place, line in enumerate(lines) if not _RULE.fullmatch(line)]
    return "\n".join(lines[kept[0] : kept[-1] + 1]).strip() if kept else text


def _without_block_quote(text: str) -> str:
    lines = text.split("\n")
    quoted = all(line.lstrip().startswith(">") for line in lines if line.strip())
    return "\n".join(line.lstrip().removeprefix(">").strip() for line in lines).strip() if quoted else text


def _without_brackets(text: str) -> str:
    close = _BRACKETS.get(text[:1], "")
    inner = text[1:-1]
    if not close or text[-1:] != close or text[0] in inner or close in inner:
        return text
    return inner.strip()


def _without_item(text: str) -> str:
    match = _ITEM.match(text)
    if match is None or _NEXT_ITEM.search(text, match.end()):
        return text
    return text[match.end() :]
