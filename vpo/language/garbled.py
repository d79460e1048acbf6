"""What is broken in a text itself: another script, wrongly decoded letters, loops, a cut-off end, echoes of an instruction.

Each kind is found and taken out; what is left may be nothing. The rule judge and the guard of an optimizer ask here. The guard
names the instruction with which its model was asked; without it the project's own templates are known.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib import resources

from vpo.language.answers import Wrapper

KINDS = SCRIPT, DECODING, LOOP, CUT_OFF, ECHO = ("other_script", "decoding", "loop", "cut_off", "echo")

_SENTENCES = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])[\"')\]\u201d]*\s+|\n+|(?<=[\u3002\uff01\uff1f])")
_CLAUSES = re.compile(r"(?<=[.!?,;:\u3002\uff0c\uff01\uff1f])\s*")
_WORD = re.compile(r"[^\W_]+(?:['\u2019][a-z]+)?")
_SHOWN = 60
_DENSE = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL")  # one letter is a word or a syllable
# Scripts that stand beside one another in one language: whoever asks in kanji may be answered in kana.
_BESIDE = frozenset({"CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH"})
_FEW_LETTERS = 3  # of another script: a formula's letter is none
_LONG_SENTENCE = 5  # words from which on a sentence said twice is a loop
_RUN = 6  # words that stand three times in a text
_ECHOED = 8  # words in a row of an instruction
# What UTF-8 looks like when it is read as Windows-1252, and what stands for letters that could not be read at all.
_MISREAD = re.compile(
    "[\u00c2\u00c3][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
    "|\u00e2(?:\u20ac|\u0080)[\u0080-\u00bf\u0152\u0153\u02dc\u2013-\u203a\u2122]?|\ufffd+|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]+"
)
_STUCK = re.compile(r"([^\W\d_]{3,}?)\1{2,}|\b(\w+)(?:\W+\2\b){3,}", re.I)  # 'GirlGirlGirl', 'very very very very'
_LABEL = re.compile(r"^\s*([A-Z][\w ]{2,30}):", re.M)  # what an instruction calls its parts: "Video Prompt:"
_SENTENCE_ENDS = frozenset(".!?\u2026\u3002\uff01\uff1f")
# Without those that may end a sentence: "zooms in", "people walk around".
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the and or but nor of at to into onto from with without for as than via per while where when whose which that their "
        "its his my your our is are was were be been being has have had because although if between toward towards against during "
        "beside amid among upon",
    )
)
_MARKERS = re.compile(
    r"(?:input|user(?:'s)?|original) (?:query|input|prompt) ?:|\[/?INST\]|<</?SYS>>"
    r"|^#{2,} ?(?:instruction|input|response|system)s?\b:?"
    r"|\{(?:query|prompt|user_query|input)?\}|^(?:system|user|human|assistant) ?:",
    re.I | re.M,
)


_INSTRUCTION = re.compile(r"\[INST\].*?\[/INST\]|<<SYS>>.*?<</SYS>>", re.I | re.S)


def find_garbled(text: str, query: str = "", instruction: str = "") -> tuple[Wrapper, ...]:
    """What is broken in the text, each kind once; the query's own scripts and words are at home in it.

    Args:
        instruction: with which a language model was asked for the text, with {} where the query stands. It must not be repeated, nor
            what it calls its parts ("Video Prompt:").
    """
    found = {
        SCRIPT: _foreign(text, query),
        DECODING: _shown(_MISREAD.search(text)) if not _MISREAD.search(query) else "",
        LOOP: _looped(text, query),
        CUT_OFF: _loose_end(text, query),
        ECHO: _echo(text, query, instruction),
    }
    return tuple(Wrapper(kind, words[:_SHOWN]) for kind, words in found.items() if words)


def without_garbled(text: str, query: str = "", instruction: str = "") -> str:
    """The text without what is broken in it; the text as it is where nothing is."""
    kinds = {one.kind for one in find_garbled(text, query, instruction)}
    if DECODING in kinds:
        text = _decoded(text)
    if ECHO in kinds:
        text = _INSTRUCTION.sub(" ", text).strip()
        text = " ".join(part for part in _SENTENCES.split(text) if part and not _echo(part, query, instruction))
    if SCRIPT in kinds:
        text = " ".join(part for part in _CLAUSES.split(text) if part and not _foreign(part, query))
    if LOOP in kinds:
        text = _once(text, query)
    if CUT_OFF in kinds or (kinds and _loose_end(text, query)):
        text = closed(text)
    return text.strip() if kinds else text


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, which lines end, too."""
    return [one for one in _SENTENCES.split(text.strip()) if one]


def ends(text: str) -> bool:
    """Whether a text ends with the end of a sentence."""
    return text.rstrip("\"')]\u201d\u2019 ")[-1:] in _SENTENCE_ENDS


def closed(text: str) -> str:
    """The text up to its last whole sentence; its only sentence without the loose words at its end."""
    end = max((match.end() for match in re.finditer(r"[.!?][\"')\]\u201d]*(?=\s)", text)), default=0)
    if end:
        return text[:end]
    words = text.rstrip(" ,-").split()
    while words and words[-1].lower().strip(",-") in _FUNCTION_WORDS:
        words.pop()
    return f"{' '.join(words).rstrip(' ,-')}." if words else ""


def _shown(match: re.Match[str] | None) -> str:
    return match.group().encode("unicode_escape").decode() if match else ""


# Scripts


def _foreign(text: str, query: str) -> str:
    """Letters of a script that the query does not use, as they stand in the text."""
    if text.isascii():
        return ""
    home = {_script(letter) for letter in set(query)} | {"LATIN", ""}
    if not home.isdisjoint(_DENSE):
        home |= _BESIDE
    letters = [letter for letter in text if not letter.isascii() and _script(letter) not in home]
    enough = len(letters) >= _FEW_LETTERS or any(_script(letter) in _DENSE for letter in letters)
    return "".join(letters) if enough else ""


@lru_cache(maxsize=10_000)
def _script(letter: str) -> str:
    return unicodedata.name(letter, "").split(" ", 1)[0].split("-", 1)[0] if letter.isalpha() else ""


def _decoded(text: str) -> str:
    """The text with runs of misread letters read again; what cannot be is dropped."""
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]+", "", text)
    for encoding in ("cp1252", "latin-1"):
        try:
            return text.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
    return _MISREAD.sub("", text)


# Loops


def _looped(text: str, query: str) -> str:
    """A word that is stuck, a sentence said again, a run of words said three times; nothing where the query says it so itself."""
    stuck = _stuck(text, query)
    if stuck:
        return stuck
    counts = Counter(_key(sentence) for sentence in _SENTENCES.split(text))
    again = next((key for key, n in counts.items() if n > 2 or (n > 1 and len(key) >= _LONG_SENTENCE)), ())
    if again and len(again) > 1:
        return " ".join(again)
    words = _key(text)
    runs = Counter(words[i : i + _RUN] for i in range(len(words) - _RUN + 1))
    run, times = max(runs.items(), key=lambda item: item[1], default=((), 0))
    return " ".join(run) if times > 2 and " ".join(run) not in " ".join(_key(query)) else ""


def _stuck(text: str, query: str) -> str:
    """A piece of a word said three times in it, or a word four times in a row."""
    return next((found.group() for found in _STUCK.finditer(text) if found.group().lower() not in query.lower()), "")


def _key(text: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(text))


def _once(text: str, query: str) -> str:
    """Each sentence once, those in which a word is stuck left out, and of a run of words that goes on and on its first round."""
    kept: dict[tuple[str, ...], str] = {}
    for sentence in _SENTENCES.split(text):
        if not _stuck(sentence, query):
            kept.setdefault(_key(sentence), sentence)
    text = " ".join(sentence for sentence in kept.values() if sentence)
    words, seen = text.split(), Counter[tuple[str, ...]]()
    for i in range(len(words) - _RUN + 1):
        run = _key(" ".join(words[i : i + _RUN]))
        seen[run] += 1
        if seen[run] > 1 and len(run) == _RUN:
            return " ".join(words[:i])
    return text


# Ends and echoes


def _loose_end(text: str, query: str) -> str:
    """The last word of a text that stops in the middle of a sentence."""
    end = text.rstrip()
    last = end.split()[-1:] if end else []
    if not last or len(end.split()) < _LONG_SENTENCE or query.rstrip().lower().endswith(last[0].lower()):
        return ""
    return last[0] if end[-1] in ",-" or last[0].lower() in _FUNCTION_WORDS else ""


def _echo(text: str, query: str, instruction: str) -> str:
    """Words of an instruction to a model, or a mark of its template; nothing where the query says them itself."""
    marker = _MARKERS.search(text)
    if marker and marker.group().lower() not in query.lower():
        return marker.group()
    known, labels = _instructions(instruction)
    label = labels.search(text) if labels else None
    if label and label.group().lower() not in query.lower():
        return label.group()
    own = _runs_of(query)
    return " ".join(next((run for run in _runs(_key(text)) if run in known and run not in own), ()))


@lru_cache(maxsize=16)
def _instructions(instruction: str) -> tuple[frozenset[tuple[str, ...]], re.Pattern[str] | None]:
    """Every run of words of the project's templates and of the instruction, and the labels that the latter uses."""
    parts = instruction.split("{}")
    labels = {re.escape(label.strip()) for part in parts for label in _LABEL.findall(part)}
    pattern = re.compile(rf"\b(?:{'|'.join(sorted(labels))})\s*:", re.I) if labels else None
    return _templates().union(*map(_runs_of, parts)), pattern


@cache
def _templates() -> frozenset[tuple[str, ...]]:
    """Every run of words of the project's templates."""
    files = (path for path in resources.files("vpo.templates").iterdir() if path.name.endswith(".txt"))
    return frozenset[tuple[str, ...]]().union(*(_runs_of(path.read_text(encoding="utf-8")) for path in files))


def _runs_of(text: str) -> frozenset[tuple[str, ...]]:
    return frozenset(_runs(_key(text)))


def _runs(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (words[i : i + _ECHOED] for i in range(len(words) - _ECHOED + 1))
