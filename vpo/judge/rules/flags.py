"""Takes the flags, texts to overlay and demands ("make a video of") out of a query, so that its plain words are left."""

import html
import re

from vpo.language.markup import strip_marks

_TECHNICAL = re.compile(
    r"\b\d+:\d+\b|\b(?:gs|ar|fps|motion)[-\s:]*\d+(?::\d+)?|\b\d+\s?-?fps\b|\b\d+(?:k|mm|p|bit)\b|::\s*-?[\d.]+|<[^>]*>|#\S+",
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
    """The query's plain words, the first three words of its `-camera`, the whole level of its `-motion`, and its `-neg`."""
    text, _, camera, level, excluded = strip_marks(html.unescape(html.unescape(query)))
    camera, motion = " ".join(re.findall(r"[a-z]+", camera)[:3]), None if level is None else int(level)
    text = _TECHNICAL.sub(" ", " ".join(text.split()))
    text = _DEMAND.sub("", " ".join(text.split()), count=1)
    text = re.sub(r"(?:\s+[-/]+)?\s+([,.;!?])", r"\1", " ".join(text.split())).strip(" ,;:-/")
    text = re.sub(r"(?<=[.!?])\.$", "", re.sub(r"[,;]\s*(?=[.!?,;])", "", text)) if text[-3:] != "..." else text
    return text, camera, motion, excluded
