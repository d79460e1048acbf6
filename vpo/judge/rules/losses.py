"""What a prompt keeps of its query, counted by kind: things, colours, numbers, places, actions, camera, shots, texts, speech.

The judge's verdict allows for what is said otherwise and looks at the whole; this counts each request by itself, so that it shows
which kinds a rewriter loses.
"""

from collections import Counter
from collections.abc import Mapping

from vpo.judge.rules import items, naming, quotes
from vpo.judge.rules.fidelity import Compared, compared
from vpo.judge.rules.items import PART, Item
from vpo.judge.rules.requirements import Requirements, understand
from vpo.judge.rules.words import read
from vpo.language.answers import unwrap

# Each kind with what it counts, for the headings of tables.
KINDS: Mapping[str, str] = {
    "thing": "things and beings",
    "name": "proper names",
    "place": "places",
    "colour": "colours",
    "number": "numbers of things",
    "property": "sizes, ages, materials, genders, times of day and of the year",
    "relation": "places of two things to one another",
    "action": "actions",
    "direction": "directions of movements",
    "style": "styles",
    "camera": "camera moves and kinds of shots, in their own shot",
    "shot": "shots",
    "order": "orders of shots",
    "text": "on-screen texts, word for word",
    "speech": "lines of speech, word for word",
    "denial": "what must not be there",
}
_OF_ITEMS = {
    items.OBJECT: "thing", items.NAME: "name", items.STYLE: "style", items.CAMERA: "camera", items.ACTION: "action",
    quotes.TEXT: "text", quotes.SPEECH: "speech",
}  # fmt: skip


def asked_of(query: str) -> dict[str, int]:
    """How many requests of each kind a query makes; kinds of which it makes none are left out."""
    return _asked(understand(query))


def kept_of(query: str, answer: str) -> dict[str, float]:
    """The share that an answer keeps of each kind of request that its query makes, from 0 to 1."""
    required = understand(query)
    asked, lost = _asked(required), Counter(_lost(required, compared(required, read(unwrap(answer).prompt))))
    return {kind: 1 - min(lost[kind], number) / number for kind, number in asked.items()}


def _asked(required: Requirements) -> dict[str, int]:
    counts = Counter(kind for kind in map(_kind_of, required.items) if kind)
    counts["colour"] = sum(one.kind == "colour" for one in required.attributes)
    counts["number"] = sum(one.kind == "count" for one in required.attributes)
    counts["property"] = len(set(required.properties))
    counts["relation"] = len(required.relations)
    counts["direction"] = len(set(required.directions))
    counts["shot"], counts["order"] = len(required.shots), int(bool(required.shots))
    counts["denial"] = len(set(required.denied)) + len(required.excluded)
    return {kind: counts[kind] for kind in KINDS if counts[kind]}


def _kind_of(item: Item) -> str:
    """The kind of an item; nothing for a word that weighs little and is often said otherwise."""
    return "place" if item.kind == items.OBJECT and naming.is_place(item.key) else _OF_ITEMS.get(item.kind, "")


def _lost(required: Requirements, found: Compared) -> list[str]:
    """The kind of each request that is lost or changed, once each."""
    changed = {reason.detail.partition(" -> ")[0] for reason in found.changes if reason.kind == "changed_verb"}
    lost = [
        _kind_of(item)
        for item, strength in found.strengths
        if strength < PART or (item.kind == items.ACTION and item.words in changed)
    ]
    colours = {one.words for one in required.attributes if one.kind == "colour"}
    groups = {f"changed_{one.group}" for one in required.properties}
    for reason in found.changes:
        words = reason.detail.partition(" -> ")[0]
        if reason.kind in ("changed_colour", "missing"):
            lost.append("colour" if words in colours else "number")
        elif reason.kind in groups:
            lost.append("property")
        else:
            lost.append(_OF_REASONS.get(reason.kind, ""))
    return lost


_OF_REASONS = {
    "changed_count": "number", "changed_relation": "relation", "missing_relation": "relation", "changed_direction": "direction",
    "missing_shot": "shot", "changed_order": "order", "excluded": "denial",
}  # fmt: skip
