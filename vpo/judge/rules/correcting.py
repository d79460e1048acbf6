"""The words of one reason put right in a text: a wrong detail in its place and form, a missing thing in the place of another."""

from vpo.judge.rules import evidence, lexicon, naming, repairs, replacing, restoring
from vpo.judge.rules.forms import is_plural
from vpo.judge.rules.items import Item
from vpo.judge.rules.requirements import Attribute, Requirements
from vpo.judge.rules.words import Reading, read, stem_phrase
from vpo.records import Reason

_RESTORED = ("changed_text", "changed_speech", "missing_text", "missing_speech", "missing_camera")


def corrected(required: Requirements, text: str, reason: Reason) -> str:
    """The text with the words of one reason put right, in their place and form."""
    if reason.kind in _RESTORED:
        return restoring.restored(required, text, reason)
    right, _, wrong = reason.detail.partition(" -> ")
    attribute = _attribute(required, right)
    if reason.kind == "changed_relation":
        value = next((r.value for r in required.relations if right == f"{r.a.words} {r.value} {r.b.words}"), "")
        return repairs.relation_set(text, wrong, value) if value else text
    if reason.kind == "changed_count" and attribute and attribute.kind == "one":
        return repairs.one_set(text, attribute, wrong)
    if reason.kind in ("changed_colour", "changed_count") and attribute:
        return repairs.value_set(text, attribute.noun, wrong, attribute.words)
    if reason.kind.startswith("changed") and wrong:
        return repairs.word_set(text, wrong, right)
    if reason.kind == "missing" and attribute and attribute.kind == "colour":
        return repairs.colour_added(text, attribute)
    if reason.kind == "missing":
        return _thing_restored(required, text, reason.detail)
    return repairs.without_words(text, reason.detail) if reason.kind == "excluded" else text


def _thing_restored(required: Requirements, text: str, words: str) -> str:
    """The missing thing in the place of the one that has it: of its kind, asked for by nobody, and in its place in the text."""
    item = next((item for item in required.items if item.words == words), None)
    if item is None:
        return text
    changed = replacing.replaced(required, text, item)
    if changed != text:
        return changed
    if item.kind != "object":
        return repairs.modifier_added(required, text, item)
    rival = rival_of(required, text, item)
    return repairs.thing_set(text, item, rival) if rival else text


def rival_of(required: Requirements, text: str, item: Item) -> str:
    """The key of the thing that has the place of a missing one; nothing where none has.

    One of its kind, between the things that come before and after it in the query, or in the first sentence; else what the
    first sentence is about, where that is what the query is about.
    """
    reading = read(text)
    rivals = evidence.rivals_of(item, reading, required) if not naming.is_place(item.key) else frozenset()
    start, end = _slot(required, text, item)
    places = {rival: reading.places[rival][0] for rival in rivals}
    near = [rival for rival, at in places.items() if start <= at <= end and not reading.tokens[at].sentence]
    near = near or [rival for rival, at in places.items() if not reading.tokens[at].sentence]
    return min(near, key=lambda rival: (places[rival], -len(rival))) if near else _subject(required, reading, item)


_NAMELESS = frozenset(map(stem_phrase, ("shape", "figure", "object", "thing")))


def _subject(required: Requirements, reading: Reading, item: Item) -> str:
    """The key of the first sentence's subject, where the missing item is the query's and nothing else of the query's is lost."""
    things = [one for one in required.items if one.kind == "object" and not naming.is_place(one.key)]
    others = [one for one in required.items if one is not item and one.kind != "soft"]
    kept = [one for one in others if evidence.kept(one, reading, required)]
    if not things or things[0] is not item or any(one in things and one not in kept for one in others):
        return ""
    asked = frozenset().union(*({one.key} | naming.names(one.key) for one in required.items))
    tokens = [token for token in reading.tokens if not token.sentence]
    comma = reading.text.find(",")
    if tokens and tokens[0].word in _ENDS and comma > 0:  # 'In the meadow, a turtle leaps.'
        tokens = [token for token in tokens if token.start > comma]
    for index, token in enumerate(tokens):
        if token.word in _ENDS:
            break
        if token.stem in _NAMELESS or (token.stem in naming.object_keys() and not naming.is_place(token.stem)):
            same = is_plural(token.word) == is_plural(item.words) and token.stem not in asked
            return token.stem if same and index and (kept or required.attributes) else ""
    return ""


_ENDS = lexicon.words("phrase_ends") - lexicon.words("determiners")


def _slot(required: Requirements, text: str, item: Item) -> tuple[int, int]:
    """Between which tokens of the text a missing thing would stand: after the thing before it in the query, before the next."""
    reading = read(text)
    things = [one for one in required.items if one.kind == "object" and one.key in reading.places]
    before = [reading.places[one.key][0] for one in things if one.first < item.first]
    after = [reading.places[one.key][0] for one in things if one.first > item.first]
    start = max(before, default=0)
    later = [place for place in after if place > start]
    return start, min(later, default=len(reading.tokens))


def _attribute(required: Requirements, words: str) -> Attribute | None:
    return next((attribute for attribute in required.attributes if attribute.words == words), None)
