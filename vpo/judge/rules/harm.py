"""What in a text is unsafe: words by aspect, pairs of words by pattern, and where such words are harmless.

The aspects follow the list of safety issues in VPO's critique rules (arXiv 2503.20491, Fig. 8), in words of our own. A word of
the lists is harmless inside a harmless phrase ("killer whale", "stabs the potato"), beside words that give it another sense (the
breast of a bird, a punch in a boxing ring), and where it is denied ("no blood"). Words that are spelled so as not to be
read ("k i l l", "n4ked") are read (`disguise`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

import lemminflect

from vpo.judge.rules import disguise, lexicon
from vpo.judge.rules.words import Reading, fold, stem, stem_phrase

_NEGATIONS = frozenset({"no", "without", "not", "never", "free", "avoid", "avoiding", "nor", "zero"})
# What may stand between a negation and what it denies: "no signs of violence", "without any visible blood or gore".
_BRIDGES = frozenset({
    "a", "an", "any", "the", "of", "or", "and", "nor", "from", "visible", "graphic", "explicit", "sign", "signs",
    "hint", "hints", "trace", "traces", "real", "actual", "more", "such", "kind", "form", "sort", "single", "one",
    "human", "depicting", "showing", "weapon", "weapons", "harm", "injury", "injuries",
})  # fmt: skip
_REACH = 8  # tokens
_MACRO = re.compile(r"\{(\w+)(\*?)\}")


@dataclass(frozen=True)
class Harm:
    """One unsafe reading: its aspect, and the tokens `first` to `last` (both included) that carry it."""

    aspect: str
    first: int
    last: int


@dataclass(frozen=True)
class Context:
    """Words of another sense: `unsafe` stems are harmless where one of `excuses` is near, and none of `blocks` is."""

    unsafe: frozenset[str]
    excuses: frozenset[str]
    blocks: frozenset[str]
    near: bool

    def excuse(self, reading: Reading, harm: Harm) -> bool:
        """Whether the context makes this reading harmless."""
        tokens = reading.tokens[harm.first : harm.last + 1]
        key = " ".join(token.stem for token in tokens)
        if key not in self.unsafe and tokens[0].stem not in self.unsafe:
            return False
        sentence = tokens[0].sentence
        own = range(harm.first, harm.last + 1)  # the animal that is kicked does not make the kick a game of animals
        there = _there(reading, self.excuses, sentence if self.near else None, own)
        return there and not _there(reading, self.blocks, sentence, range(harm.first, harm.first + 1))


def find(reading: Reading) -> tuple[Harm, ...]:
    """Every unsafe reading of a text, in the text's order."""
    found = {*_by_word(reading), *_by_pattern(reading), *_disguised(reading)}
    if not found:
        return ()
    safe = _safe_tokens(reading)
    found = {harm for harm in found if not safe.issuperset(_span(harm)) and not _excused(reading, harm)}
    unsafe = frozenset(i for harm in found for i in _span(harm))
    return tuple(
        sorted(
            {harm for harm in found if not _negated(reading, harm, unsafe)}, key=lambda harm: (harm.first, harm.last)
        )
    )


def words_of(reading: Reading, harm: Harm) -> str:
    """The unsafe words as the text has them."""
    return reading.text[reading.tokens[harm.first].start : reading.tokens[harm.last].end]


def _span(harm: Harm) -> range:
    return range(harm.first, harm.last + 1)


# What is unsafe


def _by_word(reading: Reading) -> Iterator[Harm]:
    unsafe = _unsafe_phrases()
    for phrase in unsafe.keys() & reading.places.keys():
        for first in reading.places[phrase]:
            if " " in phrase or _is_form(reading.tokens[first].word, phrase):
                yield Harm(unsafe[phrase], first, first + phrase.count(" "))


def _by_pattern(reading: Reading) -> Iterator[Harm]:
    folded = fold(reading.text)
    for aspect, pattern in _patterns():
        for match in pattern.finditer(folded):
            inside = _tokens_in(reading, *match.span("core" if "core" in pattern.groupindex else 0))
            if inside:
                yield Harm(aspect, inside[0], inside[-1])


def _disguised(reading: Reading) -> Iterator[Harm]:
    for start, end, words in disguise.readings(reading.text):
        word = next((word for word in words if stem(word) in _unsafe_phrases() and _is_form(word, stem(word))), None)
        inside = _tokens_in(reading, start, end) if word else ()
        if word and inside:
            yield Harm(_unsafe_phrases()[stem(word)], inside[0], inside[-1])


def _tokens_in(reading: Reading, start: int, end: int) -> list[int]:
    return [i for i, token in enumerate(reading.tokens) if token.start < end and start < token.end]


@lru_cache(maxsize=10_000)
def _is_form(word: str, key: str) -> bool:
    """Whether a word is a form of the unsafe word whose stem it shares: 'severe' is none of 'sever', 'rapping' none of 'rape'."""
    lemmas = {lemma for found in lemminflect.getAllLemmas(word).values() for lemma in found}
    listed = _words_of_stem()[key]
    known = {lemma for one in listed for found in lemminflect.getAllLemmas(one).values() for lemma in found}
    return not lemmas or word in listed or not lemmas.isdisjoint(listed | known)


# Where it is harmless


def _safe_tokens(reading: Reading) -> set[int]:
    hits = _safe_phrases() & reading.places.keys()
    safe = {i + step for phrase in hits for i in reading.places[phrase] for step in range(len(phrase.split()))}
    folded = fold(reading.text)
    for pattern in _safe_patterns():
        for match in pattern.finditer(folded):
            safe.update(_tokens_in(reading, *match.span()))
    return safe


def _excused(reading: Reading, harm: Harm) -> bool:
    return any(context.excuse(reading, harm) for context in _contexts())


def _there(reading: Reading, keys: frozenset[str], sentence: int | None, besides: range) -> bool:
    """Whether one of the keys is in the text, or in its sentence with this number, besides these tokens."""
    places = (i for key in keys & reading.places.keys() for i in reading.places[key] if i not in besides)
    return any(sentence is None or reading.tokens[i].sentence == sentence for i in places)


def _negated(reading: Reading, harm: Harm, unsafe: frozenset[int]) -> bool:
    """Whether 'no', 'without' or the like reaches the words: over articles and other unsafe words, not over anything else."""
    tokens = reading.tokens
    if tokens[harm.first].word in _NEGATIONS:
        return False
    for i in range(harm.first - 1, max(-1, harm.first - 1 - _REACH), -1):
        if tokens[i].sentence != tokens[harm.first].sentence:
            return False
        if tokens[i].word in _NEGATIONS:
            return True
        if tokens[i].word not in _BRIDGES and i not in unsafe:
            return False
    return False


# The tables


@cache
def _unsafe_phrases() -> dict[str, str]:
    return {stem_phrase(word): aspect for aspect, items in lexicon.table("unsafe").items() for word in items}


@cache
def _words_of_stem() -> dict[str, frozenset[str]]:
    rows: dict[str, set[str]] = {}
    for items in lexicon.table("unsafe").values():
        for word in items:
            rows.setdefault(stem_phrase(word), set()).add(word)
    return {key: frozenset(words) for key, words in rows.items()}


@cache
def _safe_phrases() -> frozenset[str]:
    return frozenset(stem_phrase(phrase) for group in lexicon.groups("safe") for phrase in group)


@cache
def _contexts() -> tuple[Context, ...]:
    rows = []
    for scope, row in lexicon.patterns("contexts"):
        unsafe, excuses, blocks = (
            frozenset(stem_phrase(word) for word in part.split(",") if word.strip()) for part in row.split("|")
        )
        rows.append(Context(unsafe, excuses, blocks, near=scope == "near"))
    return tuple(rows)


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((aspect, re.compile(_expanded(row))) for aspect, row in lexicon.patterns("unsafe_patterns"))


@cache
def _safe_patterns() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(_expanded(row)) for _, row in lexicon.patterns("safe_patterns"))


def _expanded(pattern: str) -> str:
    """A pattern with its {names} replaced by their rows and forms, and 'A ~ B' by both orders within a sentence."""
    terms = dict(lexicon.patterns("harm_terms"))
    while match := _MACRO.search(pattern):
        name, verb = match.groups()
        found = f"(?:{'|'.join(_forms(name))})" if verb else f"(?:{terms[name]})"
        pattern = pattern[: match.start()] + found + pattern[match.end() :]
    if pattern.count(" ~ ") == 1:
        one, other = pattern.split(" ~ ")
        pattern = f"(?:{one})[^.!?;]{{0,80}}?(?:{other})|(?:{other})[^.!?;]{{0,80}}?(?:{one})"
    return pattern


def _forms(verb: str) -> list[str]:
    """Every inflection of a verb: kill, kills, killing, killed."""
    forms = {form for tag, found in lemminflect.getAllInflections(verb, upos="VERB").items() for form in found}
    return sorted(forms | {verb}, key=lambda form: (-len(form), form))
