"""What of a query's text is kept, and when two texts are the same query.

The model, the judge and every table see `tidy(text)`: what the user typed, apart from what no user types. Whether two texts
are the same is decided by `comparison_key` alone, which nobody sees.
"""

import html
import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

# Control characters (Cc) that separate words; "\n" and "\t" stay as they are.
_SEPARATORS = re.compile("[\x0b\x0c\x1c-\x1f\x85]")
# What colours a terminal's text (CSI), and what sets its title or links (OSC, to its end): ECMA-48, sections 5.4 and 5.6.
_ESCAPES = re.compile(
    "\x1b\\[[0-?]{0,100}[ -/]{0,10}[@-~]|\x1b\\][^\x07\x1b\n]{0,2000}(?:\x07|\x1b\\\\)|\x1b[()][0-9A-Z]"
)
# All other control characters, and the byte order mark, which stands in a text where files were joined.
_REMOVED = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff]")
# Besides white space, what shows nothing at either end of a text. Joiners and variation selectors belong to the letter or
# emoji before them and stay.
_ENDS = "\u200b\u2060\ufeff\u2800"

# Characters that show nothing though their category is not Cf: Unicode's property Default_Ignorable_Code_Point
# (DerivedCoreProperties.txt, Unicode 15).
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
_BLANK = "\u2800"  # Braille without dots: a blank that is not white space to Unicode

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_ATTRIBUTES = r"""(?:\s+[\w:-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>=]+))*"""
# Names of HTML elements. Not those that people write in brackets for something else: <title>, <video>, <label>, <main> ...
_INLINE = "a b i u s em strong span font small sub sup code del ins strike"
_BLOCK = (
    "p br hr img div li ul ol dl dt dd h1 h2 h3 h4 h5 h6 table thead tbody tr td th pre blockquote center section article "
    "header footer nav html head body link meta iframe svg form button"
)
_UNCLOSED = "p br hr img li tr td th dt dd link meta"  # HTML may leave their end out
_TAG = re.compile(rf"<(/?)({'|'.join(f'{_INLINE} {_BLOCK}'.split())}){_ATTRIBUTES}\s*/?>", re.IGNORECASE)
_HIDDEN = re.compile(  # each stops at the next of its kind, so that many without an end cost no more than one
    r"<!--(?:(?!<!--).)*?-->|<(script|style)\b[^<>]*>(?:(?!<\1\b).)*?</\1\s*>", re.IGNORECASE | re.DOTALL
)

CONTROLS, ENTITIES, TAGS = "control characters removed", "HTML entities resolved", "HTML tags removed"


class Tidy(NamedTuple):
    """A query's text as everything after sees it, and what was done to it."""

    text: str
    changes: tuple[str, ...]


def tidy(text: str) -> Tidy:
    """The text without what no user types.

    HTML's entities are resolved (`&#39;` becomes `'`) and its tags taken out, but only names of HTML elements, so `<3`,
    `a < b` and `<lora:x:1>` stay. Control characters go: those that separate words become a space, line ends become "\\n",
    the rest and U+FEFF is removed, a terminal's escape sequence as a whole. White space at both ends goes. All else stays as it
    was typed, zero-width joiners of emoji, Persian and Indic scripts among it.
    """
    changes = []
    if "&" in text:
        resolved = _resolve(text)
        if resolved != text:
            text = resolved
            changes.append(ENTITIES)
    if "<" in text:
        bare = _without_tags(text)
        if bare != text:
            text = bare
            changes.append(TAGS)
    text = _SEPARATORS.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))
    kept = _REMOVED.sub("", _ESCAPES.sub("", text) if "\x1b" in text else text)
    if kept != text:
        changes.append(CONTROLS)
    return Tidy(_strip(kept), tuple(changes))


def comparison_key(text: str) -> str:
    """Equal for texts that a reader takes for the same query; empty for a text that shows nothing.

    This is Unicode's NFKC_Casefold (The Unicode Standard, section 3.13): case, composition and width make no difference
    and characters that show nothing are dropped. Format (Cf) and control characters (Cc) are dropped as well, and all
    white space is one space.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _shown(text)).casefold().replace(_BLANK, " ")
        text = unicodedata.normalize("NFKC", text)
    return " ".join(_shown(text.casefold()).split())


def _shown(text: str) -> str:
    """The text without the characters that show nothing."""
    if text.isascii() and text.isprintable():
        return text
    hidden = {ord(one): None for one in set(text) if _shows_nothing(one)}
    return text.translate(hidden) if hidden else text


@lru_cache(maxsize=10_000)
def _shows_nothing(character: str) -> bool:
    if character.isspace():
        return False
    return unicodedata.category(character) in ("Cf", "Cc") or _IGNORABLE.match(character) is not None


def _strip(text: str) -> str:
    """Both ends without white space and characters of no width, in whatever order they stand."""
    before = None
    while text != before:
        before, text = text, text.strip().strip(_ENDS)
    return text


def _resolve(text: str) -> str:
    """Entities that end in a semicolon, resolved; twice escaped ones, too (`&amp;#39;`). `R&B`, `fish&chips` stay.

    `&nbsp;` becomes a plain space: it says how a page breaks its lines, and language models take U+00A0 for a rare word.
    """
    for _ in range(3):
        resolved = _ENTITY.sub(lambda found: html.unescape(found[0]).replace("\u00a0", " "), text)
        if resolved == text:
            break
        text = resolved
    return text


def _without_tags(text: str) -> str:
    """The text of a piece of HTML. An opening tag counts only where its end follows or HTML may leave that out."""
    bare = _HIDDEN.sub(" ", text)
    closed = {found[2].lower() for found in _TAG.finditer(bare) if found[1]}

    def replace(found: re.Match[str]) -> str:
        name = found[2].lower()
        if not found[1] and name not in closed.union(_UNCLOSED.split()):
            return found[0]
        return "" if name in _INLINE.split() else " "

    bare = _TAG.sub(replace, bare)
    return re.sub(r" {2,}", " ", bare) if bare != text else text
