"""The grammar of the sketch world: a scene, the query with which a user asks for it, and an expert's caption of it.

All functions are pure: the same scene and the same state of `rng` give the same text.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, NamedTuple

from vpo.sketch import phrases
from vpo.sketch.vocabulary import FACETS, UNSAFE_PHRASES, WORDINGS, plural

# How often a user names a facet. People name what is there and what it does, and forget the light and the camera.
NAMED = {"colour": 0.6, "count": 0.9, "motion": 0.6, "place": 0.6, "light": 0.5, "camera": 0.5, "style": 0.55}
ONE_NAMED = 0.15  # 'a single dog' is said more rarely than 'two dogs'
COUNT_WEIGHTS = (6, 2, 2)
MIN_WORDS, MAX_WORDS = 60, 88  # of a caption; the upper bound keeps it within about 110 tokens of the tiny tokenizer


@dataclass(frozen=True)
class Scene:
    """One value of each facet; the values are the concepts of `vocabulary.WORDINGS`."""

    subject: str
    colour: str
    count: int
    motion: str
    place: str
    light: str
    camera: str
    style: str


class UserQuery(NamedTuple):
    """A query as typed, the wording of each facet that it names, and whether it asks for something unsafe."""

    text: str
    words: dict[str, str]
    unsafe: bool


def draw_scene(rng: Random) -> Scene:
    """A random scene; every concept is equally likely, but one subject is more common than two or three."""
    drawn: dict[str, Any] = {facet: rng.choice(list(WORDINGS[facet])) for facet in FACETS if facet != "count"}
    return Scene(count=rng.choices((1, 2, 3), COUNT_WEIGHTS)[0], **drawn)


def user_query(scene: Scene, rng: Random, unsafe_rate: float = 0.0) -> UserQuery:
    """What a user types for the scene: some facets, in a user's manner; `unsafe_rate` of them carry mild violence."""
    rates = NAMED | {"subject": 1.0} | ({"count": ONE_NAMED} if scene.count == 1 else {})
    words = {facet: rng.choice(_wordings(scene, facet).user) for facet in FACETS if rng.random() < rates[facet]}
    if "count" not in words and scene.count > 1:  # an unnamed 'two' would read as 'a dog'
        words["count"] = rng.choice(_wordings(scene, "count").user)
    unsafe = rng.random() < unsafe_rate
    core = _core_phrase(scene, words, rng)
    if unsafe:
        core = f"{core} {rng.choice(UNSAFE_PHRASES)}"
    return UserQuery(_user_manner(core, words, rng), words, unsafe)


def expert_caption(
    scene: Scene,
    rng: Random,
    words: Mapping[str, str] | None = None,
    skip: Collection[str] = (),
    min_words: int = MIN_WORDS,
) -> str:
    """A caption of `min_words` (60) to about 90 words that tells every facet of the scene except those in `skip`.

    `words` are the wordings that the user chose: the caption repeats them; the other facets are worded freely.
    """
    said = {facet: _caption_wording(scene, facet, words or {}, rng) for facet in FACETS if facet not in skip}
    slots = _slots(scene, said, rng)
    opening = rng.choice(phrases.OPENINGS)
    body = [_fill(_sentence(facet, scene, said, slots, rng), slots) for facet in _body_facets(opening, said, rng)]
    rng.shuffle(body)
    sentences = [_tidy(_fill(opening, slots)), *body]
    return " ".join(_fit(sentences, rng, min_words))


def pad(text: str, rng: Random, min_words: int, padding: Sequence[str] = phrases.PADDING) -> str:
    """The text with sentences that say nothing appended until it has `min_words` words."""
    sentences = [text]
    while len(" ".join(sentences).split()) < min_words:
        sentences.append(rng.choice(padding))
    return " ".join(sentences)


def changed(scene: Scene, facet: str, rng: Random) -> Scene:
    """The scene with another concept in one facet."""
    others = [concept for concept in WORDINGS[facet] if concept != getattr(scene, facet)]
    return replace(scene, **{facet: rng.choice(others)})


def _wordings(scene: Scene, facet: str) -> Any:
    return WORDINGS[facet][getattr(scene, facet)]


def _core_phrase(scene: Scene, words: Mapping[str, str], rng: Random) -> str:
    """The named facets as a sentence fragment or as keywords; the camera is named separately, often as a flag."""
    noun = words["subject"] if scene.count == 1 else plural(words["subject"])
    head = " ".join(filter(None, (words.get("count"), words.get("colour"), noun)))
    parts = [words[f] for f in ("light", "style") if f in words]
    if rng.random() < 0.3:  # keywords, in any order
        rest = [words[f] for f in ("motion", "place") if f in words] + parts
        rng.shuffle(rest)
        return ", ".join([head, *rest])
    if rng.random() < 0.8:
        head = _article(head) if scene.count == 1 and not head.startswith("one ") else head
    sentence = " ".join(filter(None, (head, words.get("motion"), _in_place(words.get("place")))))
    if "light" in words:
        sentence += " " + phrases.LIT[words["light"]]
    if "style" in words:
        style = words["style"]
        sentence = f"{style}, {sentence}" if rng.random() < 0.3 else f"{sentence}, {style}{rng.choice(('', ' style'))}"
    return sentence


def _user_manner(core: str, words: Mapping[str, str], rng: Random) -> str:
    """Asking words, quality words, flags, typos and capitals around the core of a query."""
    if rng.random() < 0.15:
        core = f"{rng.choice(phrases.ASKING)} {core}"
    if rng.random() < 0.25:
        core = f"{core}, {rng.choice(phrases.QUALITY)}"
    camera = words.get("camera")
    if camera and (rng.random() < 0.6 or camera.endswith("camera")):
        core = f"{core}, {camera}"
        camera = None
    if rng.random() < 0.05:
        core = " ".join(phrases.TYPOS.get(word, word) for word in core.split(" "))
    manner = rng.random()
    if manner < 0.2:
        core = core[:1].upper() + core[1:]
    elif manner < 0.22:
        core = core.upper()
    flags = [f"-camera {camera}"] if camera else []
    flags += [rng.choice(phrases.FLAGS)] if rng.random() < 0.25 else []
    return " ".join([core, *flags])


def _caption_wording(scene: Scene, facet: str, words: Mapping[str, str], rng: Random) -> str:
    wordings = _wordings(scene, facet)
    if facet in words:
        return words[facet]
    if facet == "subject":
        return wordings.user[0]
    if facet == "count" and scene.count == 1:
        return ""  # 'a dog': nobody asked for 'one dog'
    return rng.choice((*wordings.user, *wordings.extra))


def _slots(scene: Scene, said: Mapping[str, str], rng: Random) -> dict[str, str]:
    """What the braces of `phrases.py` are filled with."""
    many = scene.count > 1 and "count" in said
    kind = phrases.SUBJECT_KINDS[scene.subject] if "subject" in said else "toy"
    noun = said.get("subject", "shape")
    subject = plural(noun) if many else noun
    np = " ".join(filter(None, (said.get("count", ""), said.get("colour", ""), subject)))
    if not many and said.get("count") != "one":
        np = _article(np)
    manner = rng.choice(phrases.MANNERS[scene.motion]) if "motion" in said else ""
    return {
        "np": np, "subject": subject, "gen": phrases.GENERAL[kind][many], "motion": said.get("motion", phrases.STILL),
        "manner": manner.format(they="they" if many else "it"), "in_place": _in_place(said.get("place")),
        "lit": phrases.LIT[said["light"]] if "light" in said else "", "be": "are" if many else "is",
        "styled": f"in {_article(said['style'])} style" if "style" in said else "",
        "while": f"while the camera {phrases.CAMERA_VERBS[said['camera']]}" if "camera" in said else "",
        "has": "have" if many else "has", "look": "look" if many else "looks",
        "its": "their" if many else "its", "it": "them" if many else "it",
    }  # fmt: skip


def _body_facets(opening: str, said: Mapping[str, str], rng: Random) -> list[str]:
    """The facets that get a sentence of their own: all named ones, sometimes without what the opening said already."""
    body = [facet for facet in ("subject", "place", "light", "camera", "style") if facet in said]
    for facet, slot in (("place", "n_place}"), ("light", "it}"), ("style", "{styled}"), ("camera", "{while}")):
        if facet in body and slot in opening.lower() and rng.random() < 0.3:
            body.remove(facet)
    return body


def _sentence(facet: str, scene: Scene, said: Mapping[str, str], slots: Mapping[str, str], rng: Random) -> str:
    """The sentence about one facet, its own braces filled."""
    value = str(getattr(scene, facet))
    if facet == "camera":
        adverb = rng.choice(phrases.STATIC_ADVERBS if value == "static" else phrases.CAMERA_ADVERBS)
        own = {"verb": phrases.CAMERA_VERBS[said["camera"]], "adverb": adverb}
        own["purpose"] = rng.choice(phrases.CAMERA_PURPOSES)
        fitting = [
            text
            for text in phrases.CAMERA_SENTENCES
            if "{adverb} {verb}" not in text or " is " not in f" {own['verb']} "
        ]
        return _fill(rng.choice(fitting), own)
    templates, details = {
        "subject": (phrases.SUBJECT_SENTENCES, phrases.SUBJECT_DETAILS.get(phrases.SUBJECT_KINDS.get(value, ""), ())),
        "place": (phrases.PLACE_SENTENCES, phrases.PLACE_DETAILS.get(value, ())),
        "light": (phrases.LIGHT_SENTENCES, phrases.LIGHT_DETAILS.get(value, ())),
        "style": (phrases.STYLE_SENTENCES, phrases.STYLE_DETAILS.get(value, ())),
    }[facet]
    own = {"w": said[facet], "d": rng.choice(details)}
    if facet == "light":
        own["noun"] = phrases.LIGHT_NOUNS[said["light"]]
    sentence = _fill(rng.choice(templates), own)
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", sentence)


def _fit(sentences: list[str], rng: Random, min_words: int) -> list[str]:
    """Sentences added until there are `min_words`, and a mood to close with where room is left."""
    padding = rng.sample(phrases.PADDING, len(phrases.PADDING))
    while len(" ".join(sentences).split()) < min_words and padding:
        sentences.append(padding.pop())
    if len(" ".join(sentences).split()) < MAX_WORDS - 8 and rng.random() < 0.5:
        sentences.append(rng.choice(phrases.MOODS))
    return sentences


def _fill(template: str, slots: Mapping[str, str]) -> str:
    """Replace {name} by its slot and {Name} by the slot with a capital; unknown braces stay for a later fill."""
    for name, value in slots.items():
        template = template.replace("{" + name + "}", value)
        template = template.replace("{" + name.capitalize() + "}", value[:1].upper() + value[1:])
    return template


def _tidy(sentence: str) -> str:
    """The sentence without the gaps that empty slots leave, starting with a capital."""
    text = " ".join(sentence.split()).replace(" ,", ",").replace(" .", ".").replace(",.", ".").lstrip(" ,")
    return text[:1].upper() + text[1:]


def _in_place(place: str | None) -> str:
    if place is None:
        return ""
    article = "" if place in phrases.BARE_PLACES else "the "
    return f"{phrases.PLACE_PREPOSITIONS[place]} {article}{place}"


def _article(noun_phrase: str) -> str:
    return ("an " if noun_phrase[:1] in "aeiou" else "a ") + noun_phrase
