"""Takes the flags, texts to overlay and demands ("make a video of") out of a query, so that its plain words are left.

Flags follow VPO's critique rules (arXiv 2503.20491, Fig. 8, and its released code): sound and format may be ignored,
`-camera` and `-motion` are to be followed, `-neg` lists what must not be shown.
"""

import html
import re

_MESSAGE = re.compile(r"\bmessage:.*?(?:\(font:[^)]*\)|$)", re.I | re.S)
_FLAG = re.compile(
    r"(?:(?<=\s)|^)[-–—]{1,2}\s?(?:ar|gs|fps|seed|chaos|style|stylize|version|niji|quality|iw|tile|hd|[vscqmwh])\b"
    r"[\s:=]*(?:raw\b|\d[\w:.]*|[-–]+\d[\w:.]*)?",
    re.I,
)
_NAMED = re.compile(
    r"(?:(?<=\s)|^)[-–—]{1,2}\s?(?P<flag>camera|motion|neg)\b[\s:=]*(?P<value>.*?)(?=\s[-–—]{1,2}\s?[a-z]|$)",
    re.I | re.S,
)
_TECHNICAL = re.compile(
    r"\b\d+:\d+\b|\b(?:gs|ar|fps|motion)[-\s:]*\d+(?::\d+)?|\b\d+\s?-?fps\b|\b\d+(?:k|mm|p|bit)\b|::\s*-?[\d.]+|<[^>]*>|"
    r"https?://\S+|#\S+",
    re.I,
)
_DEMAND = re.compile(
    r"^\W*(?:prompt:|(?:please |can you )?(?:create|generate|make|produce|show|depict|draw|design|render)(?: me)?\b"
    r"(?: (?:an?|the|some)\b)?(?: (?:short|animated|realistic))?"
    r"(?: (?:image|video|picture|clip|animation|scene)s?(?: of| where| with| showing)?)?"
    r"|(?:i (?:need|want)|here is) (?:an?|the) (?:image|video|picture)(?: of)?)\s*",
    re.I,
)


def split_flags(query: str) -> tuple[str, str, int | None, tuple[str, ...]]:
    """The query's plain words, and the values of `-camera`, `-motion` and `-neg`."""
    text = " ".join(html.unescape(html.unescape(query)).split())
    text = _MESSAGE.sub(" ", text)
    named = {m["flag"].lower(): m["value"].strip(" \"'.,") for m in _NAMED.finditer(text)}
    text = _TECHNICAL.sub(" ", _FLAG.sub(" ", _NAMED.sub(" ", text)))
    text = _DEMAND.sub("", " ".join(text.split()), count=1)
    level = re.match(r"\d+", named.get("motion", ""))
    camera = " ".join(re.findall(r"[a-z]+", named.get("camera", "").lower())[:3])
    excluded = tuple(part.strip(" \"'.") for part in re.split(r"[,;]", named.get("neg", "")) if part.strip(" \"'."))
    text = re.sub(r"\s+([,.;!?])", r"\1", " ".join(text.split())).strip(" ,;:-/")
    return text, camera, int(level.group()) if level else None, excluded
