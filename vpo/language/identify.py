"""Which language a query or a prompt is written in: by its script, and in Latin letters by its function words.

Queries are short, so that what is not sure is None rather than a guess: "La La Land" is no French, "Van Gogh" no Dutch. Two different
function words of a language are wanted, and more of them than English ones. Statistical identifiers do not fit: they always
name a language, and names of places make them name a wrong one.
"""

import re
import unicodedata
from collections import Counter
from functools import lru_cache

# Function words that no other language of the list has, and that are no English words: not "die", "in", "a", "son", "man".
_FUNCTION_WORDS = {
    "de": "der das und ist nicht ein eine einen einem einer eines mit auf dem den für von im zur zum auch über ihre seine durch wird",
    "fr": "le les des une est dans avec pour sur qui au aux du ses leur elle cette et très sous",
    "es": "el los las una con por para está del al muy y sus sobre mientras como hacia entre su",
    "pt": "o os um uma com em no na dos das do da ao pela pelo não uns são mulher homem",
    "it": "il lo gli della dello delle degli di che con una nel nella sul sulla è dal dalla mentre sono",
    "nl": "het een van met op voor zijn naar aan bij wordt niet ook door deze",
}  # fmt: skip
_ENGLISH = "the a an of and in on with to is are at by for from into over under through his her their its this that while as who which"
_BY_SCRIPT = {
    "HIRAGANA": "ja", "KATAKANA": "ja", "CJK": "zh", "HANGUL": "ko", "GREEK": "el", "HEBREW": "he", "THAI": "th",
    "CYRILLIC": "Cyrillic", "ARABIC": "Arabic", "DEVANAGARI": "Devanagari",
}  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")


@lru_cache(maxsize=4096)
def language_of(text: str) -> str | None:
    """A language by its two letters ("en", "de", "zh"), a script ("Cyrillic") where several share it, None where it is not sure."""
    script = _script(text)
    if script is None or script == "LATIN":
        return _by_words(text) if script else None
    return _BY_SCRIPT.get(script, script.capitalize())


def _script(text: str) -> str | None:
    """The script of most letters, by the first word of their Unicode names; None without letters."""
    scripts = Counter(unicodedata.name(one, "?").split()[0] for one in text if one.isalpha())
    if not scripts:
        return None
    kana = scripts["HIRAGANA"] + scripts["KATAKANA"]
    if kana and kana + scripts["CJK"] > scripts["LATIN"]:
        return "HIRAGANA"
    return scripts.most_common(1)[0][0]


def _by_words(text: str) -> str | None:
    words = _WORD.findall(text)
    known = {word.lower() for word in words[:1]} | {
        word for word in words if word.islower()
    }  # not "Van" Gogh, "Los" Angeles
    english = len(known.intersection(_ENGLISH.split()))
    counts = {name: len(known.intersection(listed.split())) for name, listed in _FUNCTION_WORDS.items()}
    best = max(counts, key=lambda name: counts[name])
    others = sorted(counts.values())[-2]
    if counts[best] >= 2 and counts[best] > english and counts[best] > others:
        return best
    return "en" if english and english > counts[best] else None
