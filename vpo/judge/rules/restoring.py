"""A lost on-screen text, line of speech or camera move put back into the part of a text that shows its shot.

Nothing is put where the text says the shot in no part of its own. Whoever calls judges the result: what does not mend the text is
not taken.
"""

import re

from vpo.judge.rules import lexicon, quotes, sequence
from vpo.judge.rules.forms import in_form_of, singular
from vpo.judge.rules.items import CAMERA, NAME, OBJECT, QUOTED, Item
from vpo.judge.rules.quotes import TEXT
from vpo.judge.rules.requirements import Requirements
from vpo.judge.rules.sentences import SENTENCE_END, capital, joined, one_line
from vpo.judge.rules.softening import harmless
from vpo.judge.rules.words import Token, read, verb_of
from vpo.records import Reason

# What can carry a text; the other words of the lexicon's table only say how it got there.
_CARRIERS = frozenset(
    {
        "sign",
        "banner",
        "logo",
        "poster",
        "billboard",
        "headline",
        "note",
        "plaque",
        "sticker",
        "label",
        "card",
        "placard",
        "menu",
    }
    | {
        "blackboard",
        "whiteboard",
        "chalkboard",
        "scoreboard",
        "board",
        "screen",
        "book",
        "flag",
        "t-shirt",
        "tattoo",
        "graffiti",
    }
)
_TEXTS = frozenset(
    {"text", "caption", "title", "subtitle", "word", "letter", "lettering", "phrase", "message", "headline"}
)
_MOVING = frozenset({"zoom", "pan", "tilt", "orbit", "circle", "dolly", "push", "pull", "move", "rotate", "rack"})
_PRONOUNS = frozenset({"he", "she", "they"})


def restored(required: Requirements, text: str, reason: Reason) -> str:
    """The text with what one reason says is lost or changed; as it was where there is no safe place or form for it."""
    words, _, other = reason.detail.partition(" -> ")
    if reason.kind.startswith("changed_"):
        item = next((one for one in required.quoted if one.words == words), None)
        return _requoted(text, other, item.words) if item and other else text
    item = next((one for one in required.items if one.kind in (*QUOTED, CAMERA) and _is_about(reason, one)), None)
    if item is None:
        return text
    if item.kind == CAMERA:
        return _added(required, text, item, _camera(item))
    if item.kind == TEXT:
        return _text_restored(required, text, item)
    speaker = _speaker(required, item)
    return _added(required, text, item, f'{speaker} "{_closed(item.words)}"') if speaker else text


def with_lost_shots(required: Requirements, text: str, most: int) -> str:
    """The text with the query's own words for the shots that it does not show, each behind the shot before it.

    As it was where these have more than `most` words, or the text shows the other shots in another order.
    """
    whole = read(text)
    found = sequence.told(required, whole, whole)
    sentences = {shot.number: capital(one_line(harmless(shot.words))) for shot in found.lost}
    if found.swapped or sum(len(sentence.split()) for sentence in sentences.values()) > most:
        return text
    for number in sorted(sentences, reverse=True):
        before = [
            whole.tokens[last].end for one, (_, last) in found.parts.items() if one < number and one not in sentences
        ]
        at = _sentence_end(text, max(before)) if before else 0
        text = joined(text[:at], sentences[number], text[at:])
    return text


def _is_about(reason: Reason, item: Item) -> bool:
    return reason.detail == item.words or reason.detail.startswith(f"{item.words} in shot ")


def _closed(words: str) -> str:
    return words if words[-1] in ".!?" else f"{words}."


def _requoted(text: str, wrong: str, right: str) -> str:
    """The right words between the quotation marks of the wrong ones."""
    for start, end, inner in reversed(list(quotes.spans(text))):
        if inner.strip() == wrong:
            at = text.index(inner, start, end)
            mark = wrong[-1] if wrong[-1] in ".,!?" and right[-1] not in ".,!?" else ""
            return text[:at] + right + mark + text[at + len(inner) :]
    return text


def _text_restored(required: Requirements, text: str, item: Item) -> str:
    """The text behind what carries it, where the shot's part names that; else in a sentence of its own."""
    carrier = next((token for token in _before(required, item) if _singular(token.word) in _CARRIERS | _TEXTS), None)
    if carrier is None:
        return _added(required, text, item, f'The words "{item.words}" can be read.')
    if _singular(carrier.word) in _TEXTS:
        ending = "" if carrier.word.endswith("s") else "s"
        return _added(required, text, item, f'The {carrier.word} "{item.words}" appear{ending}.')
    span = _part(required, text, item)
    reading = read(text)
    places = [
        at for at in reading.places.get(carrier.stem, ()) if span and span[0] <= reading.tokens[at].start < span[1]
    ]
    if places:
        end = reading.tokens[places[0]].end
        return f'{text[:end]} that reads "{item.words}"{text[end:]}'
    return _added(required, text, item, f'{capital(_article(carrier.word))} reads "{item.words}".')


def _singular(word: str) -> str:
    return singular(word) if word.isalpha() else word


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _before(required: Requirements, item: Item) -> list[Token]:
    """The tokens before an item in its sentence, the nearest first."""
    tokens = required.reading.tokens
    return [one for one in reversed(tokens[: item.first]) if one.sentence == tokens[item.first].sentence]


def _speaker(required: Requirements, item: Item) -> str:
    """Who says a line, with the query's own verb: 'The girl says'; nothing where the query's sentence does not show it."""
    before = _before(required, item)
    verb = next((one for one in before[:3] if one.word in lexicon.words("speaking") and verb_of(one.word)), None)
    if verb is None:
        return ""
    said = in_form_of(verb_of(verb.word) or verb.word, "runs", "VERB")
    earlier = [one for one in before if one.start < verb.start]
    pronoun = next((one.word for one in earlier if one.word in _PRONOUNS), "")
    if pronoun:
        return capital(f"{pronoun} {said if pronoun != 'they' else verb_of(verb.word)}")
    things = {one.first: one for one in required.items if one.kind in (OBJECT, NAME) and one.first == one.last}
    index = {token.start: at for at, token in enumerate(required.reading.tokens)}
    nouns = [things[index[one.start]] for one in earlier if index[one.start] in things]
    if not nouns:
        return ""
    if earlier[0].word != "and":  # 'a girl says'
        subject, near = nouns[0], index[verb.start] - nouns[0].last <= _NEAR
    else:  # 'a dragon on the glass winks and says'
        subject, near = nouns[-1], nouns[-1].first - index[earlier[-1].start] <= _NEAR
    words = subject.words if subject.kind == NAME else f"The {subject.words.lower()}"
    return f"{words} {said}" if near else ""


_NEAR = 2  # tokens between a subject and its verb, or the beginning of its sentence


def _camera(item: Item) -> str:
    """A sentence for a camera move or the kind of a shot."""
    verb, *rest = item.words.lower().split()
    base = verb_of(verb) or verb
    if base in _MOVING and (rest or base in ("orbit", "rotate")):
        return f"The camera {' '.join([in_form_of(base, 'runs', 'VERB'), *rest])}."
    if verb in ("static", "fixed", "steady", "handheld"):
        return f"The camera is {verb}."
    if "motion" in rest:
        return f"This is shown in {item.words.lower()}."
    return f"This is shown in {_article(item.words.lower())}."


def _part(required: Requirements, text: str, item: Item) -> tuple[int, int] | None:
    """From which character to which the text shows the item's shot: all of it where the query has no shots; None where it does not."""
    shot = required.shot_of(item)
    if shot is None:
        return 0, len(text)
    whole = read(text)
    found = sequence.told(required, whole, whole)
    span = found.parts.get(shot.number)
    if span is None or found.swapped or shot in found.lost:
        return None
    return whole.tokens[span[0]].start, whole.tokens[span[1]].end


def _sentence_end(text: str, after: int) -> int:
    """Where the sentence that holds a place ends."""
    return next((gap.start() for gap in SENTENCE_END.finditer(text) if gap.start() >= after), len(text))


def _added(required: Requirements, text: str, item: Item, sentence: str) -> str:
    """The text with a sentence behind the last whole sentence of the item's shot; where there are no shots, behind the first one."""
    span = _part(required, text, item)
    if span is None:
        return text
    at = _sentence_end(text, 0 if required.shot_of(item) is None else span[1])
    before = text[:at].rstrip()
    return one_line(f"{before}{'' if re.search(r'[.!?][^A-Za-z]*$', before) else '.'} {sentence} {text[at:].lstrip()}")
