"""The flags of video models in a query, by name: `-ar 16:9 --motion 2 -neg blur, text` is a format, a level and two exclusions.

What is a flag, and where it ends, is decided in `vpo.language.markup` alone; here its name and value are read.
"""

import re
from typing import Any

from vpo.language.markup import FLAG, strip_marks

# What users write, and the one name under which it is returned.
_NAMES = {
    "ar": "aspect_ratio", "aspect": "aspect_ratio", "aspectratio": "aspect_ratio",
    "gs": "guidance_scale", "guidance": "guidance_scale", "guidancescale": "guidance_scale",
    "cfg": "guidance_scale", "cfgscale": "guidance_scale",
    "m": "motion", "s": "stylize", "stylise": "stylize", "v": "version", "q": "quality", "c": "chaos", "w": "width", "h": "height",
    "neg": "negative", "negative": "negative", "negativeprompt": "negative", "no": "negative",
}  # fmt: skip
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212-"  # the plain one last, as a class of characters wants it
_SAYS_WHAT_TO_SHOW = ("camera", "motion", "negative")  # whose values `strip_marks` reads
_SPACED = r"aspect ratio|guidance scale|cfg scale|negative prompt"
_FLAG = re.compile(
    rf"[{_DASHES}]*\s?(?P<name>{_SPACED}|[a-z]+(?:[-_][a-z]+)*)"
    rf"(?:[\s:=]|(?<![\s:=])[{_DASHES}]|[{_DASHES}](?!\d+(?:\.\d+)?\Z))*(?P<value>.*)",  # '-seed-1' is 1, '-seed -1' is not
    re.I | re.S,
)
_MESSAGE = re.compile(r"message\s*:\s*(?P<message>.*?)\s*(?:\(\s*font\s*:\s*(?P<font>[^()]*?)\s*\)?)?", re.I | re.S)
_FONT = re.compile(r"\(\s*font\s*:\s*(?P<font>[^()]*?)\s*\)?", re.I)
_RATIO = re.compile(r"\d+\s?:\s?\d+")


def named_flags(text: str) -> dict[str, Any]:
    """The flags of a text: {"aspect_ratio": "16:9", "motion": 2, "negative": ["blur", "text"]}; {} where it has none.

    A value is a number, a text, a list of texts (`negative`) or True (a flag without a value). Of a flag that stands twice the last
    counts; texts to show are listed if there are several (`message`, and `font`, "" where one has none). What has no name (`::2`, a
    weight) is listed under `other`, as it is written.
    """
    stripped = strip_marks(text)
    found: dict[str, Any] = {}
    other: list[str] = []
    messages: list[dict[str, Any]] = []
    for mark in stripped.marks:
        if mark.kind == FLAG and mark.text.strip(f"{_DASHES} "):
            read = _read(mark.text)
            if "message" in read or "font" in read:
                messages.append(read)
                continue
            found |= read
            other += [] if read else [mark.text]
    found |= _listed(messages)
    values = zip(_SAYS_WHAT_TO_SHOW, (stripped.camera, stripped.motion, list(stripped.excluded)), strict=True)
    found |= {name: value for name, value in values if value not in ("", None, [])}
    return found | ({"other": other} if other else {})


def _read(text: str) -> dict[str, Any]:
    """Name and value of one flag; {} where it has no name."""
    for pattern in (_MESSAGE, _FONT):
        message = pattern.fullmatch(text)
        if message:
            return {name: value for name, value in message.groupdict().items() if value}
    bare = text.strip(f"{_DASHES} ")
    if _RATIO.fullmatch(bare):
        return {"aspect_ratio": "".join(bare.split())}
    flag = _FLAG.fullmatch(text)
    if not flag:
        return {}
    name = re.sub(r"[-_ ]", "", flag["name"].lower())
    return {_NAMES.get(name, name): _value(flag["value"])}


def _listed(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The text to show and its font; where there are several texts, a list of them and one of their fonts."""
    texts = [message for message in messages if "message" in message]
    if len(texts) < 2:  # its font may stand elsewhere
        return {name: value for message in messages for name, value in message.items()}
    fonts = [message.get("font", "") for message in texts]
    return {"message": [message["message"] for message in texts]} | ({"font": fonts} if any(fonts) else {})


def _value(text: str) -> Any:
    text = text.strip(" \"'")
    if not text:
        return True
    if _RATIO.fullmatch(text):
        return "".join(text.split())
    number = re.sub(rf"\A[{_DASHES}]", "-", text)
    if re.fullmatch(r"-?\d{1,15}", number):
        return int(number)
    return float(number) if re.fullmatch(r"-?\d{1,15}\.\d{1,15}", number) else text
