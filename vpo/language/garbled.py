"""What is broken in a text itself: another script, wrongly decoded letters, loops, a cut-off end, echoes of an instruction.

Each kind is found and taken out; what is left may be nothing. The rule judge and the guard of an optimizer ask here.
"""

import re
import unicodedata
from collections import Counter
from functools import cache, lru_cache
from importlib import resources

from vpo.language.answers import Wrapper

KINDS = SCRIPT, DECODING, LOOP, CUT_OFF, ECHO = ("other_script", "decoding", "loop", "cut_off", "echo")

_SENTENCES = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])[\"')\]\u201d]*\s+|\n+|(?<=[\u3002\uff01\uff1f])")
_CLAUSES = re.compile(r"(?<=[.!?,;:\u3002\uff0c\uff01\uff1f])\s*")
_WORD = re.compile(r"[^\W_]+(?:['\u2019][a-z]+)?")
_SHOWN = 60
_DENSE = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL")  # one letter is a word or a syllable
_FEW_LETTERS = 3  # of another script: a formula's letter is none
_LONG_SENTENCE = 5  # words from which on a sentence said twice is a loop
_RUN = 6  # words that stand three times in a text
_ECHOED = 8  # words in a row of an instruction
# What UTF-8 looks like when it is read as Windows-1252, and what stands for letters that could not be read at all.
_MISREAD = re.compile(
    "[\u00c2\u00c3][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
    "|\u00e2(?:\u20ac|\u0080)[\u0080-\u00bf\u0152\u0153\u02dc\u2013-\u203a\u2122]?|\ufffd+|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+"
)
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
    r"|\{(?:query|prompt|user_query|input)?\}|^(?:system|user|human) ?:",
    re.I | re.M,
)


_INSTRUCTION = re.compile(r"\[INST\].*?\[/INST\]|<<SYS>>.*?<</SYS>>", re.I | re.S)


def find_garbled(text: str, query: str = "") -> tuple[Wrapper, ...]:
    """What is broken in the text, each kind once; the query's own scripts and words are at home in it."""
    found = {
        SCRIPT: _foreign(text, query),
        DECODING: _shown(_MISREAD.search(text)) if not _MISREAD.search(query) else "",
        LOOP: _looped(text, query),
        CUT_OFF: _loose_end(text, query),
        ECHO: _echo(text, query),
    }
    return tuple(Wrapper(kind, words[:_SHOWN]) for kind, words in found.items() if words)


def without_garbled(text: str, query: str = "") -> str:
    """The text without what is broken in it; the text as it is where nothing is."""
    kinds = {one.kind for one in find_garbled(text, query)}
    if DECODING in kinds:
        text = _decoded(text)
    if ECHO in kinds:
        text = _INSTRUCTION.sub(" ", text).strip()
        text = " ".join(part for part in _SENTENCES.split(text) if part and not _echo(part, query))
    if SCRIPT in kinds:
        text = " ".join(part for part in _CLAUSES.split(text) if part and not _foreign(part, query))
    if LOOP in kinds:
        text = _once(text)
    if CUT_OFF in kinds or (kinds and _loose_end(text, query)):
        text = _closed(text)
    return text.strip() if kinds else text


def _shown(match: re.Match[str] | None) -> str:
    return match.group().encode("unicode_escape").decode() if match else ""


# Scripts


def _foreign(text: str, query: str) -> str:
    """Letters of a script that the query does not use, as they stand in the text."""
    if text.isascii():
        return ""
    home = {_script(letter) for letter in set(query)} | {"LATIN", ""}
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
    """A sentence said again, or a run of words said three times; nothing where the query says it so itself."""
    counts = Counter(_key(sentence) for sentence in _SENTENCES.split(text))
    again = next((key for key, n in counts.items() if n > 2 or (n > 1 and len(key) >= _LONG_SENTENCE)), ())
    if again and len(again) > 1:
        return " ".join(again)
    words = _key(text)
    runs = Counter(words[i : i + _RUN] for i in range(len(words) - _RUN + 1))
    run, times = max(runs.items(), key=lambda item: item[1], default=((), 0))
    return " ".join(run) if times > 2 and " ".join(run) not in " ".join(_key(query)) else ""


def _key(text: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(text))


def _once(text: str) -> str:
    """Each sentence once, and of a run of words that goes on and on its first round."""
    kept: dict[tuple[str, ...], str] = {}
    for sentence in _SENTENCES.split(text):
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


def _closed(text: str) -> str:
    """The text up to its last whole sentence; within its only sentence, up to the last comma or the loose words."""
    end = max((match.end() for match in re.finditer(r"[.!?][\"')\]\u201d]*(?=\s)", text)), default=0)
    if end:
        return text[:end]
    words = text.rstrip(" ,-").split()
    while words and words[-1].lower().strip(",-") in _FUNCTION_WORDS:
        words.pop()
    return f"{' '.join(words).rstrip(' ,-')}." if words else ""


def _echo(text: str, query: str) -> str:
    """Words of an instruction to a model, or a mark of its template."""
    marker = _MARKERS.search(text)
    if marker and marker.group().lower() not in query.lower():
        return marker.group()
    words = _key(text)
    runs = (words[i : i + _ECHOED] for i in range(len(words) - _ECHOED + 1))
    return " ".join(next((run for run in runs if run in _instructions()), ()))


@cache
def _instructions() -> frozenset[tuple[str, ...]]:
    """Every run of words of the project's templates."""
    found: set[tuple[str, ...]] = set()
    for path in resources.files("vpo.templates").iterdir():
        if path.name.endswith(".txt"):
            words = _key(path.read_text(encoding="utf-8"))
            found.update(words[i : i + _ECHOED] for i in range(len(words) - _ECHOED + 1))
    return frozenset(found)
