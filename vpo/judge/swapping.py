"""Style, camera and light put right in the sentence that tells them wrong, so that a mended text does not contradict itself.

A weak video model draws both of two cameras that a text names; putting the right one in front and leaving the wrong one
behind would mend the words and spoil the clip.
"""

import re

from vpo.judge import helping
from vpo.judge.asking import Item
from vpo.judge.mending import SENTENCE_END, camera_sentence, capital, joined
from vpo.judge.words import read, stem_phrase

_NAMED_STYLE = re.compile(r"\b(an?|the)(\s+)([\w-]+(?: [\w-]+)?)(?=\s+(?:style|look)\b)", re.I)
_CAMERA_SUBJECT = re.compile(r"\W*(?:\w+,?\s+){0,2}(?:the|a) camera\b", re.I)
_LIT_OPENING = re.compile(r"(?:At|In|Under|By|On|Beneath)\s[^,.]{1,30},\s*")
_SEEN = {"night": "at", "sunset": "at", "sunrise": "at", "dawn": "at", "dusk": "at", "noon": "at", "golden hour": "at",
         "sunny day": "on a", "neon lights": "under", "starlight": "under", "candlelight": "by", "firelight": "by"}  # fmt: skip


def swapped(text: str, item: Item) -> str:
    """The text with the item in the place of its rival; as it was where the item is none of the three or has no rival."""
    if item.kind == "style":
        return _style_set(text, item)
    if item.kind == "camera":
        return _camera_set(text, item)
    if stem_phrase(item.words) in helping.signs_of("light"):
        return _light_set(text, item)
    return text


def _style_set(text: str, item: Item) -> str:
    style = item.words.lower().removesuffix(" style")
    article = "an" if style[0] in "aeiou" else "a"

    def instead(match: re.Match[str]) -> str:
        told = match.group(1)
        word = article if told.lower() in ("a", "an") else told.lower()
        return (capital(word) if told[0].isupper() else word) + match.group(2) + style

    return _NAMED_STYLE.sub(instead, text)


def _camera_set(text: str, item: Item) -> str:
    sentences = SENTENCE_END.split(text)
    told = [number for number, sentence in enumerate(sentences) if _CAMERA_SUBJECT.match(sentence)]
    if not told:
        return text
    kept = [sentence for number, sentence in enumerate(sentences) if number not in told[1:]]
    kept[told[0]] = camera_sentence(item)
    return joined(*kept)


def _light_set(text: str, item: Item) -> str:
    """Other light is dropped: later sentences that tell it, and an opening such as 'At night,'."""
    first, *rest = SENTENCE_END.split(text)
    opening = _LIT_OPENING.match(first)
    if opening and _tells_light(opening.group()):
        first = capital(first[opening.end() :])
    words = item.words.lower()
    seen = f"Everything is seen {_SEEN.get(words, 'in')} {words}."
    return joined(first, seen, *(sentence for sentence in rest if not _tells_light(sentence)))


def _tells_light(text: str) -> bool:
    return not helping.signs_of("light").isdisjoint(read(text).places)
