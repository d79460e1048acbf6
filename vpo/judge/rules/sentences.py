"""Texts as sentences: split, joined, closed, and cut to length without losing what matters."""

import re
from collections.abc import Callable, Sequence

SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]]))\s+")
_CLOSED = re.compile(r"[.!?][\"')\]]*$")
# Words that no sentence ends with: what ends so was cut off.
_OPEN = frozenset({
    "a", "an", "the", "and", "or", "but", "of", "in", "on", "at", "to", "with", "from", "by", "for", "as", "its", "his",
    "her", "their", "while", "that", "which", "is", "are", "was", "were", "into", "onto", "over", "under", "between",
    "through", "like",
})  # fmt: skip
_TAG_WORDS = 3  # a text that ends in such short pieces between commas is a list of tags, and was not cut off


def one_line(text: str) -> str:
    """The text on one line, with single blanks, spaces before commas and doubled marks gone."""
    text = " ".join(text.split())
    text = re.sub(r"\s+([,.;!?])", r"\1", text)
    text = re.sub(r"([,;])\s*(?=[.!?,;])", "", text)
    text = re.sub(r"([.!?])(?:\s*[,;])+", r"\1", text)
    return text.strip(" ,;")


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def joined(*parts: str) -> str:
    """Sentences one after another, each closed by a full stop."""
    closed = [part if part[-1] in ".!?\"'" else part + "." for part in (one_line(p) for p in parts) if part]
    return " ".join(closed)


def sentences_of(text: str) -> list[tuple[int, int]]:
    """Where each sentence begins and ends."""
    spans, start = [], 0
    for gap in SENTENCE_END.finditer(text):
        spans.append((start, gap.end()))
        start = gap.end()
    return [*spans, (start, len(text))] if start < len(text) else spans


def whole(text: str, cut: bool) -> str:
    """The text without a last sentence that was cut off; its last clause only, where it is the only sentence.

    `cut` says that a language model was stopped in it. Otherwise the text shows it: it ends with a comma or a word that no
    sentence ends with, or its last sentence alone has no full stop and is no list of tags.
    """
    text = text.rstrip()
    sentences = SENTENCE_END.split(text)
    last = sentences[-1]
    if not last or _CLOSED.search(last) or not (cut or _is_open(last, closed_before=len(sentences) > 1)):
        return text
    if len(sentences) > 1:
        return " ".join(sentences[:-1])
    kept = last[: last.rfind(",")] if "," in last.rstrip(" ,") else last
    words = kept.split()
    while words and words[-1].lower() in _OPEN:
        words.pop()
    return " ".join(words).rstrip(" ,;:")


def _is_open(sentence: str, closed_before: bool) -> bool:
    words = sentence.split()
    if sentence[-1] in ",;:" or words[-1].lower() in _OPEN:
        return True
    tags = all(len(piece.split()) <= _TAG_WORDS for piece in sentence.split(",")) and _OPEN.isdisjoint(
        map(str.lower, words)
    )
    return closed_before and not tags


def within(text: str, most: int, worth: Callable[[str, Sequence[str]], int], still: Callable[[str], bool]) -> str:
    """The text with at most `most` words, or as near as can be, by leaving out the sentences of least worth.

    Args:
        worth: of a sentence among the others; of equal ones the later goes first. The first sentence always stays.
        still: whether a text without a sentence is as good as before; a sentence that it needs stays.
    """
    sentences = SENTENCE_END.split(text)
    while len(" ".join(sentences).split()) > most:
        order = sorted(
            range(1, len(sentences)),
            key=lambda at: (worth(sentences[at], sentences[:at] + sentences[at + 1 :]), -at),
        )
        gone = next((at for at in order if still(" ".join(sentences[:at] + sentences[at + 1 :]))), None)
        if gone is None:
            break
        del sentences[gone]
    return " ".join(sentences)
