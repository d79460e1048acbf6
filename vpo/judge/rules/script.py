"""A query as it is typed, made plain: without flags and shot labels, with the places of its shots and quotations."""

import html
from collections.abc import Callable
from dataclasses import dataclass, replace

from vpo.judge.rules.quotes import Quote, quotes_of
from vpo.judge.rules.shots import cut

_STAND_IN = 0xE000  # characters of private use, each in the place of a quotation while flags and labels are taken out
_MOST = 0x1000


@dataclass(frozen=True)
class Script:
    """A query's plain words, the values of its flags, and where in these words its shots and quotations stand."""

    text: str
    camera: str
    motion: int | None
    excluded: tuple[str, ...]
    shots: tuple[tuple[int, int], ...] = ()
    quotes: tuple[Quote, ...] = ()


def script_of(query: str, split_flags: Callable[[str], tuple[str, str, int | None, tuple[str, ...]]]) -> Script:
    """The query without what is no plain word; its shots closed by full stops, their labels gone."""
    raw = html.unescape(html.unescape(query))
    quotes = quotes_of(raw)[:_MOST]
    masked = raw
    for number, quote in reversed(list(enumerate(quotes))):
        masked = masked[: quote.start] + chr(_STAND_IN + number) + masked[quote.end :]
    before, shots = cut(masked)
    if not shots and not quotes:
        return Script(*split_flags(query))
    parts = [split_flags(part) for part in ((before, *shots) if shots else (masked,))]
    text, places = "", []
    for words, *_ in parts:
        start = len(text)
        text += f"{words}{'' if not words or words[-1] in '.!?' else '.'} " if shots else words
        places.append((start, len(text.rstrip())))
    text = text.rstrip()
    camera = next((camera for _, camera, _, _ in parts if camera), "")
    motion = next((motion for _, _, motion, _ in parts if motion is not None), None)
    excluded = tuple(words for part in parts for words in part[3])
    script = Script(text, camera, motion, excluded, tuple(places[1:]))
    for number, quote in enumerate(quotes):
        script = _put_back(script, chr(_STAND_IN + number), raw[quote.start : quote.end], quote)
    return script


def _put_back(script: Script, stand_in: str, words: str, quote: Quote) -> Script:
    """The script with a quotation in its place again; without it where it stood in a flag."""
    start = script.text.find(stand_in)
    if start < 0:
        return script
    more = len(words) - 1
    shots = tuple((a + more * (a > start), b + more * (b > start)) for a, b in script.shots)
    placed = replace(quote, start=start, end=start + len(words))
    return replace(script, text=script.text.replace(stand_in, words, 1), shots=shots, quotes=(*script.quotes, placed))
