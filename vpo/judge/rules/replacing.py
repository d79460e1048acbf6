"""Style, camera, light and place corrected in the words that state them wrongly, with as little else changed as can be.

A weak video model draws both of two cameras that a text names, so the right one beside the wrong one would correct the words
and spoil the clip. And whoever learns from 'repaired is better' learns every difference between the two texts: the fewer of
them have nothing to do with the flaw, the better.
"""

import re
from collections.abc import Collection
from functools import cache

from vpo.judge.rules import lexicon
from vpo.judge.rules.items import Item
from vpo.judge.rules.repairs import camera_sentence
from vpo.judge.rules.requirements import Requirements
from vpo.judge.rules.sentences import SENTENCE_END, capital, joined
from vpo.judge.rules.words import read, stem_phrase

_NAMED_STYLE = re.compile(r"\b(an?|the)(\s+)([\w-]+(?: [\w-]+)?)(?=\s+(?:style|look)\b)", re.I)
_CAMERA_SUBJECT = re.compile(r"\W*(?:\w+,?\s+){0,2}(?:the|a) camera\b", re.I)
_MOVE = re.compile(
    r"\b(is )?(pan|zoom|tilt|sweep|push|pull|crane|hold|stay|remain)(n?ing|s|es)"
    r"( its place| to the (?:left|right)| left| right| in| out| up(?:ward)?| down(?:ward)?| closer| away| static| fixed)?\b",
    re.I,
)
# Lights as a caption names them: 'at night', 'lit by a warm candle glow'.
_LIGHTS = ("midday sun", "sunny day", "daylight", "sunset", "golden hour", "sunrise", "dawn", "dusk", "moonlight",
           "starlight", "night", "fog", "mist", "haze", "neon lights", "neon glow", "electric signs", "candlelight",
           "candle glow", "firelight")  # fmt: skip
_AT = {"night": "at", "sunset": "at", "sunrise": "at", "dawn": "at", "dusk": "at", "golden hour": "at", "sunny day": "on a",
       "neon lights": "under", "starlight": "under", "candlelight": "by", "firelight": "by"}  # fmt: skip
_NO_PLACE = ("background", "backdrop", "setting", "environment", "surroundings", "landscape", "scenery", "interior", "outdoor",
             "indoor", "table", "desk", "counter", "house", "home", "sky", "track", "stage")  # fmt: skip
_LIT = re.compile(
    rf"\b((?:at|in|under|by|on|beneath)(?: an?| the)?) ({'|'.join(_LIGHTS)})\b|\b({'|'.join(_LIGHTS)})\b", re.I
)


def replaced(required: Requirements, text: str, item: Item) -> str:
    """The text with the item in the place of its rival; as it was where the item is of no such kind or has no rival."""
    if item.kind == "style":
        return _style_set(text, item)
    if item.kind == "camera":
        return _camera_set(text, item)
    if item.words.lower() in _LIGHTS:
        return _light_set(text, item.words.lower())
    if item.key in _places():
        return _place_set(required, text, item)
    return text


def _style_set(text: str, item: Item) -> str:
    style = item.words.lower().removesuffix(" style")
    article = "an" if style[0] in "aeiou" else "a"

    def instead(match: re.Match[str]) -> str:
        found = match.group(1)
        word = article if found.lower() in ("a", "an") else found.lower()
        return (capital(word) if found[0].isupper() else word) + match.group(2) + style

    return _NAMED_STYLE.sub(instead, text)


def _camera_set(text: str, item: Item) -> str:
    """The camera's move replaced in its own sentence, in the same form of the verb; a second camera sentence is dropped."""
    sentences = SENTENCE_END.split(text)
    found = [number for number, sentence in enumerate(sentences) if _CAMERA_SUBJECT.match(sentence)]
    if not found:
        return text
    first = sentences[found[0]]
    move = _MOVE.search(first)
    if move is None:
        sentences[found[0]] = camera_sentence(item)
    else:
        sentences[found[0]] = first[: move.start()] + _move_of(item, ongoing=bool(move.group(1))) + first[move.end() :]
    return joined(*(sentence for number, sentence in enumerate(sentences) if number not in found[1:]))


def _move_of(item: Item, ongoing: bool) -> str:
    """'zooms in' or 'is zooming in', from 'zoom in' or 'zooming in'; 'stays static' for a still camera."""
    verb, *rest = item.words.lower().split()
    if verb in ("static", "fixed"):
        return f"stays {verb}"
    base = "pan" if verb.startswith("pan") else verb.removesuffix("ing").removesuffix("s")
    form = f"is {base}{'n' if base == 'pan' else ''}ing" if ongoing else f"{base}s"
    return " ".join([form, *rest])


def _light_set(text: str, light: str) -> str:
    """Every other light that the text names becomes the one that is asked for."""

    def instead(match: re.Match[str]) -> str:
        if match.group(2) is None:
            return light
        words = f"{_AT.get(light, 'in')} {light}"
        return capital(words) if match.group(1)[0].isupper() else words

    return _LIT.sub(instead, text)


def _place_set(required: Requirements, text: str, item: Item) -> str:
    """The first other place becomes the one asked for; later sentences about it are dropped, for they would not fit."""
    reading = read(text)
    asked = {one.key for one in required.items}
    rivals = [key for key in _places() if key in reading.places and key not in asked]
    if not rivals:
        return text
    rival = min(rivals, key=lambda key: (reading.places[key][0], -len(key)))
    at = reading.places[rival][0]
    start, end = reading.tokens[at].start, reading.tokens[at + rival.count(" ")].end
    word = item.words.lower()
    changed = text[:start] + (capital(word) if text[start].isupper() else word) + text[end:]
    first, *rest = SENTENCE_END.split(changed)
    return joined(first, *(sentence for sentence in rest if rival not in read(sentence).places))


@cache
def _places() -> frozenset[str]:
    """Stems of the places that the lexicon knows and that a scene can be moved to; a 'background' is none."""
    return frozenset(map(stem_phrase, lexicon.table("facets")["place"])) - frozenset(map(stem_phrase, _NO_PLACE))


def lights_missing(required: Requirements, missing: Collection[str]) -> list[str]:
    """A short sentence for each light of several words ('neon lights') that the query names and of which a word is missing."""
    lost = {word.lower() for word in missing}
    asked = [light for light in _LIGHTS if " " in light and required.reading.has(light)]
    return [f"Everything stands {_AT.get(light, 'in')} {light}." for light in asked if lost & set(light.split())]


def aside(item: Item) -> str:
    """A short sentence that states a missing style, camera, light or place; nothing for any other item."""
    words = item.words.lower()
    if item.kind == "style":
        style = words.removesuffix(" style")
        return f"It is made in {'an' if style[0] in 'aeiou' else 'a'} {style} style."
    if item.kind == "camera":
        return camera_sentence(item)
    if words in _LIGHTS:
        return f"Everything stands {_AT.get(words, 'in')} {words}."
    return f"Behind it all, we can see the {words}." if item.key in _places() else ""
