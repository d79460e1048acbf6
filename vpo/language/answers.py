"""Extracts the prompt from what a language model answers: without reasoning, JSON, fences, tags, quotes, announcements and notes.

One place for all who read answers: the rule judge, the guard of an optimizer, judges that are language models. A scene that
merely sounds like a wrapper stays as it is ("Here, a dog runs", "Below is a valley", "a sign with the caption: OPEN").
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from vpo.language import chinese
from vpo.language.marks import without_marks_around
from vpo.language.markup import ELEMENTS

THINKING, JSON, FENCE, TAGS, QUOTES, LEAD_IN, NOTE, ALTERNATIVES, MARKS = KINDS = (
    "thinking", "json", "code_fence", "tags", "quotes", "lead_in", "note", "alternatives", "marks",
)  # fmt: skip
ENCLOSING = frozenset({THINKING, JSON, FENCE, TAGS, QUOTES, MARKS})  # that begin before the prompt and are no sentence
_ROUNDS = 12  # wrappers may be stacked: a fence around JSON around quotes, with a note behind
_LEAST_WORDS = 3  # in a wrapper, to be the prompt; a quoted sign text stays a detail
_SHOWN = 60


class Wrapper(NamedTuple):
    """What surrounds a prompt in an answer: its kind (of `KINDS`) and how it begins."""

    kind: str
    text: str


class Unwrapped(NamedTuple):
    """The prompt of an answer (empty where there is none), and what surrounded it, from the outside inwards."""

    prompt: str
    wrappers: tuple[Wrapper, ...]


@lru_cache(maxsize=4096)
def unwrap(answer: str) -> Unwrapped:
    """The prompt alone; the answer as it is where nothing surrounds it. Work is linear in the length, a few times over."""
    found: list[Wrapper] = []
    text = answer
    for _ in range(_ROUNDS):
        for kind, rule in _RULES:
            inner = rule(text)
            if inner is not None and inner != text:
                found.append(Wrapper(kind, " ".join(text[: 4 * _SHOWN].split())[:_SHOWN]))
                text = inner
                break
        else:
            break
    return Unwrapped(text.strip() if found else answer, tuple(found))


# Scripts without spaces (kana, Chinese, Thai): each of their letters counts as a word.
_WORD = re.compile(
    r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)


def _words(text: str) -> int:
    return len(_WORD.findall(text))


# Reasoning

_THOUGHT = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|scratchpad|reflection|analysis|plan(?:ning)?)"
_THOUGHT_BLOCK = re.compile(rf"[<\[]\s*({_THOUGHT})\s*[>\]].*?(?:[<\[]\s*/\s*\1\s*[>\]]|\Z)", re.I | re.S)
_THOUGHT_END = re.compile(rf"\A.*[<\[]\s*/\s*{_THOUGHT}\s*[>\]]", re.I | re.S)
_HEAD = r"(?:^|\n)[ \t]*(?:[#>*_]+[ \t]*)*"
_HEAD_END = r"[ \t]*[*_]*[ \t]*:[ \t*_]*\n?"
_THOUGHT_HEAD = re.compile(
    rf"\A\s*{_HEAD}(?:my |the |chain[- ]of[- ]|step[- ]by[- ]step )?(?:{_THOUGHT}|"
    rf"rationale|explanation|thought process|let's think)"
    rf"(?: (?:process|steps?|step by step))?{_HEAD_END}|\A\s*(?:let me think|let's think)\b[^.:\n]*[.:\n]",
    re.I,
)


def _without_thinking(text: str) -> str | None:
    thought_of = chinese.without_thinking(text)
    if thought_of is not None:
        return thought_of
    plain = _THOUGHT_BLOCK.sub(" ", text)
    plain = _THOUGHT_END.sub(" ", plain)  # a chat template may have opened it
    if plain != text:
        return plain.strip()
    head = _THOUGHT_HEAD.match(text)
    if head is None:
        return None
    rest = text[head.end() :]
    answers = list(_ANSWER_HEAD.finditer(rest))
    if answers:
        return rest[answers[-1].end() :].strip()
    return rest.rsplit("\n\n", 1)[1].strip() if "\n\n" in rest.strip() else ""


# JSON

_JSON_START = re.compile(r"[\[{]\s*[\"'\[{]")
_PROMPT_KEY = re.compile(r"prompt|rewrit|enhanced|refined|optimi[sz]ed|revised", re.I)
_TEXT_KEY = re.compile(r"description|caption|output|text|result|answer|response|content|video|scene|query", re.I)
_OTHER_KEY = re.compile(
    r"negative|original|user|input|reason|explain|explanation|note|thought|think|source|raw|\bid\b|title|status", re.I
)
_LOOSE_JSON = re.compile(r"\A\s*[\[{].{0,2000}?[\"'](\w*prompt\w*)[\"']\s*:\s*\"((?:[^\"\\]|\\.)*)", re.I | re.S)


def _out_of_json(text: str) -> str | None:
    for start in [match.start() for match in _JSON_START.finditer(text)][:3]:
        value = _decoded(text[start:])
        inner = _prompt_in(value)
        if _words(inner) >= _LEAST_WORDS and _words(text[:start]) <= _words(inner):
            return inner
    loose = _LOOSE_JSON.match(text)  # cut off, or with a comma too many
    return loose[2].replace('\\"', '"').replace("\\n", " ") if loose and not _OTHER_KEY.search(loose[1]) else None


def _decoded(text: str) -> Any:
    try:
        return json.JSONDecoder(strict=False).raw_decode(text)[0]
    except (ValueError, RecursionError):
        end = max(text.rfind("}"), text.rfind("]")) + 1
    try:
        return ast.literal_eval(text[:end]) if end < 20_000 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _prompt_in(value: Any) -> str:
    """The prompt in decoded JSON: what is named so, else what is named like a text, else the strings one after another."""
    if isinstance(value, str):
        return value
    leaves = list(_leaves(value, ""))
    for name in (_PROMPT_KEY, _TEXT_KEY):
        named = [text for key, text in leaves if name.search(key) and not _OTHER_KEY.search(key.rsplit(".", 1)[-1])]
        if named and _words(max(named, key=_words)) >= _LEAST_WORDS:
            return named[0] if _words(named[0]) >= _LEAST_WORDS else max(named, key=_words)
    if isinstance(value, list) and leaves:
        return leaves[0][1]
    kept = [text.strip() for key, text in leaves if not _OTHER_KEY.search(key)]
    return " ".join(text if text[-1:] in ".!?" else f"{text}." for text in kept if text)


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _leaves(one, f"{key}.{name}")
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one, key)


# Fences, tags, quotes

_FENCE = re.compile(r"(```|~~~)[ \t]*[\w-]*[ \t]*\n?(.*?)\1", re.S)
_TAG = re.compile(
    r"<\s*([a-z][\w-]{0,40})(?:\s[^<>\n]{0,200})?>(.*?)</\s*\1\s*>|\[([a-z][\w-]{0,40})\](.*?)\[/\3\]", re.I | re.S
)
_BOXED = re.compile(r"\\boxed\{(?:\\text\{)?(.*?)\}?\}", re.S)
_QUOTES = {
    '"': '"',
    "\u201c": "\u201d",
    "\u201e": "\u201c",
    "\u00ab": "\u00bb",
    "'": "'",
    "\u2018": "\u2019",
    "\u300c": "\u300d",
    "\u300e": "\u300f",
}
_HTML = frozenset(ELEMENTS.split("|"))


def _out_of_fence(text: str) -> str | None:
    return _largest([match[2] for match in _FENCE.finditer(text)], text)


def _out_of_tags(text: str) -> str | None:
    found = [(match[1] or match[3], match[2] or match[4] or "") for match in _TAG.finditer(text)]
    named = [inner for name, inner in found if name.lower() not in _HTML and not _OTHER_KEY.search(name)]
    return _largest(named or [match[1] for match in _BOXED.finditer(text)], text)


def _largest(parts: list[str], text: str) -> str | None:
    """The longest of the parts, where it is longer than what stands around the parts."""
    best = max(parts, key=_words, default="")
    return best.strip() if _words(best) >= max(_LEAST_WORDS, (_words(text) - sum(map(_words, parts))) / 2) else None


def _out_of_quotes(text: str) -> str | None:
    plain = text.strip().rstrip(".") if text.strip()[-2:] in ('".', "\u201d.") else text.strip()
    close = _QUOTES.get(plain[:1], "")
    if not close or len(plain) < 3 or plain[-1] != close:
        return None
    inner = plain[1:-1]
    apart = re.sub(r"(?<=\w)['\u2019](?=\w)|(?<=s)['\u2019](?=\s)", "", inner)  # apostrophes
    if close in apart or plain[0] in apart or _words(inner) < _LEAST_WORDS:
        return None
    return inner.strip()


# Announcements

_ADJECTIVE = (
    r"(?:my|your|our|the|an?|new|final|full|complete|detailed|short|long|video|text[- ]to[- ]video|t2v|film|movie|clip|image|visual|"
    r"scene|generation|cinematic|user|model|ai|prompt|suggested|proposed|possible|alternative|resulting|generated|english|safe|"
    r"harmless|ready[- ]to[- ]use|positive|main|concise|vivid|rich|richer|descriptive|better|best|"
    r"(?:re-?|up|out)?(?:written|worked|phrased|vised|fined|dated|graded|created|formulated|done)|"
    r"(?:enhanc|enrich|expand|extend|elaborat|improv|optimi[sz]|polish|edit|modifi|correct|"
    r"adjust|clean|augment|tweak|transform)ed(?:[- ]up)?)"
)
_THING = (
    r"(?:prompts?|descriptions?|captions?|outputs?|answers?|responses?|results?|rewrites?|rewriting|revisions?|versions?|quer(?:y|ies)|"
    r"scripts?|drafts?|completions?|translations?|enhancements?|expansions?)"
)
_ASIDE = r"(?: ?\([^()\n]{1,40}\)| ?\[[^\[\]\n]{1,40}\])?"
_LABEL = (
    rf"(?:(?:{_ADJECTIVE}(?:\s|, | and | & )){{0,6}}{_THING}|(?:{_ADJECTIVE}\s){{0,2}}"
    r"(?:rewritten|enhanced|refined|improved|optimi[sz]ed|revised|expanded|polished|reworked|elaborated|assistant|ai|model))"
    rf"{_ASIDE}(?: ?#?\d{{1,2}}(?=\W))?(?: (?:for|of|based on|with|in|to|that|which|using|ready)\b"
    r"(?:[^:.\n]|(?<=\d)\.(?=\d)){0,80})?"
)
_ANSWER_HEAD = re.compile(rf"{_HEAD}{_LABEL}{_HEAD_END}", re.I)
_YES = (
    r"(?:(?:sure(?: thing)?|certainly|of course|absolutely|definitely|okay|ok|alright|all right|"
    r"(?:great|perfect|right)(?=[ \t]*[!.:\u2013\u2014])|yes|yeah|gladly|got it|"
    r"understood|no problem|with pleasure|very well)(?![\w'-])[ \t]*(?:[,.!:\u2013\u2014-]+|(?=here\b))\s*)"
)
_POINTER = (
    r"(?:so,? |now,? |and )?(?:(?:here|below)(?:'s| is| are)?|(?:the )?following (?:is|are)|this (?:is|would be)|"
    r"what follows is|(?:please )?(?:find|see)|"
    r"presenting|introducing|(?:i|we)(?:'ve| have|'d| would|'ll| will)?(?: now| also| just)? "
    r"(?:suggest|propose|recommend|offer|present|give you|came up with))"
)
_SAYS = (  # what is said of a prompt, but not of a thing in a scene: "the description is written on a wall"
    r"(?:(?:now |also |above |below |here |"
    r"still |fully )?(?:(?:is|are|was|has|have|should|will|can|could) (?!(?:written|carved|painted|printed))|"
    r"(?:add|captur|keep|includ|maintain|emphasi[sz]|provid|"
    r"describ|focus|ensur|aim|creat|expand|enhanc|us|follow|evok|highlight|incorporat|offer|set|paint|retain|preserv|giv|combin|bring|specif|"
    r"reflect|stay|depict|show|convey|leav|avoid|remov|integrat|blend|balanc|translat)(?:e?s|ed|ies)\b))"
)
_OPEN = r"\A[\s\"'*_#>\u201c(-]{0,12}"
_CLOSE = r"[\s\"*_]*(?::|\.{3}|\u2026|\n|[.!](?=\s))[\s*_]*"
_LEAD_INS = (
    rf"{_OPEN}{_YES}?(?:{_POINTER}\b[^:.!\n]{{0,60}}?\b{_THING}\b[^:.!\n]{{0,80}}?{_CLOSE})",
    rf"{_OPEN}{_YES}?(?:here(?:'s| is| are) (?:what|how|my|our)|let's|let me|for your|"
    rf"to \w+ (?:your|this|the))\b[^:.!\n]{{0,100}}"
    rf"(?:(?<=following)|\b(?:i|we|me|us|my|your|let's|prompt|quer(?:y|ies))\b[^:.!\n]{{0,60}})[ \t*_]*:[\s*_]*",
    rf"{_OPEN}{_YES}?here(?:'s| is) (?:one|it|mine|(?:an? |the )?\w+ing)\b[^:.!\n]{{0,40}}:[\s*_]*",
    rf"{_OPEN}(?:title|name|theme|genre|topic)[*_]*:(?:[^:\n]{{0,80}}\n|[^:.!?\n]{{0,40}}[.!?](?=\s))\s*",
    rf"{_OPEN}question[*_]*:[^\n]{{0,200}}?\banswer[*_]*:[\s*_]*",
    rf"{_OPEN}(?:i(?:'d| would|'m| am|'ll| will) (?:be )?(?:more than )?(?:happy|glad|delighted|pleased|here|love) to (?:help|assist)|"
    r"(?:what (?:an? )?)?(?:great|good|nice|wonderful|lovely|interesting|fun|cool|fantastic) "
    r"(?:idea|query|prompt|choice|request|question|concept)(?=[ \t]*[!.])|"
    r"thank(?:s| you)(?: so much| very much)? for (?:your|the|sharing|providing|asking)|i hope (?:this|that|it)|"
    r"you are an? (?:\w+ ){0,3}(?:assistant|writer|expert|model|engineer))\b[^:.!?\n]{0,80}[:.!]\s*",
    rf"{_OPEN}(?:this|the|that|your|my)(?: \w+){{0,2}} (?:prompt|rewrite|description|query|revision)s? {_SAYS}"
    r"[^.!?\n]{0,300}[.!?](?=\s)\s*",
    rf"{_OPEN}{_YES}?here (?:you go|you are|it is|we go|goes)\b[ \t]*(?:[,.!:\u2013\u2014-]+|\n)\s*",
    rf"{_OPEN}{_YES}?(?:as (?:requested|asked|you (?:asked|requested|wished|wanted))|per your (?:request|instructions?)|"
    r"at your request|by request)(?:[ \t]*[,.!:\u2013\u2014-]+|\n)\s*",
    rf"{_OPEN}{_YES}?(?:based on|given|using|following|according to|in response to) (?:your|the|this)(?: \w+){{0,3}} "
    rf"(?:quer(?:y|ies)|requests?|inputs?|prompts?|instructions?|ideas?|guidelines|requirements)\b[^:.!\n]{{0,80}}{_CLOSE}",
    rf"{_OPEN}{_YES}?(?:i|we)(?:'ve| have)?(?: now| also| just| carefully)? (?:{_ADJECTIVE}|made|written|"
    rf"prepared|crafted|created|kept)"
    rf"\b[^:.!\n]{{0,60}}\b{_THING}\b[^:.!\n]{{0,80}}{_CLOSE}",
    rf"{_OPEN}{_LABEL}(?<!\w a)[*_]*[ \t]*(?::|\n|[\u2013\u2014-](?=\s))[\s*_]*",
    rf"{_OPEN}(?:{_YES}){{1,2}}(?=[\"*_\u201c\u2018A-Z])",
)  # fmt: skip
_ECHOED = (  # the query once more, before the announcement
    rf"{_OPEN}(?:(?:original|given|user|your)[ -])?(?:inputs?|query|(?<=[ -])(?:prompt|description|request))[*_]*:[^\n]{{0,300}}\s*"
    rf"{_HEAD}{_LABEL}{_HEAD_END}"
)
_SENTENCE = (  # "The revised prompt is as follows:"
    rf"{_OPEN}{_YES}?{_LABEL}(?: (?:is|reads|would be|could be|looks like|goes)(?: as follows| the following| this)?)[ \t*_]*:[\s*_]*"
)
_MODE = rf"{_OPEN}(?:normal|master) mode(?: (?:output|rewrite|result))?[*_]*[ \t]*(?::|\n|[-\u2013\u2014](?=\s))[\s*_]*"
_DONE_TO = (
    rf"{_OPEN}(?:the )?(?:modified|rewritten|revised|enhanced|refined|improved|optimi[sz]ed|expanded) "
    r"(?:inputs?|texts?|sentences?|paragraphs?|requests?)[ \t*_]*:[\s*_]*"
)
_LEAD_IN = tuple(re.compile(pattern, re.I) for pattern in (_ECHOED, _SENTENCE, _MODE, _DONE_TO, *_LEAD_INS))
_LOOKED_AT = 400


def find_lead_in(text: str) -> str:
    """The words that announce a prompt ("Below is the refined prompt:", "Output:"), or nothing."""
    opening = text[:_LOOKED_AT].replace("\u2019", "'").replace("\uff1a", ":")
    match = next(filter(None, (pattern.match(opening) for pattern in _LEAD_IN)), None)
    return text[: match.end()].strip() if match and match.end() else chinese.find_lead_in(text[:_LOOKED_AT])


def _without_lead_in(text: str) -> str | None:
    announced = find_lead_in(text)
    rest = text.lstrip()[len(announced) :].lstrip(" \t\n:\uff1a*_")
    return rest if announced and _words(rest) else None


# Notes and alternatives

_NOTES = re.compile(
    r"(?:\n|(?<=[.!?\"\u201d*])\s+)[\s\[(*_#>-]{0,12}(?:"
    r"(?:(?:please |important |side )?notes?|n\.?b\.?|p\.?s\.?|disclaimer|negative(?:[ _-]prompts?)?|word[ _-]?count|"
    r"(?:total )?(?:words|length|tokens|characters)|key ?words|hash ?tags|tags|"
    r"explanations?|rationale|reasoning|changes(?: made)?|key (?:changes|elements|improvements|details)|improvements(?: made)?|"
    r"conclusion|introduction|summary|question|answer|response|"
    r"original (?:query|prompt|input)|input(?: query)?|user(?: query| input)?|human|sources?|references?|duration|"
    r"aspect ratio|resolution|"
    r"why (?:it|this) works|breakdown|technical (?:details|notes|specifications)|"
    r"end of (?:prompt|answer|output))[*_ \t]*(?::|\u2014|$|\n)"
    r"|(?:this|the|that)(?: \w+){0,2} (?:prompt|rewrite|version|description|query|revision|wording)s? "
    rf"{_SAYS}"
    r"|this (?:short |animated |ai )?(?:video|clip|image|animation|text) "
    r"(?:is (?:an?|the|about|meant|designed|intended|perfect|ideal) |was (?:made|created|generated)\b|aims?\b|should\b|would\b)"
    r"|here(?:'s| is) how\b"
    r"|(?:i|we)(?:'ve| have|'d| would|'m| am|'ll| will)? (?:\w+ )?(?:added|add|kept|keep|included|expanded|enhanced|tried|hope|"
    r"removed|made sure|aimed|"
    r"ensured|used|focused|replaced|rewrote|changed|maintained|happy|glad|can (?:also )?(?:adjust|change|add|make|create))\b"
    r"|let me know\b|feel free\b|if you(?:'d| would)? (?:like|want|need|prefer|have)\b|would you like\b|do you (?:want|need)\b|"
    r"is there anything\b|please (?:let|feel|note|tell)\b|hope (?:this|that|it)\b|happy (?:creating|filming|generating)\b|enjoy!|"
    r"\(?(?:approximately |approx\.? |about |total:? )?\d{2,3} words?\)?[.)\s*_]*$"
    r").*",
    re.I | re.S,
)
_OPTION = r"(?:option|version|variation|variant|alternative|prompt|take|choice|idea|concept|example|rewrite|draft)"
_OPTIONS = re.compile(
    rf"(?:\A|\n|(?<=[.!?:\"])\s)[\s*_#>-]{{0,8}}(?:{_OPTION} ?#?(?:\d{{1,2}}|[a-d]|one|two|three)\b{_ASIDE}"
    rf"[^:.\n]{{0,40}}?[*_]*(?::|\.|\n|\u2013|\u2014)[*_]*"
    rf"|(?:or|alternatively|another {_OPTION})[*_]*(?::|\n)[*_]*)",
    re.I,
)
_LEAST_BEFORE_NOTE = 5  # words


def _without_notes(text: str) -> str | None:
    found = [place for search in (_note_from, chinese.notes_from) if (place := _first_note(text, search)) is not None]
    return text[: min(found)].rstrip(" \t\n-*_(\uff08") if found else None


def _note_from(text: str, start: int) -> int | None:
    match = _NOTES.search(text, start)
    return match.start() if match else None


def _first_note(text: str, search: Callable[[str, int], int | None]) -> int | None:
    """Where the first note begins that has a prompt before it."""
    place = search(text, 0)
    while place is not None and _words(text[:place]) < _LEAST_BEFORE_NOTE:
        place = search(text, place + 1)
    return place


def _first_alternative(text: str) -> str | None:
    heads = list(_OPTIONS.finditer(text))
    if len(heads) < 2 and not (heads and re.search(r"\b(?:or|alternatively|another)\b", heads[0][0], re.I)):
        return None
    pieces = [text[: heads[0].start()]]
    pieces += [text[one.end() : two.start()] for one, two in pairwise(heads)] + [text[heads[-1].end() :]]
    first = pieces[0] if len(heads) == 1 else pieces[1]
    return first.strip() if _words(first) >= _LEAST_WORDS else None


_RULES: tuple[tuple[str, Callable[[str], str | None]], ...] = (
    (THINKING, _without_thinking),
    (JSON, _out_of_json),
    (FENCE, _out_of_fence),
    (TAGS, _out_of_tags),
    (ALTERNATIVES, _first_alternative),
    (LEAD_IN, _without_lead_in),
    (NOTE, _without_notes),
    (QUOTES, _out_of_quotes),
    (MARKS, without_marks_around),
)
