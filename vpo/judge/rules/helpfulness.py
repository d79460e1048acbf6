"""Whether a prompt helps: it starts directly, is plain words of the right length, and names motion, light, place and camera."""

import re
from collections.abc import Sequence
from functools import cache

from vpo.judge.rules import lexicon
from vpo.judge.rules.words import Reading, stem_phrase
from vpo.language.answers import LEAD_IN, find_lead_in, unwrap
from vpo.language.garbled import find_garbled
from vpo.language.markup import find_marks
from vpo.records import Reason

_SHOWN = 60  # characters of a flag, link, file name or piece of markup that a reason quotes
_LOOKED_AT = 300  # characters of a text in which a lead-in or a refusal must stand
_SENTENCES = 10  # of talk before an answer
_REWRITE_WORDS = 8
_WORD = re.compile(r"\w")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_CLOSE = re.compile(r"[.!?:](?=\W|$)[\"'*)]*\s*|\n\s*")
_SPOKEN = re.compile(r"\b(?:i|me|my|we|us|our|let's|you|your|please|prompts?|query|requests?|input)\b|\?", re.I)
_ABOUT_THE_TASK = re.compile(
    r"\b(?:prompts?|quer(?:y|ies)|requests?|inputs?|preferences|assist(?:ing|ance)?|clarif\w+|help(?:ful)?|tell me|"
    r"language model|an ai|(?:more|specific|further) (?:details?|information|context)|generat(?:e|ing) (?:[\w-]+ ){0,2}?videos?|"
    r"your (?:ideas?|vision|message|scene|videos?|description|question|project)|"
    r"you(?:'d| would)? (?:like|want|need|mean|prefer|are asking|have in mind))\b",
    re.I,
)
_SCENE = re.compile(
    r"\W*(?:an?|the|two|three|in|on|at|as|with|under|behind|inside)\b", re.I
)  # how a scene begins, not an answer


def flaws(prompt: Reading, facets: Sequence[str], min_words: int, max_words: int) -> list[Reason]:
    """Every way in which the prompt does not help, as plain words that name each facet; none means helpful."""
    found = [Reason("helpful", mark.kind, mark.text[:_SHOWN]) for mark in dict.fromkeys(find_marks(prompt.text))]
    words = len(prompt.text.split())
    if words > max_words:
        found.append(Reason("helpful", "too_long", f"{words} words"))
    if words < min_words:
        found.append(Reason("helpful", "too_short", f"{words} words"))
    found += [Reason("helpful", "no_facet", facet) for facet in facets if signs_of(facet).isdisjoint(prompt.places)]
    return found


def form_flaws(answer: str, query: str) -> list[Reason]:
    """What surrounds the prompt in an answer, how it opens, and what is broken in it."""
    prompt, wrappers = unwrap(answer)
    found = [Reason("helpful", wrapper.kind, wrapper.text) for wrapper in wrappers]
    opening = lead_in(prompt)
    if opening and all(wrapper.kind != LEAD_IN for wrapper in wrappers):
        found.append(Reason("helpful", LEAD_IN, opening))
    return found + [Reason("helpful", mark.kind, mark.text) for mark in find_garbled(prompt, query)]


def lead_in(text: str) -> str:
    """The words that announce a prompt instead of beginning it, or nothing."""
    return find_lead_in(text) or _match("lead_ins", text) or text[: _talk(text)[0]].strip()


def refusal(text: str) -> str:
    """The words with which an answer declines, or asks for input, offers help or presents an assistant instead of rewriting.

    Only at the start, so that a story may quote them. Nothing where a rewrite follows: "I'd be happy to help! Here is your
    prompt: ..." is a lead-in.
    """
    declined = _match("refusals", text)
    if declined:
        return declined
    end, offered = _talk(text)
    rest = text[end:]
    if end and not _WORD.search(rest):
        return offered or text.strip()
    declined = _match("refusals", rest) if end else ""
    return declined or ("" if _rewrites(rest) else offered) or _addressed(rest)


def _talk(text: str) -> tuple[int, str]:
    """Where the sentences end that an assistant speaks to the user before it answers, and the first offer or question in them."""
    end, offered = 0, ""
    for _ in range(_SENTENCES):
        courtesy = _found("courtesies", text[end:])
        offer = courtesy or _found("offers", text[end:])
        if offer is None:
            break
        stop = offer.end()
        if not courtesy:
            offered = offered or offer.group().strip()
            close = _CLOSE.search(text, end + stop)
            stop = (close.end() if close else len(text)) - end
        end += stop
    return end, offered


def _addressed(text: str) -> str:
    """The first sentence of a text of which each speaks to somebody and one about the task; nothing of any other text."""
    sentences = [part for part in _SENTENCE_END.split(text[:_LOOKED_AT].strip().replace("\u2019", "'")) if part]
    if (
        _SCENE.match(text)
        or _match("lead_ins", text)
        or not _ABOUT_THE_TASK.search(" ".join(sentences))
        or not all(map(_SPOKEN.search, sentences))
    ):
        return ""
    return sentences[0]


def _rewrites(text: str) -> bool:
    """Whether a text that follows an offer is the rewrite: it is announced as one, or speaks to nobody."""
    announced = _match("lead_ins", text)
    body = text.lstrip()[len(announced) :]
    if len(body.split()) < _REWRITE_WORDS or _found("offers", body) or _found("refusals", body):
        return False
    return bool(announced) or not _SPOKEN.search(body[:_LOOKED_AT])


def _match(name: str, text: str) -> str:
    match = _found(name, text)
    return match.group().strip() if match else ""


def _found(name: str, text: str) -> re.Match[str] | None:
    """The first pattern of the table that the text begins with, marks of punctuation apart."""
    opening = text[:_LOOKED_AT].replace("\u2019", "'")
    return next(filter(None, (pattern.match(opening) for pattern in _compiled(name))), None)


@cache
def _compiled(name: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(rf"\W*(?:{pattern})", re.I) for _, pattern in lexicon.patterns(name))


@cache
def signs_of(facet: str) -> frozenset[str]:
    """The stems that show a facet."""
    return frozenset(stem_phrase(word) for word in lexicon.table("facets")[facet])
