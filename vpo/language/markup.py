"""What stands in queries and prompts beside plain words: flags of video models, links, file names and markup.

Flags follow VPO's critique rules (arXiv 2503.20491, Fig. 8, and its released code): `-camera` and `-motion` are to be
followed, `-neg` lists what must not be shown, the others set size, seed and sampling. None of it is part of a prompt that a
video model can film. Users write them with any dashes, in any order, with or without spaces: `-ar 16:9`, `--ar:16:9`, `-motion2`.
"""

import html
import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

FLAG, LINK, FILE_NAME, MARKUP = "flag", "link", "file_name", "markup"
KINDS = (FLAG, LINK, FILE_NAME, MARKUP)


class Mark(NamedTuple):
    """A piece of a text that is no plain word: its kind (of `KINDS`) and how it is written."""

    kind: str
    text: str


class Stripped(NamedTuple):
    """A text without its marks, the marks, and the values of the flags that say what to show."""

    text: str
    marks: tuple[Mark, ...]
    camera: str
    motion: float | None
    excluded: tuple[str, ...]


_DASH = "[-\u2010-\u2015\u2212]"
_APART = rf"(?<!\w)(?<!{_DASH})"  # no part of a compound: 'single-camera'
_CLOSE_BY = rf"(?:(?<![^\W\d])(?<!{_DASH})|(?<=\w)(?=--|[\u2013\u2014]))"  # also '16:9-motion 2' and 'a cat--ar 16:9'
_NEXT_FLAG = rf"\s{_DASH}+\s?[a-z]"
_END = rf"(?={_NEXT_FLAG}|[.!?]\s+(?-i:[A-Z])|[.!?]?\s*$|\n)"
_NUMBER = r"(?:\d+\s?:\s?\d+|\d[\w:]*(?:\.\d[\w:]*)*)"
_SETTINGS = (
    "ar|aspect(?:[-_ ]?ratio)?|gs|guidance(?:[-_ ]?scale)?|cfg(?:[-_ ]?scale)?|fps|seed|steps|chaos|style|styli[sz]e|version|"
    "niji|quality|iw|sref|cref|weird|duration|resolution|width|height|frames|strength|tile|hd"
)
_PLAIN_SETTINGS = "ar|gs|fps|seed|chaos|style|styli[sz]e|version|niji|quality|iw|tile|hd"
_MOVE = (
    r"(?:(?:slow|slowly|fast|quick|smooth)\s+)?"
    r"(?:zoom|pan|tilt|dolly|push|pull|truck|crane|orbit|rotat|roll|mov|track|sweep)(?:e|n?ing|ing)?\b"
    r"(?:[\s-]+(?:left to right|right to left|in|out|left|right|up|down|back|forward|around|closer|away|shot|"
    r"(?:(?:counter|anti)-?)?clockwise)\b)?"
    r"(?:\s+(?:slow|slowly|fast|quickly|gently|smoothly)\b)?"
)
_FILES = (
    "jpe?g|png|gif|webp|bmp|tiff?|heic|svg|psd|mp4|m4v|mov|avi|mkv|webm|mp3|wav|pdf|docx?|txt|json|csv|zip|safetensors|ckpt|"
    "gguf|blend|fbx"
)
ELEMENTS = (
    "a|b|i|u|s|p|em|br|hr|h[1-6]|li|ul|ol|dl|dt|dd|tr|td|th|div|img|pre|del|ins|sub|sup|code|font|span|small|strong|strike|"
    "table|thead|tbody|center|blockquote|section|article|html|head|body|link|meta|iframe|svg|form|button|script"
)

_Replacement = str | Callable[[re.Match[str]], str]


def _rule(kind: str, pattern: str, to: _Replacement = " ") -> tuple[str, re.Pattern[str], _Replacement]:
    return kind, re.compile(pattern, re.I | re.S | re.M), to


# In the order in which one rule could hide another's text. Repetitions are bounded where a text could make them start often.
_RULES = (
    _rule(MARKUP, r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", lambda match: html.unescape(match.group())),
    _rule(MARKUP, r"!?\[([^\[\]\n]{0,300})\]\([^()\s]{1,500}(?:\s+\"[^\"\n]{0,200}\")?\)", r"\1"),
    _rule(LINK, r"\b(?:(?:https?|ftp)://|www\.)[^\s<>\"')\]]*[^\s<>\"')\].,;:!?]"),
    _rule(LINK, r"(?<![\w.@/-])(?:[\w-]{1,63}\.){1,4}[a-z]{2,10}/(?:[\w%/?=&#.~+-]*[\w%/=&#~-])?"),
    _rule(LINK, r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[a-z]{2,10})+\b"),
    _rule(FILE_NAME, rf"(?<![^\s,;!?<>\"'*(\[`])[^\s,;!?<>\"'*()\[\]`]{{1,255}}\.(?:{_FILES})\b"),
    _rule(FILE_NAME, r"\b(?:IMG|DSC|DSCN|DSCF|PXL|VID|MVI|MOV|GOPR)[_-]?\d{3,}\w*"),
    _rule(MARKUP, r"<!--.{0,1000}?-->"),
    _rule(MARKUP, r"<\|[^<>\n]{0,200}\|>|<(?=[#@:!/?])[^<>\n]{0,200}>|<[a-z][\w-]*:[^<>\n]{0,200}>"),
    _rule(MARKUP, rf"<(?:{ELEMENTS})(?:\s[^<>\n]{{0,500}})?\s?/?>"),
    _rule(MARKUP, r"<(?=[^\W\d])([^<>\n]{1,300})>", r"\1"),
    _rule(MARKUP, r"```\w*"),
    _rule(FLAG, r"\bmessage\s*:.{0,500}?\(\s*font\s*:[^()\n]{0,100}(?:\)|$)"),
    _rule(FLAG, rf"(?-i:\bMessage)\s*:.{{0,500}}?{_END}|\(\s*font\s*:[^()\n]{{0,100}}(?:\)|$)"),
    _rule(FLAG, rf"{_APART}(?:{_DASH}+\s?neg(?:ative)?(?:[-_ ]prompt)?|{_DASH}{{2,}}\s?no)\b[\s:=]*"
          rf"(?P<neg>\"[^\"\n]{{0,500}}\"|.{{0,500}}?){_END}"),
    _rule(FLAG, rf"{_CLOSE_BY}{_DASH}+\s?camera\b[\s:=]*(?P<camera>{_MOVE})"),
    _rule(FLAG, rf"{_APART}{_DASH}+camera\b[\s:=]*(?P<camera>[^,.;!?\n]{{0,200}}?)(?={_NEXT_FLAG}|[,.;!?\n]|$)"),
    _rule(FLAG, rf"{_CLOSE_BY}{_DASH}+\s?motion[\s:=]*{_DASH}*(?P<motion>\d+(?:\.\d+)?)\b"),
    _rule(FLAG, rf"{_APART}{_DASH}+motion\b(?:[\s:=]+(?:none|low|slow|medium|high|fast)\b)?"),
    _rule(FLAG, rf"{_CLOSE_BY}{_DASH}+\s?(?:{_SETTINGS})[\s:=]*{_DASH}*{_NUMBER}"),
    _rule(FLAG, rf"{_APART}{_DASH}+\s?[vscqmwh][\s:=]*{_DASH}*{_NUMBER}"),
    _rule(FLAG, rf"{_APART}{_DASH}+(?:{_PLAIN_SETTINGS})\b(?:[\s:=]+(?:raw|expressive|original)\b)?"),
    _rule(FLAG, rf"(?<![\w-])--+[a-z][\w-]*(?:[\s:=]+{_NUMBER})?"),
    _rule(FLAG, rf"\b(?:ar|gs|fps|seed|motion)\s?(?:{_DASH}+|[:=])\s?{_NUMBER}|\bar\s?\d+:\d+"),
    _rule(FLAG, rf"(?<!\S){_DASH}+\s?\d+:\d+\b"),
    _rule(FLAG, r"::\s?-?\d+(?:\.\d+)?"),
    _rule(FLAG, r"(?<![\w'\u2019-])-+(?=[a-z])", " "),  # '-realistic': its dash is no content; 'o'-lantern' has none
    _rule(MARKUP, r"\(([^():\n]{1,200}):\d\.\d+\)", r"\1"),
    _rule(MARKUP, r"^[ \t]*(?:(?:[-*_][ \t]?){3,})$|^[ \t]*#{1,6}[ \t]+|^[ \t]*>[ \t]+|^[ \t]*[-*+\u2022][ \t]+(?=\S)"),
    _rule(MARKUP, r"(?<!\w)#(?=\w*[^\W\d])\w+|#\d{4,}"),
    _rule(MARKUP, r"\|(?:[\s:|-]*\|)?", ", "),
    _rule(MARKUP, r"(?<!\*)\*{1,3}(?=[^\s*])([^*\n]{1,500}?)(?<=\S)\*{1,3}|~~([^~\n]{1,500})~~|`([^`\n]{1,500})`",
          lambda match: next(group for group in match.groups() if group)),
    _rule(MARKUP, r"(?<!\w)(_{1,3})(?=[^\s_])([^_\n]{1,500}?)(?<=\S)\1(?!\w)", r"\2"),
    _rule(MARKUP, r"\*{2,}|(?<![\w*])\*(?=\w)"),
)  # fmt: skip
_NUMBERED = re.compile(r"^[ \t]*\d{1,2}[.)][ \t]+", re.M)
_CLOSING = re.compile(r"</\s*([\w-]{1,40})\s*>")


def find_marks(text: str) -> tuple[Mark, ...]:
    """Every flag, link, file name and piece of markup of a text; none means that it consists of plain words."""
    return strip_marks(text).marks


def without_marks(text: str) -> str:
    """The text without them, its punctuation closed; the text as it is where it has none.

    What is marked up stays (`**red**` becomes `red`), and so does the word behind a dash that is no flag (`-realistic`).
    """
    return strip_marks(text).text


@lru_cache(maxsize=4096)
def strip_marks(text: str) -> Stripped:
    """A query or prompt without its marks. Cached, because a judge reads again the texts that it refines."""
    marks: list[Mark] = []
    values: dict[str, str] = {}
    plain = text
    names = "|".join(map(re.escape, set(_CLOSING.findall(text))))
    rules = ([_rule(MARKUP, rf"<(?:{names})(?:\s[^<>\n]{{0,500}})?>")] if names else []) + list(_RULES)
    if len(_NUMBERED.findall(text)) > 1:
        rules.append((MARKUP, _NUMBERED, " "))
    for kind, pattern, to in rules:
        plain = _without(plain, kind, pattern, to, marks, values)
    level = values.get("motion", "")
    motion = float(level) if "." in level else int(level) if level else None
    camera = " ".join(re.findall(r"[^\W_]+(?:['\u2019][^\W_]+)*", values.get("camera", "").lower()))
    listed = (part.strip(" \"'.") for part in re.split(r"[,;]", values.get("neg", "")))
    return Stripped(
        _closed(plain) if marks else text, tuple(marks), camera, motion, tuple(filter(None, dict.fromkeys(listed)))
    )


def _without(
    text: str, kind: str, pattern: re.Pattern[str], to: _Replacement, marks: list[Mark], values: dict[str, str]
) -> str:
    """The text after one rule; what it found is added to `marks` and `values`."""

    def instead(match: re.Match[str]) -> str:
        replacement = match.expand(to) if isinstance(to, str) else to(match)
        if replacement != match.group():  # '&foo;' is no entity
            marks.append(Mark(kind, " ".join(match.group().split())))
            for name, value in match.groupdict().items():
                if value:  # several lists of what must not be shown are one
                    values[name] = f"{values[name]}, {value}" if name == "neg" and name in values else value
        return replacement

    return pattern.sub(instead, text)


def _closed(text: str) -> str:
    """A text out of which pieces were taken: lines become sentences, and no mark of punctuation stands alone or twice."""
    lines = [line.strip() for line in text.split("\n") if line.strip(" \t,.;:-")]
    text = " ".join(line if line[-1] in ".!?,;:" else f"{line}." for line in lines[:-1]) + " " + "".join(lines[-1:])
    text = " ".join(re.sub(r"\(\s?\)|\[\s?\]|\"\s?\"", " ", " ".join(text.split())).split())
    text = re.sub(r"([.!?])\s+[.,;:]+(?=\s|$)", r"\1", text)
    text = re.sub(r"\s+([,.;!?])", r"\1", text)
    text = re.sub(r"([,;])\s*(?=[.!?,;])", "", text)
    return re.sub(r"^[\s,.;:]+|[\s,;:-]+$", "", text)
