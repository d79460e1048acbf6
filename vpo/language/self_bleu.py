"""Self-BLEU, exact and in linear time: how much a text repeats the others of a set.

Self-BLEU (Zhu et al., Texygen, arXiv 1802.01886) is the BLEU of one text with all others as its references. By the definition each
text is compared with every other one. Here each n-gram knows how many texts hold it how often. The clip of BLEU's modified precision
is the highest count among the *other* texts: the highest of all, or the second highest where the highest is the text's own alone. Of
nearly all n-grams the highest is 1, so that the number of holders says it. Numbers equal those of sacrebleu with these settings:
floor smoothing of 0.1 (NLTK's method 1, as Texygen has it), effective order, closest reference length.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FLOOR = 0.1  # matches that stand for none
Ints = npt.NDArray[np.int64]


def self_bleu_of(texts: Sequence[Sequence[str]], order: int) -> list[float]:
    """The BLEU of each text, as its words, against all others, from 0 to 1; 0 for one that shares no word with another."""
    remaining = Remaining(texts, order)
    return [remaining.score(place) for place in range(len(texts))]


@dataclass(frozen=True)
class _Grams:
    """The different n-grams of one text: which, how often, and where those of each length end."""

    names: Ints
    counts: Ints
    ends: tuple[int, ...]
    words: int


class Remaining:
    """Texts that are scored against one another, and can be taken away. Scoring or removing one takes time by its own length.

    Args:
        texts: each as its words.
        order: longest n-gram.
    """

    def __init__(self, texts: Sequence[Sequence[str]], order: int) -> None:
        self._of, size = _grams(texts, order)
        self._holders = np.zeros(size, dtype=np.int64)
        # Of n-grams that some text holds more than once: how many texts hold it how often.
        self._repeated: dict[int, Counter[int]] = {}
        self._lengths: Counter[int] = Counter()
        for place in range(len(self._of)):
            self.add(place)

    def score(self, place: int) -> float:
        """The self-BLEU of a text that is still there, from 0 to 1."""
        text = self._of[place]
        matched = np.minimum(self._holders[text.names] - 1, 1)  # of n-grams that the text holds once
        for at, (name, count) in zip(np.flatnonzero(text.counts > 1), self._repeats(text), strict=True):
            matched[at] = min(count, self._most_of_others(name, count))
        if not matched.any():
            return 0.0
        logs, start = 0.0, 0
        for number, end in enumerate(text.ends):
            logs += math.log((int(matched[start:end].sum()) or FLOOR) / (text.words - number))
            start = end
        return self._brevity(text.words) * math.exp(logs / len(text.ends))

    def add(self, place: int) -> None:
        """Put a text that was taken away back; all are there at first."""
        text = self._of[place]
        self._holders[text.names] += 1
        self._lengths[text.words] += 1
        for name, count in self._repeats(text):
            self._repeated.setdefault(name, Counter())[count] += 1

    def depending(self) -> list[set[int]]:
        """By text, the others whose score changes when it is taken away: at least all that do.

        With such a text it shares an n-gram that these two hold more often than any third one, or it alone has the closest length.
        """
        pairs: dict[int, list[int]] = {}
        repeats: dict[int, list[tuple[int, int]]] = {}
        for place, text in enumerate(self._of):
            for name in text.names[self._holders[text.names] == 2].tolist():
                pairs.setdefault(name, []).append(place)
            for name, count in self._repeats(text):
                repeats.setdefault(name, []).append((count, place))
        for name, counted in repeats.items():
            highest = sorted(counted, reverse=True)[:3]
            if len(highest) > 1 and (len(highest) == 2 or highest[2][0] < highest[1][0]):
                pairs[name] = [place for _, place in highest[:2]]
        found: list[set[int]] = [set() for _ in self._of]
        for one, other in pairs.values():
            found[one].add(other)
            found[other].add(one)
        of_length: dict[int, list[int]] = {}
        for place, text in enumerate(self._of):
            of_length.setdefault(text.words, []).append(place)
        for place, text in enumerate(self._of):
            others = [one for one in of_length.get(self._closest(text.words), ()) if one != place][:2]
            if len(others) == 1:
                found[others[0]].add(place)
        return [others - {place} for place, others in enumerate(found)]

    def remove(self, place: int) -> None:
        """Take a text away."""
        text = self._of[place]
        self._holders[text.names] -= 1
        self._lengths[text.words] -= 1
        if not self._lengths[text.words]:
            del self._lengths[text.words]
        for name, count in self._repeats(text):
            self._repeated[name][count] -= 1

    @staticmethod
    def _repeats(text: _Grams) -> list[tuple[int, int]]:
        """The n-grams that the text holds more than once, and how often."""
        if len(text.names) and text.counts.max() > 1:
            return [(int(text.names[at]), int(text.counts[at])) for at in np.flatnonzero(text.counts > 1)]
        return []

    def _most_of_others(self, name: int, count: int) -> int:
        """How often another text than one that holds it `count` times holds an n-gram, at most."""
        counts = self._repeated[name]
        most = max((one for one, texts in counts.items() if texts - (one == count) > 0), default=0)
        return most or int(self._holders[name] - counts.total() > 0)  # a text that holds it once

    def _brevity(self, words: int) -> float:
        """BLEU's penalty by the closest length of another text."""
        closest = self._closest(words)
        return 1.0 if words >= closest else math.exp(1 - closest / words)

    def _closest(self, words: int) -> int:
        """The length of another text that is closest to a text's, of two equally close ones the shorter; 0 without another text."""
        for away in range(max(self._lengths, default=0) + words + 1):
            for length in (words - away, words + away):
                if self._lengths[length] - (length == words) > 0:
                    return length
        return 0


def _grams(texts: Sequence[Sequence[str]], order: int) -> tuple[list[_Grams], int]:
    """The n-grams of each text up to the order, by numbers from 0, and how many numbers there are.

    An n-gram is named by its first n - 1 words' number and its last word's, so that no tuple of words is kept.
    """
    words: dict[str, int] = {}
    longer: dict[int, int] = {}  # (number of the beginning << 32) + number of the last word
    found = []
    for text in texts:
        own = []
        for word in text:
            own.append(words.setdefault(word, len(words) + len(longer)))
        counts: Counter[int] = Counter(own)
        ends = [len(counts)] if own else []
        level = own
        for length in range(2, min(order, len(own)) + 1):
            pairs = [(begin << 32) + last for begin, last in zip(level, own[length - 1 :], strict=False)]
            level = [longer.setdefault(pair, len(words) + len(longer)) for pair in pairs]
            counts.update(level)
            ends.append(len(counts))
        names = np.fromiter(counts, np.int64, len(counts))
        found.append(_Grams(names, np.fromiter(counts.values(), np.int64, len(counts)), tuple(ends), len(own)))
    return found, len(words) + len(longer)
