"""A word put into the form of the one whose place it takes: 'bus' for 'cars' gives 'buses', 'walk' for 'ran' gives 'walked'.

The forms are lemminflect's (Jascob, MIT; Universal Dependencies' parts of speech, Penn tags).
"""

from functools import lru_cache

import lemminflect

_TAGS = {"VERB": ("VBG", "VBZ", "VBN", "VBD", "VB"), "NOUN": ("NNS", "NN"), "ADJ": ("JJR", "JJS", "JJ")}


@lru_cache(maxsize=10_000)
def in_form_of(word: str, model: str, part: str = "") -> str:
    """The word (or phrase) in the form that `model` has, in lower case; as it is where the two share no part of speech.

    `part` ('NOUN' or 'VERB') says what both are; else verbs go before nouns where the model ends as verbs do.
    """
    word, model = word.lower(), model.lower()
    first, *rest = word.split()
    *before, last = word.split()
    for one in (part,) if part else _parts_of(model):
        head = last if one == "NOUN" else first
        tag = _tag_of(model.split()[-1 if one == "NOUN" else 0], one)
        if tag is None or not _lemma_of(head, one):
            continue
        found = lemminflect.getInflection(_lemma_of(head, one), tag)
        if found:
            return " ".join([*before, found[0]] if one == "NOUN" else [found[0], *rest])
    return word


def singular(noun: str) -> str:
    """The singular of a noun, or of a phrase's last word."""
    *before, last = noun.lower().split()
    return " ".join([*before, _lemma_of(last, "NOUN") or last])


def plural(noun: str) -> str:
    """The plural of a singular noun, or of a phrase's last word."""
    *before, last = noun.lower().split()
    found = lemminflect.getInflection(last, "NNS") or (last + "s",)
    return " ".join([*before, found[0]])


def is_plural(noun: str) -> bool:
    """Whether a noun is a plural that differs from its singular."""
    last = noun.lower().split()[-1]
    return _lemma_of(last, "NOUN") not in ("", last)


def third_person(verb: str) -> str:
    """'run' as in 'it runs', 'are' as in 'it is'; any other word as it is."""
    special = {"are": "is", "were": "was", "have": "has", "do": "does"}
    if verb in special:
        return special[verb]
    found = lemminflect.getInflection(verb, "VBZ") if "VERB" in lemminflect.getAllLemmas(verb) else ()
    return found[0] if found and _lemma_of(verb, "VERB") == verb else verb


def parts_of(word: str) -> frozenset[str]:
    """The parts of speech that a word can be."""
    return frozenset(lemminflect.getAllLemmas(word.lower()))


def _parts_of(model: str) -> tuple[str, ...]:
    verbal = model.split()[0].endswith(("ing", "ed"))
    return ("VERB", "NOUN", "ADJ") if verbal else ("NOUN", "VERB", "ADJ")


def _lemma_of(word: str, part: str) -> str:
    found = lemminflect.getAllLemmas(word).get(part, ())
    if not found:
        found = lemminflect.getAllLemmasOOV(word, part).get(part, ()) if not lemminflect.getAllLemmas(word) else ()
    return word if word in found else (found[0] if found else "")


def _tag_of(word: str, part: str) -> str | None:
    for lemma in lemminflect.getAllLemmas(word).get(part, ()):
        forms = lemminflect.getAllInflections(lemma, upos=part)
        order = _TAGS[part] if word != lemma else tuple(reversed(_TAGS[part]))
        for tag in order:
            if word in forms.get(tag, ()):
                return tag
    return None
