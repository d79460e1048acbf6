"""What a language model writes instead of a scene: talk about the task, and the same again and again."""

import re
from collections import Counter

SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]*\s+")
_WORD = re.compile(r"\w+")
_TALK = re.compile(
    r"\b(?:(?:video |text |user |final |optimi[sz]ed |above )?prompts?|criteria|(?:user'?s?'? |original |short )quer(?:y|ies)|"
    r"as (?:you )?requested|as an ai\b|language model|here(?:'s| is) (?:how|the|an?|my|your)|i hope this|let me know|"
    r"(?:this|the above|the following) (?:short |animated )?(?:video|clip|image|description|rewrite|response|text|sentence)|"
    r"the (?:description|rewrite|response) (?:is|should|aims|meets|ensures|captures|preserves))\b"
    r"|(?<![\w\"'])(?:title|question|answer|introduction|conclusion|sentence|caption|description|output|response|note|summary)s?\s?:(?!\d)",
    re.I,
)
_STUCK = re.compile(r"([^\W\d_]{3,}?)\1{2,}|\b(\w+)(?:\W+\2\b){3,}", re.I)  # 'GirlGirlGirl', 'very very very very'
_LOOP_WORDS, _LOOPS = 5, 4  # a run of so many words that occurs so often
_SENTENCE_WORDS = 3  # shorter ones may stand twice: "Waves break."


def sentences_of(text: str) -> list[str]:
    """The sentences of a text."""
    return [one for one in SENTENCE_END.split(text.strip()) if one]


def ends(text: str) -> bool:
    """Whether a text ends with the end of a sentence."""
    return text.rstrip("\"')]\u201d\u2019 ")[-1:] in (".", "!", "?", "\u2026", "\u3002", "\uff01", "\uff1f")


def talk_in(text: str, query: str) -> str:
    """The first words about the task in the place of the scene, unless the query has them; or nothing."""
    return next((found.group() for found in _TALK.finditer(text) if found.group().lower() not in query.lower()), "")


def repetition_in(text: str, query: str) -> str:
    """What a text says again and again, or nothing."""
    stuck = next((found.group() for found in _STUCK.finditer(text) if found.group().lower() not in query.lower()), "")
    if stuck:
        return stuck
    counts = Counter(key for one in sentences_of(text) if len(key := _key(one)) >= _SENTENCE_WORDS)
    twice = next((key for key, count in counts.items() if count > 1), None)
    if twice:
        return " ".join(twice)
    words = _key(text)
    runs = Counter(words[start : start + _LOOP_WORDS] for start in range(len(words) - _LOOP_WORDS + 1))
    return next((" ".join(run) for run, count in runs.items() if count >= _LOOPS), "")


def without_talk(text: str, query: str) -> str:
    """The sentences that are about the scene, each once; those in which a word got stuck are left out."""
    kept: dict[tuple[str, ...], str] = {}
    for one in sentences_of(text):
        if not talk_in(one, query) and not _STUCK.search(one):
            kept.setdefault(_key(one), one)
    return " ".join(kept.values())


def _key(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))
