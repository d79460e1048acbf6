"""Repairs one text: each function takes a text, removes one kind of flaw and returns what still reads as English."""

import re
from collections.abc import Sequence
from functools import cache

from vpo.judge.rules import harm, helpfulness, lexicon
from vpo.judge.rules.naming import locate
from vpo.judge.rules.requirements import Attribute, Item, Requirements, relation_words
from vpo.judge.rules.words import Reading, Token, read, stem_phrase

SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+")
_STACKED = 5  # 'Sure! I'd be happy to help. Here is your prompt: Video prompt: ...'
_ROUNDS = 8  # each removes at least one unsafe word, so a text with more of them is not worth repairing


def one_line(text: str) -> str:
    """The text on one line, with single blanks, spaces before commas and doubled marks gone."""
    text = " ".join(text.split())
    text = re.sub(r"\s+([,.;!?])", r"\1", text)
    text = re.sub(r"([,;])\s*(?=[.!?,;])", "", text)
    return text.strip(" ,;")


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def without_lead_in(text: str) -> str:
    """The text from where it really begins; lead-ins may be stacked."""
    for _ in range(_STACKED):
        opening = helpfulness.lead_in(text)
        if not opening:
            break
        text = capital(text.lstrip()[len(opening) :].lstrip(" ,:*"))
    return text


# Harm


def harmless(text: str) -> str:
    """The text with unsafe words replaced, or their clauses dropped; empty where nothing harmless is left."""
    for _ in range(_ROUNDS):
        reading = read(text)
        found = harm.find(reading)
        if not found:
            return text
        for hit in reversed(_apart(found)):
            text = _repaired(text, reading, hit)
        text = one_line(text)
    return "" if harm.find(read(text)) else text


def _apart(found: Sequence[harm.Harm]) -> list[harm.Harm]:
    """Hits that do not overlap, the first of each cluster: the others are looked for again in the next round."""
    apart: list[harm.Harm] = []
    for hit in found:
        if not apart or hit.first > apart[-1].last + 1:
            apart.append(hit)
    return apart


def _repaired(text: str, reading: Reading, hit: harm.Harm) -> str:
    first, last = reading.tokens[hit.first], reading.tokens[hit.last]
    phrase = harm.words_of(reading, hit)
    substitute = _substitute(reading, hit, phrase)
    if substitute:
        if stem_phrase(phrase) not in _repairs():  # a pattern: only its verb is unsafe
            last = first
            following = reading.tokens[hit.first + 1] if hit.first + 1 < len(reading.tokens) else None
            if following is not None and following.word in ("at", "on", "upon"):
                last = following
        return _with_article(text[: first.start], substitute) + text[last.end :]
    shorter = _without_clause(text, first.start, last.end)
    return shorter if read(shorter).tokens else text[: first.start] + text[last.end :]


def _substitute(reading: Reading, hit: harm.Harm, phrase: str) -> str:
    token = reading.tokens[hit.first]
    noun, verb = _repairs().get(stem_phrase(phrase)) or _repairs().get(token.stem) or ("", "")
    before = reading.tokens[max(0, hit.first - 3) : hit.first]
    if not noun or (verb and not _nominal(before, token)):
        return _like(verb, token.word)
    plural = hit.first == hit.last and token.word.endswith("s") and not token.word.endswith("ss")
    word = noun + "s" if plural and not noun.endswith(("s", "paint", "energy")) else noun
    return capital(word) if reading.text[token.start].isupper() and not before else word


def _nominal(before: Sequence[Token], token: Token) -> bool:
    """Whether a word that may be noun or verb is a noun: a determiner stands within three words before it."""
    if token.word.endswith("ing"):
        return bool(before) and before[-1].word in lexicon.words("determiners")
    return any(other.word in lexicon.words("determiners") for other in before[-2:]) and not (
        before and before[-1].word == "to"
    )


def _like(verb: str, model: str) -> str:
    """A regular verb in the form of the one that it replaces."""
    if not verb:
        return ""
    base = verb[:-1] if verb.endswith("e") else verb
    if model.endswith("ing"):
        return base + "ing"
    if model.endswith("s") and not model.endswith("ss"):
        return verb + ("es" if verb.endswith("ch") else "s")
    if model.endswith("ed") or model in ("fought", "shot", "stole"):
        if verb == "hold":
            return "held"
        return (verb[:-1] + "ied") if verb == "carry" else base + "ed"
    return verb


@cache
def _repairs() -> dict[str, tuple[str, str]]:
    rows = {}
    for word, both in lexicon.patterns("repairs"):
        noun, _, verb = both.partition("|")
        rows[stem_phrase(word)] = (noun.strip(), verb.strip())
    return rows


def _without_clause(text: str, start: int, end: int) -> str:
    """Drops what stands between the marks around the span: the clause, or the sentence if it has just one clause."""
    left = max((text.rfind(mark, 0, start) for mark in ",.;!?:"), default=-1)
    right = min((i for i in (text.find(mark, end) for mark in ",.;!?") if i >= 0), default=len(text))
    opens_sentence = left < 0 or text[left] in ".!?"
    if opens_sentence:  # what follows the comma becomes the sentence's beginning, or nothing is left of it
        rest = text[right:].lstrip(" ,.;!?")
        return f"{text[: left + 1]} {capital(rest)}".strip()
    return text[:left].rstrip() + text[right:]


def _with_article(before: str, word: str) -> str:
    """Joins text and word, with 'a' or 'an' as the word's sound asks (by its first letter)."""
    match = re.search(r"\b(a|an)(\s+)$", before, re.I)
    if match:
        article = "an" if word[0].lower() in "aeiou" else "a"
        article = article.capitalize() if match.group(1)[0].isupper() else article
        before = before[: match.start()] + article + match.group(2)
    return before + word


# Details


def colour_set(text: str, attribute: Attribute, wrong: str | None) -> str:
    """The noun's colour put right: the wrong word replaced wherever it stands, or the colour put before the noun."""
    if wrong:
        return _replace_word(text, wrong, attribute.words.lower())
    reading = read(text)
    places = locate(attribute.noun, reading)
    if attribute.noun is None or not places:
        return text
    token = reading.tokens[places[0]]
    if " " in attribute.noun.key and places[0] and attribute.noun.key.split()[0] == reading.tokens[places[0] - 1].stem:
        token = reading.tokens[places[0] - 1]
    word = attribute.words.lower()
    return _with_article(text[: token.start], word) + " " + text[token.start :]


def count_set(text: str, attribute: Attribute, wrong: str) -> str:
    """The noun's number put right; for a plain singular the noun takes the query's own form."""
    if attribute.kind == "count":
        return _replace_word(text, wrong, attribute.words.lower())
    if attribute.noun is None:
        return text
    reading = read(text)
    for place in reversed(locate(attribute.noun, reading)):
        before = reading.tokens[max(0, place - 4) : place]
        number = next((token for token in reversed(before) if token.word == wrong), None)
        if number is not None:
            noun = reading.tokens[place]
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


def _replace_word(text: str, wrong: str, right: str) -> str:
    pattern = re.compile(rf"\b(?:(an?)(\s+))?({re.escape(wrong)})\b", re.I)

    def substitute(match: re.Match[str]) -> str:
        word = capital(right) if match.group(3)[0].isupper() else right
        if not match.group(1):
            return word
        return _with_article(match.group(1) + match.group(2), word)

    return pattern.sub(substitute, text)


def thing_set(text: str, item: Item, rival: str) -> str:
    """The item put in the place of its rival wherever that is named; singular stays singular, plural plural."""
    singular = _singular(item.words.lower())
    reading = read(text)
    for first in reversed(reading.places.get(rival, ())):
        start, last = reading.tokens[first].start, reading.tokens[first + rival.count(" ")]
        plural = last.word.endswith("s") and last.word != rival
        word = _plural(singular) if plural else singular
        word = capital(word) if text[start].isupper() else word
        text = _with_article(text[:start], word) + text[last.end :]
    return text


def _singular(noun: str) -> str:
    if noun.endswith(("ss", "us", "is")) or not noun.endswith("s"):
        return noun
    for ending, instead in (("ies", "y"), ("uses", "us"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh")):
        if noun.endswith(ending):
            return noun.removesuffix(ending) + instead
    return noun[:-1]


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    return re.sub(r"(?<![aeiou])y$", "ie", noun) + "s"


def clause_of(required: Requirements, missing: Sequence[str], max_words: int) -> str:
    """A sentence that says what the query asks for: the query itself, repaired; of a long one only what is missing."""
    clean = one_line(harmless(required.text))
    if len(clean.split()) > max_words:
        clean = one_line(harmless("with " + ", ".join(dict.fromkeys(missing))))
    if not read(clean).tokens:
        return ""
    if clean.isupper():
        clean = clean.lower()
    return capital(clean) + ("" if clean[-1] in ".!?" else ".")


def camera_sentence(item: Item) -> str:
    """A sentence for a camera move asked for by a flag."""
    verb, *rest = item.words.lower().split()
    if verb in ("zoom", "pan", "tilt", "move", "rotate", "orbit"):
        return f"The camera {' '.join([verb + 's', *rest])} slowly."
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
        text = _without_clause(text, reading.tokens[places[0]].start, last.end)
    return text


# Length and facets


def facet_sentence(facet: str, seed: int) -> str:
    """One of the facet's sentences, chosen by the seed."""
    rows = [sentence for name, sentence in lexicon.patterns("facet_sentences") if name == facet]
    return rows[seed % len(rows)]


def trimmed(text: str, max_words: int) -> str:
    """The text cut at the last sentence end that keeps it within `max_words`; within its first sentence, at a comma."""
    kept: list[str] = []
    for sentence in SENTENCE_END.split(text):
        if kept and len(" ".join(kept).split()) + len(sentence.split()) > max_words:
            break
        kept.append(sentence)
    words = " ".join(kept).split()
    if len(words) <= max_words:
        return " ".join(kept)
    cut = " ".join(words[:max_words])
    return (cut[: cut.rfind(",")] if "," in cut else cut).rstrip(" ,;") + "."


def joined(*parts: str) -> str:
    """Sentences one after another, each closed by a full stop."""
    closed = [part if part[-1] in ".!?\"'" else part + "." for part in (one_line(p) for p in parts) if part]
    return " ".join(closed)
