"""What a text denies: the words in the reach of 'no', 'not', 'without' and their like."""

import re


from vpo.judge.rules.words import Reading

_CUES = frozenset({"no", "not", "never", "without", "neither", "nor", "none", "cannot", "lacking", "lacks", "devoid", "absent", "minus"})
_SHORT = re.compile(r"(?:is|are|was|were|do|does|did|has|have|had|ca|wo|could|would|should)n[’']?t")
_HARMLESS = frozenset(
    "only just merely longer doubt matter sooner less least more mind one time far fewer wonder end ending limit limits bounds effort".split()
)  # 'not only', 'no doubt', 'without end': nothing is denied
_END = re.compile(r"[.,;:!?()]| (?:but|and|yet|while|as|with|when|until|before|which|who|that|because|so|though) ")
_REACH = 5



def denied(reading: Reading) -> frozenset[int]:
    """The tokens that a text denies: up to five after the cue, as far as its clause goes."""
    found: set[int] = set()
    for i, token in enumerate(reading.tokens):
        after = reading.tokens[i + 1 : i + 1 + _REACH]
        if not after or not (token.word in _CUES or _SHORT.fullmatch(token.word)) or after[0].word in _HARMLESS:
            continue
        clause = _END.search(reading.text, token.end)
        end = clause.start() if clause else len(reading.text)
        found.update(i + 1 + k for k, one in enumerate(after) if one.start < end)
    return frozenset(found)
