"""Queries with texts that a judge of accuracy must accept or reject, made from published rewrites.

True pairs; the rewrite of another query, at random and the most similar one; and rewrites with one detail changed. A detail is a
word of the query that its rewrite repeats: it is changed everywhere in the rewrite, in every inflection, into another of its kind.
"""

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from lemminflect import getAllLemmas, getInflection

SOURCES = ("vbench2_gpt", "vbench2_wan2.1", "vbench_categories_gpt4o")


class Pair(NamedTuple):
    """A query with its published rewrite."""

    query: str
    rewrite: str


class Probe(NamedTuple):
    """A query with a text, and the name of what the text is for it."""

    kind: str
    query: str
    text: str


def load(folder: Path, source: str) -> list[Pair]:
    rows = map(json.loads, (folder / f"{source}.jsonl").read_text(encoding="utf-8").splitlines())
    return [Pair(row["query"], row["rewrite"]) for row in rows]


def half(query: str) -> str:
    """Rules may be made while looking at the half 'tune'; 'held' is only measured."""
    return "held" if hashlib.sha256(query.strip().lower().encode()).digest()[0] % 2 else "tune"


# Rewrites of other queries


def others(pairs: Sequence[Pair], rng: random.Random) -> Iterator[Probe]:
    """Each query with the rewrite of another one, drawn at random."""
    order = list(pairs)
    rng.shuffle(order)
    for one, other in zip(order, order[1:] + order[:1], strict=True):
        if _plain(one.query) != _plain(other.query):
            yield Probe("another's", one.query, other.rewrite)


def nearest(pairs: Sequence[Pair]) -> Iterator[Probe]:
    """Each query with the rewrite of the query that shares most rare words with it, equal queries apart."""
    bags = [frozenset(re.findall(r"\w+", pair.query.lower())) for pair in pairs]
    spread = Counter(word for bag in bags for word in bag)
    for pair, bag in zip(pairs, bags, strict=True):
        rest = [(_overlap(bag, other, spread), i) for i, other in enumerate(bags) if other != bag]
        yield Probe("nearest's", pair.query, pairs[max(rest)[1]].rewrite)


def _overlap(a: frozenset[str], b: frozenset[str], spread: Counter[str]) -> float:
    return sum(1 / spread[word] for word in a & b) / sum(1 / spread[word] for word in a | b)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


# One change

KINDS: dict[str, tuple[str, ...]] = {
    "colour": ("red green blue yellow purple pink black white brown orange",),
    "count": ("two three four five six seven",),
    "noun": (
        "dog cat horse cow sheep elephant bear zebra giraffe monkey rabbit tiger lion fox wolf pig deer goat squirrel panda raccoon "
        "mouse",
        "eagle owl penguin duck parrot chicken swan",
        "shark whale dolphin octopus turtle crab",
        "car bus truck train motorcycle bicycle airplane boat helicopter tractor",
        "apple banana orange lemon pear strawberry watermelon grape",
        "cake pizza bread sandwich soup salad cheese chocolate cookie pasta burger egg",
        "chair table sofa bed bench desk shelf lamp mirror door window",
        "bottle cup bowl vase glass plate pot jar bucket bag box basket spoon fork knife",
        "guitar piano violin drum trumpet flute",
        "phone laptop television keyboard book newspaper letter pen clock",
        "hat shirt jacket dress shoe glove scarf umbrella",
        "house castle church tower bridge barn lighthouse tent",
        "ball kite balloon rope doll robot toy",
    ),
    "person": ("man woman boy girl baby astronaut doctor chef soldier teacher painter",),
    "place": (
        "beach forest desert mountain river street kitchen garden library ocean lake field farm park city village office bedroom "
        "bathroom classroom restaurant cave",
    ),
    "verb": (
        "run jump sleep swim fly climb dance sit crawl",
        "eat drink cook read write paint sing cry laugh smile",
        "throw catch kick push pull carry drop lift cut break pour",
        "drive ride park explode burn melt freeze grow shrink",
        "open close wash clean hug kiss wave clap",
    ),
    "size": ("big small", "large tiny", "huge little", "tall short", "thick thin", "wide narrow"),
    "age": ("old young elderly", "ancient modern new"),
    "material": (
        "wooden metal plastic glass stone leather paper rubber golden cotton",
        "wood metal plastic glass stone paper",
    ),
    "style": ("anime watercolor cyberpunk photorealistic cartoon claymation pixel steampunk surrealist impressionist",),
    "time": (
        "night morning noon evening midnight",
        "sunset sunrise noon midnight",
        "winter summer autumn spring",
        "day night",
    ),
}
PHRASES: dict[str, tuple[tuple[str, str], ...]] = {
    "camera": (
        (r"zoom(s|ing|ed)? in", r"zoom\1 out"), (r"zoom(s|ing|ed)? out", r"zoom\1 in"),
        (r"pan(s|ning|ned)? (?:to the )?left", r"pan\1 right"), (r"pan(s|ning|ned)? (?:to the )?right", r"pan\1 left"),
        (r"tilt(s|ing|ed)? up(?:wards?)?", r"tilt\1 down"), (r"tilt(s|ing|ed)? down(?:wards?)?", r"tilt\1 up"),
        (r"(?:orbit|circl)(?:es|ing|e|s) around", "zooms in on"), (r"static", "shaky"), (r"first-person", "bird's-eye"),
        (r"close-up", "wide aerial"), (r"slow[- ]motion", "fast motion"),
    ),
    "relation": (
        (r"left of", "right of"), (r"right of", "left of"), (r"on top of", "underneath"), (r"under(?:neath)?|beneath", "on top of"),
        (r"above", "below"), (r"behind", "in front of"), (r"in front of|the front of", "behind"), (r"inside", "outside"),
        (r"next to|beside", "far from"),
    ),
    "direction": (
        (r"up", "down"), (r"down", "up"), (r"upwards?", "downward"), (r"downwards?", "upward"), (r"into", "out of"),
        (r"out of", "into"), (r"towards?", "away from"), (r"away from", "towards"), (r"forwards?", "backward"),
        (r"backwards?", "forward"), (r"clockwise", "counterclockwise"),
        (r"(to|on) the left", r"\1 the right"), (r"(to|on) the right", r"\1 the left"),
    ),
    "negation": (
        (r"without(?: any)?", "with"), (r"no (?=[a-z])", "many "), (r"is not|isn't", "is"),
        (r"are not|aren't", "are"), (r"never", "always"), (r"(?:doesn't|does not) (\w+)", r"does \1"),
    ),
}  # fmt: skip


def changed(pair: Pair, rng: random.Random) -> Iterator[Probe]:
    """The rewrite with one detail of the query changed, once for each kind of detail that the pair has."""
    query = pair.query.lower()
    words = re.findall(r"[a-z]+(?:-[a-z]+)*", query)
    for kind, rows in KINDS.items():
        found = [
            (word, row.split()) for word in dict.fromkeys(words) for row in rows if _base(word, kind) in row.split()
        ]
        rng.shuffle(found)
        for word, row in found:
            base = _base(word, kind)
            if word in ("black", "white") and "black and white" in query:
                continue  # a style
            if kind == "verb" and not _verb_form(word, query):
                continue
            taken = {_base(other, kind) for other in words}
            text = _swapped(
                pair.rewrite, base, rng.choice([other for other in row if other not in taken] or [""]), kind
            )
            if text != pair.rewrite:
                yield Probe(kind, pair.query, text)
                break
    for kind, swaps in PHRASES.items():
        for pattern, instead in swaps:
            rule = re.compile(
                rf"(?<![\w-])(?:{pattern})(?![\w-])" if not pattern.endswith(")") else rf"(?<![\w-])(?:{pattern})", re.I
            )
            if rule.search(query) and rule.search(pair.rewrite):
                yield Probe(kind, pair.query, rule.sub(instead, pair.rewrite))
                break
    yield from _denied(pair)


def _denied(pair: Pair) -> Iterator[Probe]:
    """The rewrite's first verb that the query has, too, denied: 'is running' becomes 'is not running'."""
    for word in re.findall(r"\b(?:is|are) ([a-z]+ing)\b", pair.query.lower()):
        rule = re.compile(rf"\b(is|are) {word}\b", re.I)
        if rule.search(pair.rewrite):
            yield Probe("denial", pair.query, rule.sub(rf"\1 not {word}", pair.rewrite))
            return


def _base(word: str, kind: str) -> str:
    if kind not in ("noun", "person", "place", "verb"):
        return word
    lemmas = getAllLemmas(word).get("VERB" if kind == "verb" else "NOUN", ())
    return lemmas[0] if lemmas else word


def _verb_form(word: str, query: str) -> bool:
    """Whether the word is what somebody does: 'is running', 'running'; no 'swimming pool', no 'waves'."""
    return word.endswith("ing") and not re.search(rf"{word} (?:pool|meter|lot|machine|board)", query)


def _swapped(text: str, base: str, other: str, kind: str) -> str:
    """The text with every inflection of a word replaced by the same inflection of another."""
    if not other:
        return text
    tags = ("VB", "VBZ", "VBG", "VBD", "VBN", "VBP") if kind == "verb" else ("NN", "NNS")
    table = {base: other}
    if kind in ("noun", "person", "place", "verb"):
        for tag in tags:
            for form, new in zip(getInflection(base, tag), getInflection(other, tag), strict=False):
                table.setdefault(form, new)
    rule = re.compile(rf"\b({'|'.join(sorted(table, key=len, reverse=True))})\b", re.I)
    return rule.sub(lambda match: table[match[1].lower()], text)


def gamed(pairs: Sequence[Pair]) -> Iterator[Probe]:
    """Texts that say the query and then what fits any query; the facts of the query denied; two rewrites in one."""
    block = (
        "The camera glides slowly through the scene while soft golden light fills the frame. In the background, leaves sway gently "
        "in the breeze, and every detail moves with calm, natural grace as the view drifts closer."
    )
    for one, other in pairwise(pairs):
        query = one.query.strip().rstrip(".")
        yield Probe("query + block", one.query, f"{query}. {block}")
        yield Probe("there is no", one.query, f"There is no {query[:1].lower()}{query[1:]}. {block}")
        yield Probe("query + other", one.query, f"{query}. {other.rewrite}")
