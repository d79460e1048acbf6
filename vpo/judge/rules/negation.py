"""What a text denies: the words in the reach of 'no', 'not', 'without' and their like."""

import re
from collections.abc import Sequence

from vpo.judge.rules import lexicon, wordnet
from vpo.judge.rules.words import Reading, noun_of, verb_of

_SHORT = re.compile(r"(?:is|are|was|were|do|does|did|has|have|had|ca|wo|could|would|should)n[’']?t")
_END = re.compile(r"[.,;:!?()]| (?:but|and|yet|while|as|with|when|until|before|which|who|that|because|so|though) ")
_REACH = 5


_OF_THINGS = frozenset({"without", "no", "lacking", "lacks", "minus"})  # these deny a thing, not what is done


def denied(reading: Reading) -> frozenset[int]:
    """The tokens that a text denies: up to five after the cue, as far as its clause goes."""
    found: set[int] = set()
    for i, token in enumerate(reading.tokens):
        after = reading.tokens[i + 1 : i + 1 + _REACH]
        if not after or not (token.word in lexicon.words("denials") or _SHORT.fullmatch(token.word)):
            continue
        if after[0].word in lexicon.words("no_denials"):
            continue
        clause = _END.search(reading.text, token.end)
        end = clause.start() if clause else len(reading.text)
        within = [i + 1 + k for k, one in enumerate(after) if one.start < end]
        found.update(_noun_phrase(reading, within) if token.word in _OF_THINGS else within)
    return frozenset(found)


def _noun_phrase(reading: Reading, within: Sequence[int]) -> Sequence[int]:
    """The tokens up to the verb of the sentence: a knight 'without a helmet rides through fog' does ride."""
    for at, index in enumerate(within):
        word = reading.tokens[index].word
        if at and word.endswith("s") and _rather_verb(word) and within[at - 1] == index - 1:
            before = reading.tokens[index - 1].word
            if before not in lexicon.words("determiners") and noun_of(before) == before:
                return within[:at]
    return within


def _rather_verb(word: str) -> bool:
    verb, noun = verb_of(word), noun_of(word)
    if verb is None or verb == word:
        return False
    return noun is None or wordnet.frequency(verb, wordnet.VERB) >= wordnet.frequency(noun, wordnet.NOUN)
