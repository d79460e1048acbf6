"""What a text denies: the words in the reach of 'no', 'not', 'without' and their like."""

import re

from vpo.judge.rules import lexicon
from vpo.judge.rules.words import Reading

_SHORT = re.compile(r"(?:is|are|was|were|do|does|did|has|have|had|ca|wo|could|would|should)n[’']?t")
_END = re.compile(r"[.,;:!?()]| (?:but|and|yet|while|as|with|when|until|before|which|who|that|because|so|though) ")
_REACH = 5


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
        found.update(i + 1 + k for k, one in enumerate(after) if one.start < end)
    return frozenset(found)
