"""Unsafe words out of a text: the sentence goes where nothing asked for goes with it, else the words are replaced or dropped."""

import re
from collections.abc import Callable, Collection, Sequence
from functools import cache

from vpo.judge.rules import harm, lexicon
from vpo.judge.rules.forms import in_form_of, is_plural, parts_of, plural
from vpo.judge.rules.sentences import capital, one_line, sentences_of
from vpo.judge.rules.words import Reading, Token, read, stem_phrase

_ROUNDS = 8  # each removes at least one unsafe word, so a text with more of them is not worth repairing
_UNCOUNTED = ("energy", "paint", "medicine", "sugar")
_LINKS = re.compile(r"^(?:and|but|or|while|as|with|then|so)\s+", re.I)
_LEAST = 3  # words of a clause that can stand alone


def without_unsafe_sentences(text: str, keeps: Callable[[str], bool], most: int | None = None) -> str:
    """The text without its unsafe sentences, save the first, which names the scene, and those that `keeps` cannot do without.

    With `most`, those of more words stay, too.
    """
    found = [read(text).tokens[hit.first].start for hit in harm.find(read(text))]
    spans = sentences_of(text)
    for start, end in reversed(spans[1:]):
        if most is not None and len(text[start:end].split()) > most:
            continue
        fewer = one_line(f"{text[:start]} {text[end:]}")
        if any(start <= place < end for place in found) and fewer and keeps(fewer):
            text = fewer
    return text


def without_unsafe_additions(text: str, asked: str) -> str:
    """The text without unsafe words that only add to it: an adjective, or a thing after 'and' or 'with'.

    What the query itself says (`asked`) stays, to be replaced: without it nothing might be left of what was asked for.
    """
    for _ in range(_ROUNDS):
        reading, wanted = read(text), read(asked).places
        span = next(
            filter(None, (_addition(reading, hit) for hit in harm.find(reading) if not _said(reading, hit, wanted))),
            None,
        )
        if span is None:
            break
        text = one_line(with_article(text[: span[0]], text[span[1] :].lstrip()))
    return text


def _said(reading: Reading, hit: harm.Harm, wanted: Collection[str]) -> bool:
    return any(token.stem in wanted for token in reading.tokens[hit.first : hit.last + 1])


def _addition(reading: Reading, hit: harm.Harm) -> tuple[int, int] | None:
    """From where to where an unsafe word can go without a trace; None where the sentence needs a word in its place."""
    tokens, first, last = reading.tokens, hit.first, hit.last
    before = tokens[first - 1].word if first else ""
    after = tokens[last + 1] if last + 1 < len(tokens) and tokens[last + 1].sentence == tokens[last].sentence else None
    if first == last and "ADJ" in parts_of(tokens[first].word) and before not in _COPULAS:
        named = after is not None and bool({"ADJ", "NOUN"} & parts_of(after.word)) and _blank(reading, last)
        if named or before not in lexicon.words("determiners"):
            return tokens[first].start, tokens[last].end
    begin = first - 1 if before in lexicon.words("determiners") else first
    if begin > 0 and tokens[begin - 1].word in ("and", "with", "or") and (after is None or not _blank(reading, last)):
        return tokens[begin - 1].start, tokens[last].end
    return None


def _blank(reading: Reading, index: int) -> bool:
    """Whether only blanks stand between a token and the next."""
    return not reading.text[reading.tokens[index].end : reading.tokens[index + 1].start].strip()


_COPULAS = frozenset(("is", "are", "was", "were", "be", "looks", "seems", "becomes", "completely", "half", "fully"))


def harmless(text: str) -> str:
    """The text with unsafe words replaced, or their clauses dropped; empty where nothing harmless is left."""
    for _ in range(_ROUNDS):
        reading = read(text)
        found = harm.find(reading)
        if not found:
            return text
        untouched = len(text)  # what stands before this place is as it was read
        for hit in reversed(_apart(found)):
            if reading.tokens[hit.last].end <= untouched:
                text, untouched = _repaired(text, reading, hit)
        text = one_line(text)
    return "" if harm.find(read(text)) else text


def _apart(found: Sequence[harm.Harm]) -> list[harm.Harm]:
    """Hits that do not overlap, the first of each cluster: the others are looked for again in the next round."""
    apart: list[harm.Harm] = []
    for hit in found:
        if not apart or hit.first > apart[-1].last:
            apart.append(hit)
    return apart


def _repaired(text: str, reading: Reading, hit: harm.Harm) -> tuple[str, int]:
    """The text without one hit, and up to which place it is as it was."""
    first, last = reading.tokens[hit.first], reading.tokens[hit.last]
    phrase = harm.words_of(reading, hit)
    substitute = _substitute(reading, hit, phrase)
    if substitute:
        if stem_phrase(phrase) not in _repairs():  # a pattern: only its verb is unsafe
            last = first
            following = reading.tokens[hit.first + 1] if hit.first + 1 < len(reading.tokens) else None
            if following is not None and following.word in ("at", "on", "upon"):
                last = following
        before = with_article(text[: first.start], substitute)
        return before + text[last.end :], min(len(before), first.start) - len(substitute)
    shorter, start = _without_clause(text, first.start, last.end)
    if read(shorter).tokens:
        return shorter, start
    return text[: first.start] + text[last.end :], first.start


def _substitute(reading: Reading, hit: harm.Harm, phrase: str) -> str:
    token = reading.tokens[hit.first]
    noun, verb = _repairs().get(stem_phrase(phrase)) or _repairs().get(token.stem) or ("", "")
    if not noun or (verb and not nominal(reading, hit.first)):
        return in_form_of(verb, token.word, "VERB") if verb else ""
    several = hit.first == hit.last and is_plural(token.word) and "NOUN" in parts_of(noun.split()[-1])
    word = plural(noun) if several and not noun.endswith(_UNCOUNTED) and not is_plural(noun) else noun
    return capital(word) if reading.text[token.start].isupper() and hit.first == 0 else word


def nominal(reading: Reading, index: int) -> bool:
    """Whether a word that may be noun or verb is a noun here: a determiner before it, or one before its adjectives."""
    token = reading.tokens[index]
    determiners = lexicon.words("determiners")
    before = [one for one in reading.tokens[max(0, index - 3) : index] if one.sentence == token.sentence]
    if not before or token.word.endswith(("ing", "ed")):
        return bool(before) and before[-1].word in determiners
    if before[-1].word in determiners:
        return True
    return _describes(before[-1]) and any(one.word in determiners for one in before[:-1])


def _describes(token: Token) -> bool:
    return "NOUN" not in parts_of(token.word) and bool({"ADJ", "ADV"} & parts_of(token.word))


@cache
def _repairs() -> dict[str, tuple[str, str]]:
    rows = {}
    for word, both in lexicon.patterns("repairs"):
        noun, _, verb = both.partition("|")
        rows[stem_phrase(word)] = (noun.strip(), verb.strip())
    return rows


def without_clause(text: str, start: int, end: int) -> str:
    """Drops what stands between the marks around the span: the clause, or the sentence if no other clause can stand."""
    return one_line(_without_clause(text, start, end)[0])


def _without_clause(text: str, start: int, end: int) -> tuple[str, int]:
    left = max((text.rfind(mark, 0, start) for mark in ",.;!?:"), default=-1)
    right = min((i for i in (text.find(mark, end) for mark in ",.;!?") if i >= 0), default=len(text))
    opens_sentence = left < 0 or text[left] in ".!?"
    close = min((i for i in (text.find(mark, end) for mark in ".!?") if i >= 0), default=len(text))
    if not opens_sentence:
        begin = max((text.rfind(mark, 0, start) for mark in ".!?"), default=-1)
        if len(text[begin + 1 : left].split()) + len(text[right:close].split()) < _LEAST:
            return f"{text[: begin + 1]} {text[close + 1 :].lstrip()}".strip(), begin + 1
        return text[:left].rstrip() + text[right:], left
    rest = text[right:close].lstrip(" ,;")
    rest = _LINKS.sub("", rest)
    if len(rest.split()) < _LEAST:  # nothing that stands alone is left of the sentence
        return f"{text[: left + 1]} {text[close + 1 :].lstrip()}".strip(), left + 1
    return f"{text[: left + 1]} {capital(rest)}{text[close:]}".strip(), left + 1


def with_article(before: str, word: str) -> str:
    """Joins text and word, with 'a' or 'an' as the word's sound asks (by its first letter), and neither before a plural."""
    match = re.search(r"\b(a|an)(\s+)$", before, re.I)
    if match:
        article = "an" if word[0].lower() in "aeiou" else "a"
        article = article.capitalize() if match.group(1)[0].isupper() else article
        before = before[: match.start()] + article + match.group(2)
    return before + word
