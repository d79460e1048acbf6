"""From bytes to text: UTF-8, what a byte order mark says, UTF-16 and UTF-32 without one, and Windows-1252 where it is clear.

Everything decided here depends on the bytes alone, so that the file's fingerprint covers it. `charset-normalizer` was
tried and is no help for short texts: it takes "a dog's café naïve" in Windows-1252 for Windows-1250.
"""

import codecs
import re
import unicodedata

from vpo.dataset.reading.problems import FileProblem, Place, places_in_short

_MARKS = (  # UTF-32's before UTF-16's: FF FE 00 00 starts with FF FE
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE = 100_000  # bytes or characters that are looked at to tell encodings apart
_CONTROLS = bytes([*range(9), 11, 12, *range(14, 32), 127])
_PRINTABLE = bytes(range(32, 127))

# Letters of western European languages; not those that stand where other code pages have their most frequent ones.
_WESTERN = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüŒœ"
_WORDS_OF_ONE_LETTER = "ÀÉÓÖÅØàéèóöåø"
_SIGNS_IN_WORDS = "’—·\u00ad"
_SIGNS = "‘“”–…•€™¡¢£§©«®°±²³´»¼½¾¿×\u00a0"
_WORD = re.compile(r"[^\W\d_]+")
_FOREIGN_SHARE = 0.4  # of the letters, above which a text is no western one in Windows-1252


def decode(content: bytes) -> tuple[str, str | None]:
    """The text, and the encoding where it is not UTF-8, in words. Raises FileProblem naming the lines that are not UTF-8."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            try:
                return content[len(mark) :].decode(encoding), f"{encoding.upper()}, as its byte order mark says"
            except UnicodeDecodeError as error:
                raise FileProblem(
                    f"starts with the byte order mark of {encoding.upper()} and is not ({error.reason} at byte "
                    f"{len(mark) + error.start:,}); save it as UTF-8"
                ) from error
    content = content.removeprefix(codecs.BOM_UTF8)
    wide = _wide(content)
    if wide:
        return content.decode(wide), f"{wide.upper()} without a byte order mark"
    try:
        return content.decode("utf-8"), None
    except UnicodeDecodeError as error:
        sample = content[:_SAMPLE]
        controls = len(sample) - len(sample.translate(None, _CONTROLS))
        if controls > len(sample) / 50:
            raise FileProblem(
                "is not text but binary data; set dataset.path to a file of queries (an export as CSV or JSON, say)"
            ) from error
        western = None if controls else _western(content)
        if western is None:
            raise _not_utf8(content) from error
        return western, "Windows-1252, a guess: it is not UTF-8, and all its special characters are western European"


def may_be_wide(content: bytes) -> bool:
    """Whether a text that starts like this may be UTF-16 or UTF-32 without a byte order mark."""
    return b"\0" in content[:_SAMPLE]


def _wide(content: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark, or None.

    Such text is rich in control bytes (every second one of "a dog" is NUL) and poor in printable ones. A stray NUL in
    UTF-8 or in a one-byte encoding makes no such text.
    """
    sample = content[:_SAMPLE]
    if not may_be_wide(sample) or len(sample) - len(sample.translate(None, _PRINTABLE)) > 0.75 * len(sample):
        return None
    controls = len(sample) - len(sample.translate(None, _CONTROLS))
    if controls < 0.2 * len(sample) and _is_utf8(content):
        return None
    found = {}
    for encoding, width in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        try:
            start = content.decode(encoding)[:_SAMPLE] if len(content) % width == 0 else ""
        except UnicodeDecodeError:
            continue
        common = sum(one.isascii() and (one.isprintable() or one.isspace()) for one in start)
        odd = any(unicodedata.category(one) in ("Cn", "Co", "Cs", "Cc") and not one.isspace() for one in start)
        if common and not odd:
            found[encoding] = common
    # The wrong byte order makes letters of other scripts of ASCII; the right one has the white space.
    return max(found, key=lambda encoding: found[encoding]) if found else None


def _western(content: bytes) -> str | None:
    """The content as Windows-1252 where every character above ASCII makes sense in a western language, else None."""
    if any(not line.isascii() and _is_utf8(line) for line in content.splitlines()):
        return None  # part of it is UTF-8
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        return None
    allowed = {*_WESTERN, *_SIGNS_IN_WORDS, *_SIGNS}
    if any(not one.isascii() and one not in allowed for one in set(text)):
        return None
    letters = foreign = 0
    for word in _WORD.findall(text):
        letters += len(word)
        if word.isascii():
            continue
        special = sum(not one.isascii() for one in word)
        foreign += special
        alone = len(word) == 1 and word in _WORDS_OF_ONE_LETTER
        one_case = word.islower() or word.isupper() or word.istitle()
        if not one_case or not (alone or special < len(word)):
            return None
    if foreign > _FOREIGN_SHARE * letters:
        return None
    return None if re.search(rf"[^\W\d_][{re.escape(_SIGNS)}][^\W\d_]", text.replace("\u00a0", " ")) else text


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _not_utf8(content: bytes) -> FileProblem:
    end = b"\n" if b"\n" in content else b"\r"
    bad = [number for number, line in enumerate(content.split(end), 1) if not _is_utf8(line)]
    places = places_in_short([Place("line", number) for number in bad])
    return FileProblem(
        f"{places} {'is' if len(bad) == 1 else 'are'} not UTF-8, and the encoding cannot be guessed; convert the file to "
        "UTF-8, as with `iconv -f <its encoding> -t UTF-8`"
    )
