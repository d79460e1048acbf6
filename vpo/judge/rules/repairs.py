"""Repairs one text: each function takes a text, removes one kind of flaw and returns what still reads as English."""

import re
from collections.abc import Sequence

from vpo.judge.rules import helpfulness, lexicon
from vpo.judge.rules.forms import in_form_of, is_plural, parts_of, plural, singular, third_person
from vpo.judge.rules.items import Item
from vpo.judge.rules.naming import locate
from vpo.judge.rules.requirements import Attribute, Requirements, relation_words
from vpo.judge.rules.sentences import SENTENCE_END, capital, joined, one_line
from vpo.judge.rules.softening import harmless, nominal, with_article, without_clause
from vpo.judge.rules.words import Reading, read, stem, stem_phrase

_STACKED = 5  # 'Sure! I'd be happy to help. Here is your prompt: Video prompt: ...'
_ROUNDS = 8  # clauses that hold excluded words


def without_lead_in(text: str) -> str:
    """The text from where it really begins; lead-ins may be stacked."""
    for _ in range(_STACKED):
        opening = helpfulness.lead_in(text)
        if not opening:
            break
        text = capital(text.lstrip()[len(opening) :].lstrip(" ,:*"))
    return text


# Details


def value_set(text: str, noun: Item | None, wrong: str, right: str) -> str:
    """A wrong colour or number of a noun put right: before the noun, or after it ('is red'), and of its parts ('its red paint').

    The same word of another thing stays: a blue sky over a car that is not to be blue.
    """
    reading = read(text)
    places = set(locate(noun, reading)) if noun is not None else set()
    found = [i for i, token in enumerate(reading.tokens) if token.word == wrong.lower()]
    own = [i for i in found if _belongs(reading, i, places)]
    for i in reversed(own or found[:1]):
        token = reading.tokens[i]
        word = capital(right.lower()) if text[token.start].isupper() else right.lower()
        text = with_article(text[: token.start], word) + text[token.end :]
    return text


_PARTS = frozenset(
    stem(word)
    for word in (
        "paint", "body", "colour", "color", "fur", "coat", "feather", "plumage", "surface", "hue", "skin", "petal", "shell", "tone",
        "shade", "wing", "exterior", "finish", "fabric", "mane", "hull", "frame", "scale", "glow",
    )
)  # fmt: skip
_REACH = 5  # words between a colour and its noun: "a blue, shiny old sports car"
_LINKING = ("is", "are", "was", "were", "painted", "coloured", "colored", "in", "turns", "looks")


def _belongs(reading: Reading, index: int, places: set[int]) -> bool:
    """Whether the word at `index` is said of a noun at one of the places, or of one of its parts."""
    tokens = reading.tokens
    for i in range(index + 1, min(index + 1 + _REACH, len(tokens))):
        if tokens[i].sentence != tokens[index].sentence or tokens[i].word in lexicon.words("phrase_ends"):
            break
        if i in places:
            return True
        if tokens[i].stem in _PARTS:
            return True
    before = tokens[max(0, index - 3) : index]
    return any(index - 1 - step in places for step in (1, 2)) and any(one.word in _LINKING for one in before)


def colour_added(text: str, attribute: Attribute) -> str:
    """The colour put before its noun, where the noun is first named."""
    reading = read(text)
    places = locate(attribute.noun, reading)
    if attribute.noun is None or not places:
        return text
    token = reading.tokens[places[0]]
    if " " in attribute.noun.key and places[0] and attribute.noun.key.split()[0] == reading.tokens[places[0] - 1].stem:
        token = reading.tokens[places[0] - 1]
    word = attribute.words.lower()
    return with_article(text[: token.start], word) + " " + text[token.start :]


def modifier_added(required: Requirements, text: str, item: Item) -> str:
    """A missing word that describes a thing of the query ('plush' armchair) before that thing; a shade in the place of a colour."""
    described = next((one for one in required.items if one.first == item.last + 1 and one.kind == "object"), None)
    shades = {shade for head, row in lexicon.table("colours").items() for shade in (head, *row)}
    word = item.words.lower()
    if described is None or item.kind != "word" or word.endswith("ing"):
        return text
    if word not in shades and "ADJ" not in parts_of(word):
        return text
    reading = read(text)
    places = locate(described, reading)
    if not places:
        return text
    if word in shades:
        near = reading.tokens[max(0, places[0] - 3) : places[0]]
        colour = next((token for token in near if token.word in shades), None)
        if colour is not None:
            return with_article(text[: colour.start], word) + text[colour.end :]
    at = places[0]
    while at and text[reading.tokens[at - 1].end : reading.tokens[at].start] == "-":
        at -= 1  # 'a double-decker bus' is described before 'double'
    start = reading.tokens[at].start
    return with_article(text[:start], word) + " " + text[start:]


def one_set(text: str, attribute: Attribute, wrong: str) -> str:
    """One of a thing instead of several: the noun takes the query's own form, and the verb after it agrees."""
    if attribute.noun is None:
        return text
    reading = read(text)
    for place in reversed(locate(attribute.noun, reading)):
        before = reading.tokens[max(0, place - 4) : place]
        number = next((token for token in reversed(before) if token.word == wrong), None)
        if number is not None:
            noun = reading.tokens[place]
            verb = reading.tokens[place + 1] if place + 1 < len(reading.tokens) else None
            if verb is not None and verb.sentence == noun.sentence and text[noun.end : verb.start] == " ":
                text = text[: verb.start] + third_person(verb.word) + text[verb.end :]
            text = text[: noun.start] + attribute.noun.words.lower() + text[noun.end :]
            end = number.end + (3 if text[number.end : number.end + 3] == " of" else 0)
            start = number.start - 2 if text[: number.start].lower().endswith("a ") else number.start
            word = text[end:].lstrip()[:1].lower()
            article = "an" if word and word in "aeiou" else "a"
            text = text[:start] + (capital(article) if text[start].isupper() else article) + text[end:]
    return text


def relation_set(text: str, wrong: str, right: str) -> str:
    """Turns the words of one direction into those of the other."""
    plain = {"above": "above", "below": "below", "front": "in front of", "behind": "behind"}
    for word, value in relation_words().items():
        if value == wrong:
            to = right if wrong in ("left", "right", "inside", "outside") else plain[right]
            pattern = rf"\b(?:on|at) (?:the )?{word} of\b|\b{word}\b" if wrong in ("above", "below") else rf"\b{word}\b"
            text = re.sub(pattern, to, text, flags=re.I)
    if wrong == "above":
        text = re.sub(r"\bon(?= (?:a|an|the)\b)(?! the (?:left|right|ground|floor|top))", right, text)
    return text


def thing_set(text: str, item: Item, rival: str) -> str:
    """The item put in the place of its rival wherever that is named, in the rival's form: singular or plural."""
    reading = read(text)
    one = singular(item.words)
    for first in reversed(reading.places.get(rival, ())):
        start, last = reading.tokens[first].start, reading.tokens[first + rival.count(" ")]
        word = plural(one) if is_plural(last.word) else one
        word = capital(word) if text[start].isupper() else word
        text = with_article(text[:start], word) + text[last.end :]
    return text


def word_set(text: str, wrong: str, right: str) -> str:
    """The right word in the place and the form of the wrong one, wherever that is said: 'walks' for 'runs', 'old' for 'young'."""
    reading = read(text)
    for first in reversed(reading.at(wrong)):
        start, last = reading.tokens[first].start, reading.tokens[first + stem_phrase(wrong).count(" ")]
        part = "NOUN" if nominal(reading, first) and "NOUN" in parts_of(right.split()[-1]) else ""
        word = in_form_of(right, text[start : last.end], part)
        word = capital(word) if text[start].isupper() else word
        text = with_article(text[:start], word) + text[last.end :]
    return text


def query_sentences(required: Requirements, missing: Sequence[str], max_words: int) -> list[tuple[float, str]]:
    """The query's own sentences that say what is missing, repaired, each with its place in the query (0 to 1).

    None at all where they have more than `max_words` words, or where one of the missing words is in none of them: a list of
    words is no sentence.
    """
    clean = one_line(harmless(required.text))
    if clean.isupper():
        clean = clean.lower()
    sentences = SENTENCE_END.split(clean)
    wanted = {word: stem_phrase(word).split() for word in missing}
    chosen = [
        (at / len(sentences), joined(capital(sentence)))
        for at, sentence in enumerate(sentences)
        if read(sentence).tokens and (not missing or any(_says(sentence, stems) for stems in wanted.values()))
    ]
    said = " ".join(sentence for _, sentence in chosen)
    if len(said.split()) > max_words or not all(_says(said, stems) for stems in wanted.values()):
        return []
    return chosen


def _says(text: str, stems: Sequence[str]) -> bool:
    places = read(text).places
    return all(one in places for one in stems)


def camera_sentence(item: Item) -> str:
    """A sentence for a camera move asked for by a flag."""
    verb, *rest = item.words.lower().split()
    if verb in ("zoom", "pan", "tilt", "move", "rotate", "orbit"):
        return f"The camera {' '.join([verb + 's', *rest])} slowly."
    if verb.startswith("shak"):
        return "The camera shakes."
    if verb.endswith("ing"):
        return f"The camera is {' '.join([verb, *rest])} slowly."
    if verb in ("static", "fixed"):
        return f"The camera stays {verb}."
    return f"The camera move is {item.words.lower()}."


def motion_sentence(level: int) -> str:
    """A sentence for the amount of motion asked for by a flag."""
    return "Everything moves slowly and gently." if level < 2 else "Everything moves fast and with energy."


def without_words(text: str, words: str) -> str:
    """Drops the clauses that hold the words."""
    for _ in range(_ROUNDS):
        reading = read(text)
        places = reading.at(words)
        if not places:
            break
        last = reading.tokens[places[0] + len(stem_phrase(words).split()) - 1]
        text = without_clause(text, reading.tokens[places[0]].start, last.end)
    return text
