"""Words that a query wants word for word: text on the screen ('a sign that reads "OPEN"') and speech ('he says "Let's go"').

A quotation counts where a word beside it says what it is. Others are titles, nicknames or irony, and read as plain words.
Upper and lower case, the kind of quotation marks and punctuation do not matter; a translation or a paraphrase is another text.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

from vpo.judge.rules import lexicon
from vpo.judge.rules.words import fold

TEXT, SPEECH = "text", "speech"

_QUOTED = re.compile(
    r"\u201c(?P<a>[^\u201c\u201d\n]{1,300})\u201d|\"(?P<b>[^\"\n]{1,300})\"|\u00ab\s?(?P<c>[^\u00ab\u00bb\n]{1,300}?)\s?\u00bb"
    r"|\u201e(?P<d>[^\u201e\u201c\u201d\n]{1,300})[\u201c\u201d]"
    r"|(?<!\w)\u2018(?P<e>(?:[^\u2018\u2019\n]|\u2019(?=\w)){1,200})\u2019(?!\w)"
    r"|(?<![\w'])'(?P<f>(?=\S)(?:[^'\n]|'(?=\w)){1,200}(?<=\S))'(?!\w)"
)
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_SPEAKER = re.compile(r"(?:^|[.!?;\n\"\u201d]\s*)[A-Za-z][\w' -]{0,30}(?:\([^()]*\)\s*)?:\s*$")
_CAPITALS = re.compile(
    r"\b(?:reads?|reading|saying|says|spell(?:s|ing)|words?|text|titled?|caption(?:ed)?|labell?ed|marked)\b:?\s+"
    r"(?P<words>[A-Z][A-Z0-9'&!-]+(?:\s+[A-Z0-9][A-Z0-9'&!-]*)*)(?![\w'])"
)
_BEFORE, _AFTER = 90, 70  # characters beside a quotation in which a word may say what it is
_SHORT = 3  # words of a quotation that could stand in a text by chance
_LIKE = 0.8  # of the words of a longer line, in their order, from which on it was said
_LONG_LINE = 5


@dataclass(frozen=True)
class Quote:
    """Words to be shown or said, as they stand between the quotation marks, and where these are."""

    kind: str  # TEXT or SPEECH
    words: str
    start: int
    end: int


class _Patterns(NamedTuple):
    """What says that a quotation is text or speech.

    cue: a word before it. silent: a thing before it that 'says' without a voice ('a sign above the door saying'). shown, spoken: what
    follows it.
    """

    cue: re.Pattern[str]
    silent: re.Pattern[str]
    shown: re.Pattern[str]
    spoken: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    letters, speaking = (
        "|".join(sorted(map(re.escape, lexicon.words(name)), key=len, reverse=True))
        for name in ("lettering", "speaking")
    )
    between = r"(?:\s+(?!and\b|he\b|she\b|they\b|who\b|then\b)[\w-]+){0,5}"
    where = r"on (?:an?|the|his|her|its|their) (?:[\w-]+ ){0,3}"
    how = r"in (?:[\w-]+ ){0,3}(?:letters|font|type|lettering|writing|neon)"
    comes = r"appears?|fades? in|flash(?:es)?|flickers?|glows?|pops? up|lights? up|scrolls?"
    made = r"(?:is |are )?(?:written|painted|printed|displayed|shown|engraved|projected|carved)"
    return _Patterns(
        re.compile(rf"(?<![\w-])(?:(?P<letters>{letters})|(?P<speaking>{speaking}))\b", re.I),
        re.compile(rf"\b(?:{letters})\b{between}\s+(?:sa(?:ys?|ying|id)|announc\w+|declar\w+)\W*$", re.I),
        re.compile(
            rf"\W*(?:(?:slowly|then|softly|gently)\s+)?(?:{comes}|{made}|{how}|{where}(?:{letters}|wall|door|window|side))\b",
            re.I,
        ),
        re.compile(rf"\W*(?:[\w'-]+\s+){{0,4}}?(?:{speaking})\b", re.I),
    )


def quotes_of(text: str) -> tuple[Quote, ...]:
    """The quotations of a query that are to be shown or said, in their order."""
    found: list[Quote] = []
    every = list(spans(text))
    for start, end, words in every:
        kind = _kind_of(text, start, end, words)
        if kind and _words_of(words):
            found.append(Quote(kind, words.strip(), start, end))
    if not text.isupper():
        for match in _CAPITALS.finditer(text):
            start, end = match.span("words")
            inside = any(a <= start < b for a, b, _ in every)
            if not inside and not lexicon.words("capitals").issuperset(match["words"].split()):
                found.append(Quote(TEXT, match["words"], start, end))
    return tuple(sorted(found, key=lambda one: one.start))


def spans(text: str) -> Iterable[tuple[int, int, str]]:
    """Where each quotation begins and ends, marks included, and its words."""
    if not re.search("[\"'\u2018\u201c\u201e\u00ab]", text):
        return
    for match in _QUOTED.finditer(text):
        yield match.start(), match.end(), next(filter(None, match.groups()))


def _kind_of(text: str, start: int, end: int, words: str) -> str:
    """What a quotation is by the words beside it; nothing where these do not say."""
    before = re.split(r"[.!?;\n](?=\s|$)", text[max(0, start - _BEFORE) : start])[-1]
    after = re.split(r"[.!?;\n](?=\s|$)", text[end : end + _AFTER])[0]
    quoted = max((before.rfind(mark) for mark in '"\u201d\u00bb'), default=-1)
    if _patterns().silent.search(before):
        return TEXT
    cues = list(_patterns().cue.finditer(before, quoted + 1))
    if cues:
        return TEXT if cues[-1]["letters"] else SPEECH
    if _patterns().shown.match(after):
        return TEXT
    if _patterns().spoken.match(after):
        return SPEECH
    if quoted >= 0 and _patterns().cue.search(before):  # 'He says "Wait", then "Come in".'
        return TEXT if list(_patterns().cue.finditer(before))[-1]["letters"] else SPEECH
    if _SPEAKER.search(text[max(0, start - _BEFORE) : start]):
        return SPEECH
    return TEXT if words.isupper() and len(words) > 1 else ""


# What a prompt has of them


def has(quote_kind: str, words: str, text: str) -> bool:
    """Whether a text shows or says the words: all of them in a row; of a long line of speech, most of them in their order."""
    wanted = _words_of(words)
    inside = [_words_of(inner) for _, _, inner in spans(text)]
    runs = [*inside, tuple(word for row in inside for word in row)]  # a line may be broken by 'he says'
    if any(_place(wanted, row) is not None for row in runs):
        return True
    if find(words, text) is not None:
        return True
    return quote_kind == SPEECH and len(wanted) >= _LONG_LINE and any(_alike(wanted, row) for row in runs)


def find(words: str, text: str) -> tuple[int, int] | None:
    """From where to where the words stand in the text, in quotation marks or not.

    Words so few that they could stand there by chance count where they are quoted, have the query's own capitals, or follow a word
    that announces a text ('reads', 'the word').
    """
    wanted = _words_of(words)
    for start, end, inner in spans(text):
        if _place(wanted, _words_of(inner)) is not None:
            return start, end
    folded = fold(text)
    tokens = list(_WORD.finditer(folded))
    said = [token.group() for token in tokens]
    place = _place(wanted, said)
    while place is not None:
        start, end = tokens[place].start(), tokens[place + len(wanted) - 1].end()
        if len(wanted) > _SHORT or _as_written(words, text[start:end]) or _announced(text[:start]):
            return start, end
        place = _place(wanted, said, place + 1)
    return None


def _as_written(words: str, found: str) -> bool:
    return found != found.lower() and _WORD.findall(found) == _WORD.findall(words)


def _announced(before: str) -> bool:
    words = before.split()[-1:]
    return bool(words) and words[0].strip("\"':,").lower() in lexicon.words("announcing")


def blanked(text: str, wanted: Sequence[str]) -> str:
    """The text with blanks in the place of everything that it quotes and of the wanted words: no scenery, every other place kept."""
    places = [(start, end) for start, end, _ in spans(text)]
    places += [span for span in (find(words, text) for words in wanted) if span is not None]
    for start, end in places:
        text = text[:start] + " " * (end - start) + text[end:]
    return text


def other_quote(kind: str, wanted: Sequence[str], text: str) -> str:
    """What the text quotes in the place of words that it lacks: the first quotation of the kind that nobody asked for."""
    asked = [_words_of(words) for words in wanted]
    for start, end, inner in spans(text):
        one = _words_of(inner)
        if _kind_of(text, start, end, inner) == kind and all(_place(row, one) is None for row in asked):
            return inner.strip()
    return ""


@lru_cache(maxsize=10_000)
def _words_of(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(fold(text.replace("\u2019", "'"))))


def _place(wanted: tuple[str, ...], said: Sequence[str], start: int = 0) -> int | None:
    """Where all the words stand in a row, from `start` on."""
    length = len(wanted)
    places = range(start, len(said) - length + 1) if length else ()
    return next((at for at in places if tuple(said[at : at + length]) == wanted), None)


def _alike(wanted: Sequence[str], said: Sequence[str]) -> bool:
    """Whether most of the words were said in their order (longest common subsequence)."""
    last = [0] * (len(said) + 1)
    for word in wanted:
        row = [0]
        for i, one in enumerate(said):
            row.append(last[i] + 1 if one == word else max(last[i + 1], row[i]))
        last = row
    return last[-1] >= _LIKE * len(wanted)
