"""Whether a prompt keeps what its query asks for, and where it changes it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vpo.judge.rules import attributes, contrasts, helpfulness, lexicon, quotes, sequence
from vpo.judge.rules.actions import is_plain_action, rival_action
from vpo.judge.rules.evidence import kept
from vpo.judge.rules.items import ACTION, CAMERA, NAME, OBJECT, PART, QUOTED, SOFT, STYLE, WORD, Item
from vpo.judge.rules.negation import denied
from vpo.judge.rules.quotes import SPEECH, TEXT
from vpo.judge.rules.requirements import Requirements
from vpo.judge.rules.sequence import Told
from vpo.judge.rules.words import Reading, read, stem_phrase
from vpo.records import Reason

# How much an item's loss weighs. What can be seen weighs most; a plain word is often said otherwise.
WEIGHTS = {OBJECT: 1.0, NAME: 1.0, STYLE: 1.0, CAMERA: 1.0, TEXT: 1.0, SPEECH: 1.0, ACTION: 0.9, WORD: 0.3, SOFT: 0.0}
STRICT = (OBJECT, NAME, STYLE, CAMERA)
_NUMBER = re.compile(r"\d{2,}\w{0,2}")
# Kinds of reasons for what is lost, which the strengths of the items count already.
_LOSSES = ("missing_shot", "missing_camera", "missing_text", "missing_speech", "changed_text", "changed_speech")
LONG = (
    40  # words of a query that tells a story: where its things are is not read, and what it denies sentence by sentence
)
FEW = 10  # of so many things in a query, one may be missing


def flaws(required: Requirements, prompt: Reading, tolerance: float) -> list[Reason]:
    """Every way in which the prompt fails the requirements; none means accurate. See `judged`."""
    return judged(required, prompt, tolerance)[0]


def judged(required: Requirements, prompt: Reading, tolerance: float) -> tuple[list[Reason], float]:
    """Every way in which the prompt fails the requirements, and its graded accuracy, from 0 to 1.

    `tolerance` is the share of the query's weight that may be missing. A thing, name, style or camera move may not be missing at all
    in a query of few. The graded accuracy is the share of the weight that is kept; each change costs the weight of a thing.
    """
    found = compared(required, prompt)
    changes = [reason for reason in found.changes if reason.kind not in _LOSSES]
    share = share_kept(found.strengths, len(changes))
    return [*found.changes, *_missing(required, found.strengths, found.changes, tolerance)], share


@dataclass(frozen=True)
class Compared:
    """A prompt beside what its query asks for.

    Attributes:
        changes: what it changes, and the shots, texts, lines of speech and shots' camera moves that it loses.
        strengths: how surely it keeps each item, from 0 to 1, those apart that need not be kept.
        told: how it tells the query's shots; None where the query has none.
    """

    changes: tuple[Reason, ...]
    strengths: tuple[tuple[Item, float], ...]
    told: Told | None


def compared(required: Requirements, prompt: Reading) -> Compared:
    """The prompt compared with its query, whatever may be missing."""
    whole, prompt = prompt, _scenery(required, prompt)
    told = sequence.told(required, whole, prompt) if required.shots else None
    changes = dict.fromkeys(
        [
            *attributes.wrong_attributes(required, prompt),
            *attributes.wrong_relations(required, prompt),
            *_excluded(required, prompt),
            *_motion(required, prompt),
            *contrasts.wrong_properties(required, prompt),
            *contrasts.wrong_directions(required, prompt),
            *_wrong_actions(required, prompt),
            *_wrong_negations(required, prompt),
            *_wrong_numbers(required, prompt),
            *sequence.quote_flaws(required, whole, told),
            *(sequence.shot_flaws(told) if told else ()),
            *(sequence.camera_flaws(required, told) if told else ()),
        ]
    )
    asked = (item for item in required.items if item.kind != SOFT)
    strengths = ((item, _strength(item, required, whole, prompt, told)) for item in asked)
    return Compared(tuple(changes), tuple(strengths), told)


def _scenery(required: Requirements, prompt: Reading) -> Reading:
    """The prompt without what it quotes, where the query asks for words: a dog's name on a sign is no dog."""
    quoted = [item.words for item in required.quoted]
    text = quotes.blanked(prompt.text, quoted) if quoted else prompt.text
    return prompt if text == prompt.text else read(text)


def _strength(item: Item, required: Requirements, whole: Reading, scenery: Reading, found: Told | None) -> float:
    """How surely the prompt keeps the item; a camera move, a text or a line of speech in its shot."""
    if found is not None and item.kind in (CAMERA, *QUOTED):
        return sequence.in_its_shot(item, required, found)
    return kept(item, whole if item.kind in QUOTED else scenery, required)


def _missing(
    required: Requirements,
    strengths: Sequence[tuple[Item, float]],
    changes: Sequence[Reason],
    tolerance: float,
) -> Iterator[Reason]:
    """What the prompt does not have, where it lacks too much."""
    things = [strength for item, strength in strengths if item.kind in STRICT]
    actions = [strength for item, strength in strengths if item.kind == ACTION and is_plain_action(item)]
    lost = sum(strength < PART for strength in things) > len(things) // FEW
    idle = len(actions) < 3 and any(strength < PART for strength in actions)
    if len(required.reading.tokens) > LONG or required.shots:
        tolerance *= 1.5  # a story is retold
    if not (lost or idle or share_kept(strengths) < 1 - tolerance):
        return
    weakest = min(strength for _, strength in strengths)
    bar = max(PART, weakest + 0.01)  # where everything is hinted at, the faintest hints are what is missing
    changed = {reason.detail.partition(" -> ")[0] for reason in changes}
    for item, strength in strengths:
        own_reason = item.kind in QUOTED or (item.kind == CAMERA and required.shot_of(item) is not None)
        if strength < bar and item.words not in changed and not own_reason:
            yield Reason("accurate", "missing", item.words)


def share_kept(strengths: Sequence[tuple[Item, float]], changes: int = 0) -> float:
    """The share of the query's weighted items that the prompt keeps, from 0 to 1; 1 for a query that asks for nothing."""
    total = sum(WEIGHTS[item.kind] for item, _ in strengths)
    kept_weight = sum(WEIGHTS[item.kind] * strength for item, strength in strengths) - changes
    return max(0.0, kept_weight / total) if total else float(not changes)


# What must not be there


def _excluded(required: Requirements, prompt: Reading) -> Iterator[Reason]:
    for words in required.excluded:
        keys = stem_phrase(words).split()
        if keys and _OVERLAYS.issuperset(keys):
            for key in keys:
                if _overlaid(key, required, prompt):
                    yield Reason("accurate", "excluded", key)
        elif stem_phrase(words) in prompt.places and not _is_quality(words):
            yield Reason("accurate", "excluded", words)


_OVERLAYS = frozenset(("text", "watermark", "logo"))  # laid over a picture; prompts often say that there are none
_SPARED = ("free", "avoid", "avoiding", "avoids", "excluding", "excludes", "neg")  # a copied list denies, too


def _overlaid(key: str, required: Requirements, prompt: Reading) -> bool:
    """Whether the prompt names text, a watermark or a logo as a thing that is there, and the query itself does not ask for it.

    A denial holds for the rest of its sentence: 'no text, watermarks or logos'. 'Texting' and 'to text' are no things.
    """
    if key in required.reading.places or (key == "text" and required.quoted):
        return False
    for at in prompt.places.get(key, ()):
        token = prompt.tokens[at]
        before = [one.word for one in prompt.tokens[:at] if one.sentence == token.sentence]
        after = prompt.tokens[at + 1].word if at + 1 < len(prompt.tokens) else ""
        spared = any(word in _SPARED or word in lexicon.words("denials") for word in before) or after == "free"
        forms = (key,) if key == "text" else (key, f"{key}s")  # 'she texts a friend'
        if token.word in forms and before[-1:] != ["to"] and not spared:
            return True
    return False


def _motion(required: Requirements, prompt: Reading) -> Iterator[Reason]:
    """`-motion 0` or `1` asks for little motion, 3 or 4 for much; only a plain contradiction is a flaw."""
    if required.motion is None or required.motion == 2:
        return
    little, much = (
        {stem_phrase(word) for word in lexicon.table("motion_levels")[level]} for level in ("little", "much")
    )
    slow, fast = not little.isdisjoint(prompt.places), not much.isdisjoint(prompt.places)
    moves = fast or not (helpfulness.signs_of("motion") - little).isdisjoint(prompt.places)
    if (required.motion < 2 and fast and not slow) or (required.motion > 2 and slow and not moves):
        yield Reason("accurate", "motion", f"-motion {required.motion}")


def _is_quality(words: str) -> bool:
    """'blurry' and its like speak of the video's quality, which a text cannot have."""
    return any(word in lexicon.words("quality") for word in words.lower().split())


# What is done, and what is denied


def _wrong_actions(required: Requirements, prompt: Reading) -> Iterator[Reason]:
    """Actions of the query in whose place the prompt has another."""
    for item in required.items:
        rival = rival_action(item, prompt, required)
        if rival:
            yield Reason("accurate", "changed_verb", f"{item.words} -> {rival}")


def _wrong_negations(required: Requirements, prompt: Reading) -> Iterator[Reason]:
    """What the query denies and the prompt shows, and the other way round."""
    hidden = denied(prompt)
    if len(required.reading.tokens) >= LONG or required.shots:
        yield from sequence.negation_flaws(required, prompt)
    else:
        for key in required.denied:
            if any(i not in hidden for i in prompt.places.get(key, ())):
                yield Reason("accurate", "excluded", key)
    for item in required.items if hidden else ():
        places = sorted(i for key in item.keys for i in prompt.places.get(key, ()))
        if places and places[0] in hidden and item.kind in (*STRICT, ACTION):
            yield Reason("accurate", "denied", item.words)


def _wrong_numbers(required: Requirements, prompt: Reading) -> Iterator[Reason]:
    """Figures of the query, such as a temperature, in whose place the prompt has another."""
    asked, said = (
        [token.word for token in reading.tokens if _NUMBER.fullmatch(token.word)]
        for reading in (required.reading, prompt)
    )
    for number in asked:
        others = [other for other in said if other not in asked]
        if number not in said and others:
            yield Reason("accurate", "changed_number", f"{number} -> {others[0]}")
