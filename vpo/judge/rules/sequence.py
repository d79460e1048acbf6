"""Whether a prompt shows the shots that its query asks for: all of them, in their order, each with its own camera, text and speech."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vpo.judge.rules import quotes, wordnet
from vpo.judge.rules.actions import is_common
from vpo.judge.rules.evidence import kept, places_of
from vpo.judge.rules.items import ACTION, CAMERA, COLOUR, NAME, OBJECT, QUOTED, SOFT, STYLE, WORD, Item
from vpo.judge.rules.negation import denied
from vpo.judge.rules.quotes import SPEECH, TEXT
from vpo.judge.rules.requirements import Requirements
from vpo.judge.rules.shots import Shot, spans, swapped
from vpo.judge.rules.words import Reading, noun_of, read, verb_of
from vpo.records import Reason

# What an item says of where in a text its shot is: as much as its loss weighs, and a colour half of that.
_TELLING = {
    OBJECT: 1.0,
    NAME: 1.0,
    STYLE: 1.0,
    CAMERA: 1.0,
    TEXT: 1.0,
    SPEECH: 1.0,
    ACTION: 0.9,
    WORD: 0.3,
    COLOUR: 0.5,
    SOFT: 0.0,
}
_SHOWN = 0.5  # of what is a shot's own; a text that keeps less does not show it
_IN_PLACE = 0.35  # of it in the shot's part of the text


@dataclass(frozen=True)
class Told:
    """A prompt divided by its query's shots.

    Attributes:
        parts: from which token to which the prompt shows a shot, by the shot's number.
        lost: the shots that it does not show.
        swapped: pairs of shots of which it shows the later one first.
    """

    prompt: Reading
    parts: Mapping[int, tuple[int, int]]
    lost: tuple[Shot, ...]
    swapped: tuple[tuple[Shot, Shot], ...]

    def part(self, shot: Shot) -> Reading | None:
        """What the prompt says in the shot; None where it has no part of its own, or the shots are out of order."""
        span = self.parts.get(shot.number)
        if span is None or self.swapped:
            return None
        first, last = (self.prompt.tokens[at] for at in span)
        end = last.end
        after = (
            self.prompt.tokens[span[1] + 1].start if span[1] + 1 < len(self.prompt.tokens) else len(self.prompt.text)
        )
        return read(self.prompt.text[first.start : max(end, after)])


def told(required: Requirements, whole: Reading, scenery: Reading) -> Told:
    """How a prompt tells the query's shots.

    Args:
        whole: the prompt.
        scenery: the prompt with blanks for what it quotes, token places of its own.
    """
    places = {item: _places(item, whole, scenery) for shot in required.shots for item in shot.own}
    parts = spans(required.shots, whole, places, _weight)
    shares = {shot: _shares(shot, parts.get(shot.number), places, whole, scenery, required) for shot in required.shots}
    shown = [shot for shot, (anywhere, _) in shares.items() if anywhere >= _SHOWN]
    turned = tuple(swapped(shown, places, _weight))
    if not turned:  # out of order, no shot has its place
        shown = [shot for shot in shown if shares[shot][1] >= _IN_PLACE]
    return Told(whole, parts, tuple(shot for shot in required.shots if shot not in shown), turned)


def _weight(item: Item) -> float:
    return _TELLING[item.kind]


def _places(item: Item, whole: Reading, scenery: Reading) -> tuple[int, ...]:
    """The tokens of the whole prompt that say the item; what is quoted says only a text or a line of speech."""
    if item.kind in QUOTED or whole is scenery:
        return places_of(item, whole)
    starts = {scenery.tokens[i].start for i in places_of(item, scenery)}
    return tuple(i for i, token in enumerate(whole.tokens) if token.start in starts)


def _shares(
    shot: Shot,
    span: tuple[int, int] | None,
    places: Mapping[Item, Sequence[int]],
    whole: Reading,
    scenery: Reading,
    required: Requirements,
) -> tuple[float, float]:
    """How much of what is a shot's own the text has, anywhere and in the shot's part of it, from 0 to 1."""
    every = [item for item in shot.own if item.kind not in (SOFT, COLOUR)]
    own = [
        item for item in every if item.kind not in (CAMERA, *QUOTED)
    ] or every  # the loss of these is named by itself
    total = sum(map(_weight, own))
    if not total:
        return 1.0, 1.0
    strengths = {item: kept(item, whole if item.kind in QUOTED else scenery, required) for item in own}
    anywhere = sum(_weight(item) * strengths[item] for item in own)
    here = sum(
        _weight(item) * strengths[item]
        for item in own
        if not places[item] or (span is not None and any(span[0] <= at <= span[1] for at in places[item]))
    )
    return anywhere / total, here / total


def shot_flaws(found: Told) -> Iterator[Reason]:
    """The shots that a prompt loses or shows in another order."""
    for shot in found.lost:
        yield Reason("accurate", "missing_shot", shot.name)
    for earlier, later in found.swapped:
        yield Reason("accurate", "changed_order", f"{later.name} comes before {earlier.name}")


def in_its_shot(item: Item, required: Requirements, found: Told) -> float:
    """How surely a camera move, an on-screen text or a line of speech is kept in the part of the prompt that shows its shot."""
    shot = required.shot_of(item)
    part = found.part(shot) if shot is not None and shot not in found.lost else None
    return kept(item, found.prompt if part is None else part, required)


def quote_flaws(required: Requirements, prompt: Reading, found: Told | None) -> Iterator[Reason]:
    """On-screen texts and lines of speech that a prompt loses, changes, or gives to another shot."""
    asked = [item.words for item in required.quoted]
    for item in required.quoted:
        if not kept(item, prompt, required):
            other = quotes.other_quote(item.kind, asked, prompt.text)
            detail = f"{item.words} -> {other}" if other else item.words
            yield Reason("accurate", f"{'changed' if other else 'missing'}_{item.kind}", detail)
        elif found is not None and not in_its_shot(item, required, found):
            shot = required.shot_of(item)
            where = f" in {shot.name}" if shot is not None else ""
            yield Reason("accurate", f"missing_{item.kind}", f"{item.words}{where}")


def camera_flaws(required: Requirements, found: Told) -> Iterator[Reason]:
    """Camera moves that a prompt does not make in their shots."""
    for item in required.items:
        shot = required.shot_of(item)
        if (
            item.kind == CAMERA
            and shot is not None
            and shot not in found.lost
            and not in_its_shot(item, required, found)
        ):
            yield Reason("accurate", "missing_camera", f"{item.words} in {shot.name}")


def negation_flaws(required: Requirements, prompt: Reading) -> Iterator[Reason]:
    """What a sentence of a long query denies, and a sentence of the prompt about the same things shows.

    A long query may ask for a thing in one sentence that it denies in another, and is retold in many words. So a thing or a common
    action counts that the query only denies, that the prompt never denies, and that stands in the prompt beside another thing of the
    query's sentence.
    """
    hidden, refused = denied(prompt), denied(required.reading)
    positive = {token.stem for i, token in enumerate(required.reading.tokens) if i not in refused}
    for i in sorted(refused):
        token = required.reading.tokens[i]
        said = prompt.places.get(token.stem, ())
        if token.stem not in required.denied or token.stem in positive or not said or not hidden.isdisjoint(said):
            continue
        if not (_is_thing(token.word) or is_common(token.word)):
            continue
        beside = {
            key
            for item in required.items
            if item.kind in (OBJECT, NAME) and required.reading.tokens[item.first].sentence == token.sentence
            for key in item.keys
        }
        around = {at for key in beside for at in prompt.places.get(key, ())}
        if any(prompt.tokens[a].sentence == prompt.tokens[b].sentence for a in said for b in around):
            yield Reason("accurate", "excluded", token.stem)


def _is_thing(word: str) -> bool:
    """Whether the word is rather a noun for what can be seen than a verb."""
    noun, verb = noun_of(word), verb_of(word)
    if noun is None or not wordnet.visible(noun):
        return False
    return verb is None or wordnet.frequency(noun, wordnet.NOUN) >= wordnet.frequency(verb, wordnet.VERB)
