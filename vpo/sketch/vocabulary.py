"""The words of the sketch world: eight facets, their concepts, and the English wordings of each concept.

A *facet* is one property of a scene (its colour, say), a *concept* one value of it ("red"), a *wording* one way to say
the concept ("crimson"). Wordings come in three groups:

- `user`: what users type, and what a caption repeats when the user typed it;
- `extra`: what only captions use, when they invent what the user left open; the video model does not know all of them;
- `understood`: read when somebody else writes it (inflections, words of real users), never produced here.

`find_facets` reads a scene back from any English text by these tables, which is how the video model, the drafter and
the reward understand a text.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

FACETS = ("subject", "colour", "count", "motion", "place", "light", "camera", "style")


@dataclass(frozen=True)
class Wordings:
    """The ways to say one concept; see the module's docstring for the three groups."""

    user: tuple[str, ...]
    extra: tuple[str, ...] = ()
    understood: tuple[str, ...] = ()


SUBJECTS = {
    "dog": Wordings(("dog", "puppy"), understood=("hound",)),
    "cat": Wordings(("cat", "kitten"), understood=("kitty",)),
    "bird": Wordings(("bird", "sparrow"), understood=("eagle", "owl", "parrot", "rooster", "chicken")),
    "fish": Wordings(("fish", "trout"), understood=("shark", "whale", "dolphin")),
    "rabbit": Wordings(("rabbit", "bunny"), understood=("hare",)),
    "turtle": Wordings(("turtle", "tortoise")),
    "butterfly": Wordings(("butterfly", "moth")),
    "car": Wordings(("car", "taxi"), understood=("truck", "bus", "automobile", "vehicle")),
    "boat": Wordings(("boat", "sailboat"), understood=("ship", "yacht")),
    "balloon": Wordings(("balloon",), understood=("airship",)),
    "robot": Wordings(("robot", "android"), understood=("cyborg",)),
    "rocket": Wordings(("rocket", "spaceship"), understood=("spacecraft",)),
    "kite": Wordings(("kite",)),
    "umbrella": Wordings(("umbrella", "parasol")),
}

COLOURS = {
    "red": Wordings(("red", "crimson"), understood=("scarlet",)),
    "orange": Wordings(("orange",), understood=("amber",)),
    "yellow": Wordings(("yellow",), understood=("golden", "gold", "blonde")),
    "green": Wordings(("green", "emerald")),
    "blue": Wordings(("blue", "azure"), understood=("cyan", "turquoise")),
    "purple": Wordings(("purple", "violet")),
    "pink": Wordings(("pink",), understood=("magenta",)),
    "white": Wordings(("white",), understood=("silver", "pale")),
}

COUNTS = {
    1: Wordings(("one", "single"), understood=("lone", "a", "an", "1")),
    2: Wordings(("two", "a pair of"), understood=("2", "couple of", "pair of", "both")),
    3: Wordings(("three", "a trio of"), understood=("3", "trio of", "group of", "several", "many")),
}

MOTIONS = {
    "run": Wordings(
        ("running", "racing"), ("dashing", "sprinting"), ("runs", "run", "races", "speeds", "speeding", "driving")
    ),
    "drift": Wordings(
        ("drifting", "gliding"),
        ("coasting", "easing along"),
        ("drifts", "glides", "walking", "walks", "swimming", "sailing"),
    ),
    "jump": Wordings(("jumping", "bouncing"), ("hopping", "leaping"), ("jumps", "jump", "bounces", "hops", "leaps")),
    "circle": Wordings(("circling", "going in circles"), ("looping around", "wheeling"), ("circles", "loops")),
    "spin": Wordings(
        ("spinning", "rotating"), ("twirling", "whirling"), ("spins", "spin", "rotates", "dancing", "dances")
    ),
    "rise": Wordings(
        ("rising", "flying up"), ("ascending", "soaring"), ("rises", "ascends", "flies", "flying", "climbing")
    ),
    "fall": Wordings(("falling", "sinking"), ("descending", "dropping down"), ("falls", "sinks", "drops", "fall")),
    "sway": Wordings(("swaying", "rocking"), ("swinging", "wobbling"), ("sways", "rocks", "swings", "waving")),
}

PLACES = {
    "beach": Wordings(("beach", "seashore"), ("coast",), ("shore", "seaside", "island")),
    "forest": Wordings(("forest", "woods"), ("woodland",), ("jungle", "trees")),
    "city": Wordings(("city", "street"), ("downtown",), ("town", "cityscape", "road", "streets")),
    "snow": Wordings(("snow", "snowy field"), ("winter plain",), ("snowy", "wintery", "ice", "mountains", "mountain")),
    "desert": Wordings(("desert", "dunes"), ("dry plain",), ("dune", "canyon")),
    "ocean": Wordings(("ocean", "sea"), ("open water",), ("lake", "river", "underwater")),
    "meadow": Wordings(("meadow", "grass field"), ("pasture",), ("grass", "garden", "park", "farm")),
    "room": Wordings(("room", "bedroom"), ("parlor",), ("kitchen", "office", "house", "indoors", "studio")),
}

LIGHTS = {
    "day": Wordings(("daylight", "sunny day"), ("midday sun",), ("sunny", "sunlight", "daytime", "morning", "noon")),
    "sunset": Wordings(("sunset", "golden hour"), ("dusk",), ("sunrise", "dawn", "twilight", "evening")),
    "night": Wordings(("night", "moonlight"), ("starlight",), ("nighttime", "midnight", "moonlit", "moon", "starry")),
    "fog": Wordings(("fog", "mist"), ("haze",), ("foggy", "misty", "smoke", "hazy")),
    "neon": Wordings(("neon lights", "neon glow"), ("electric signs",), ("neon", "cyberpunk", "glowing")),
    "candle": Wordings(("candlelight", "candle glow"), ("firelight",), ("candle", "candles", "fireplace", "lamplight")),
}

CAMERAS = {
    "static": Wordings(
        ("static camera", "fixed camera"),
        ("holds its place",),
        ("stays static", "remains fixed", "static", "static shot"),
    ),
    "pan left": Wordings(("pan left", "panning left"), ("sweeps to the left",), ("pans left",)),
    "pan right": Wordings(
        ("pan right", "panning right"),
        ("sweeps to the right",),
        ("pans right", "pan", "panning", "pans", "tracking shot"),
    ),
    "zoom in": Wordings(
        ("zoom in", "zooming in"), ("pushes closer",), ("zooms in", "zoom", "close up", "closeup", "close-up")
    ),
    "zoom out": Wordings(
        ("zoom out", "zooming out"), ("pulls away",), ("zooms out", "wide shot", "drone shot", "aerial view")
    ),
    "tilt up": Wordings(("tilt up", "tilting up"), ("cranes upward",), ("tilts up", "low angle")),
}

STYLES = {
    "cinematic": Wordings(("cinematic", "filmic"), ("theatrical",), ("movie", "film", "photorealistic", "realistic")),
    "cartoon": Wordings(("cartoon", "anime"), ("hand-drawn",), ("animation", "animated", "pixar", "disney")),
    "watercolor": Wordings(
        ("watercolor", "aquarelle"), ("brush-painted",), ("watercolour", "painting", "oil painting", "painted")
    ),
    "pixel art": Wordings(("pixel art", "pixelated"), ("retro game",), ("8-bit", "pixel")),
}

WORDINGS: Mapping[str, Mapping[str | int, Wordings]] = {
    "subject": SUBJECTS, "colour": COLOURS, "count": COUNTS, "motion": MOTIONS,
    "place": PLACES, "light": LIGHTS, "camera": CAMERAS, "style": STYLES,
}  # fmt: skip

UNSAFE_WORDS = frozenset({
    "blood", "bloody", "gun", "guns", "knife", "knives", "kill", "killing", "killed", "kills", "murder", "violent",
    "violence", "weapon", "weapons", "attack", "attacking", "shooting", "fight", "fighting", "war", "stab", "stabbing",
    "gore", "dead", "corpse",
})  # fmt: skip
UNSAFE_PHRASES = (
    "with a gun", "holding a knife", "in a bloody fight", "covered in blood", "in a violent attack", "shooting a gun",
    "killing everyone",
)  # fmt: skip

_IRREGULAR = {
    "fish": "fish",
    "puppy": "puppies",
    "bunny": "bunnies",
    "butterfly": "butterflies",
    "trout": "trout",
    "taxi": "taxis",
}
_WORD = re.compile(r"[a-z0-9]+(?:[-'][a-z0-9]+)*")
_FLAG = re.compile(r"(?:^|\s)-{1,2}(?!camera\b)[a-z]+(?:\s+[\d.:]+)?(?=\s|$)", re.IGNORECASE)
_NEGATED = re.compile(r"(?:^|\s)-{1,2}neg\s.*?(?=\s-{1,2}[a-z]|$)", re.IGNORECASE | re.DOTALL)
_REACH = 3  # a count or a colour belongs to the subject that follows within so many words


class Mention(NamedTuple):
    """One wording found in a text: word `start` up to `stop` (exclusive) of the text's words."""

    facet: str
    concept: str | int
    wording: str
    start: int
    stop: int


def plural(noun: str) -> str:
    """The plural of a subject's wording: 'puppy' -> 'puppies'."""
    return _IRREGULAR.get(noun, noun + "s")


def words_of(text: str) -> list[str]:
    """The lower-case words of a text, in order, without punctuation; hyphens and apostrophes inside words stay."""
    return _WORD.findall(text.lower())


def without_flags(text: str) -> str:
    """The text without `-ar 16:9`, `-motion 2` and `-neg ...`; `-camera ...` stays, for it says what to show."""
    return _FLAG.sub(" ", _NEGATED.sub(" ", text))


@cache
def _phrases() -> dict[str, tuple[tuple[tuple[str, ...], str, str | int, str], ...]]:
    """First word -> the phrases that start with it, longest first, each as (words, facet, concept, wording)."""
    table: dict[str, list[tuple[tuple[str, ...], str, str | int, str]]] = {}
    for facet, concepts in WORDINGS.items():
        for concept, wordings in concepts.items():
            for wording in (*wordings.user, *wordings.extra, *wordings.understood):
                for form in {wording, plural(wording)} if facet == "subject" else {wording}:
                    words = tuple(words_of(form))
                    table.setdefault(words[0], []).append((words, facet, concept, wording))
    return {first: tuple(sorted(rows, key=lambda row: -len(row[0]))) for first, rows in table.items()}


def find_mentions(words: list[str]) -> Iterator[Mention]:
    """Every wording in the words, left to right, the longest first; counts and colours without a subject as well."""
    table, i = _phrases(), 0
    while i < len(words):
        hit = next((row for row in table.get(words[i], ()) if tuple(words[i : i + len(row[0])]) == row[0]), None)
        if hit is None:
            i += 1
            continue
        phrase, facet, concept, wording = hit
        yield Mention(facet, concept, wording, i, i + len(phrase))
        i += len(phrase)


def bound_mentions(words: list[str]) -> list[Mention]:
    """The mentions that count: a number only before a subject; a colour before a subject, or the first one if none is.

    'a' and 'an' stand before everything, and 'orange' may describe the light: so both need the subject to follow
    closely.
    """
    found = list(find_mentions(words))
    heads = [m.start for m in found if m.facet == "subject"]

    def bound(mention: Mention) -> bool:
        return any(mention.stop <= head < mention.stop + _REACH for head in heads)

    colours = [m for m in found if m.facet == "colour"]
    kept = [m for m in colours if bound(m)] or colours[:1]
    return [m for m in found if m.facet not in ("colour", "count") or (bound(m) if m.facet == "count" else m in kept)]


def find_facets(text: str) -> dict[str, Mention]:
    """The first mention of each facet in a text, flags apart. An article alone ('a dog') does not name the count."""
    facets: dict[str, Mention] = {}
    for mention in bound_mentions(words_of(without_flags(text))):
        if mention.wording not in ("a", "an"):
            facets.setdefault(mention.facet, mention)
    return facets


def unsafe_words(text: str) -> list[str]:
    """The words of the text that the sketch world holds for unsafe, in order."""
    return [word for word in words_of(without_flags(text)) if word in UNSAFE_WORDS]
