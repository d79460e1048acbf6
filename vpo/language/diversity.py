"""How different the texts of a set are from one another: distinct-n, the similarity of pairs, self-BLEU, the Vendi score.

Such a number is of the whole set, and still it varies with the queries that happen to be in it. So that it has an interval and a
paired test as means have, each function gives one value a text: the values' mean is the set's number, and their spread is that of the
number, by the jackknife (Efron and Stein, Annals of Statistics 9, 1981). What a text's value says is by how much the set would have
another number without it. The mean of the texts' own similarities with the others would have the same mean and half of the spread.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from vpo.language.self_bleu import Remaining

EXACT = 500  # texts up to which the Vendi score is made anew without each of them
_ZERO = 1e-12  # of eigenvalues
_WORD = re.compile(r"\w+(?:['’-]\w+)*")

Floats = npt.NDArray[np.float64]


def words(text: str) -> list[str]:
    """The words of a text without capitals and punctuation. A script without spaces has one word a stretch of letters."""
    return _WORD.findall(text.casefold())


def grams(text: str, n: int) -> list[tuple[str, ...]]:
    """The runs of n words of a text."""
    found = words(text)
    return [tuple(found[start : start + n]) for start in range(len(found) - n + 1)]


def jackknifed(whole: float, without: Sequence[float]) -> list[float]:
    """One value a text of a number of a set: their mean is the number, the variance of their mean the jackknife's.

    Args:
        whole: the number of the set of n texts.
        without: the number of the set without each of them, (n,).
    """
    mean, n = math.fsum(without) / len(without), len(without)
    return [whole + (n - 1) * (mean - one) for one in without]


def distinct(texts: Sequence[str], n: int) -> list[float | None]:
    """Distinct-n: different runs of n words of all runs (Li et al., arXiv:1510.03055). None for a text without a run."""
    runs = [grams(text, n) for text in texts]
    total = sum(map(len, runs))
    holders = Counter(run for of_text in runs for run in set(of_text))
    if not total:
        return [None] * len(texts)
    # Runs that a text alone holds go with it.
    left = [len(holders) - sum(holders[run] == 1 for run in set(of_text)) for of_text in runs if of_text]
    lengths = [len(of_text) for of_text in runs if of_text]
    if len(left) == 1:
        values = iter([len(holders) / total])
    else:
        without = [kept / (total - length) for kept, length in zip(left, lengths, strict=True)]
        values = iter(jackknifed(len(holders) / total, without))
    return [next(values) if of_text else None for of_text in runs]


def self_similarity(texts: Sequence[str]) -> list[float | None]:
    """The mean cosine of all pairs of texts, in 0..1, of their counts of pairs of words; None for a single text.

    A text of one word is compared by it.
    """
    n = len(texts)
    if n < 2:
        return [None] * n
    vectors = [_unit(Counter(grams(text, 2) or grams(text, 1))) for text in texts]
    total: dict[tuple[str, ...], float] = {}
    for vector in vectors:
        for run, value in vector.items():
            total[run] = total.get(run, 0.0) + value
    # The sum over the others is that over all without the text itself, whose square is its own part.
    sums = [math.fsum(value * (total[run] - value) for run, value in vector.items()) for vector in vectors]
    own = [max(0.0, one) / (n - 1) for one in sums]
    whole = math.fsum(own) / n
    if n == 2:
        return [whole, whole]
    return list(jackknifed(whole, [(n * whole - 2 * one) / (n - 2) for one in own]))


def self_bleu(texts: Sequence[str], order: int = 4) -> list[float | None]:
    """The mean of the texts' BLEU against all others, in 0..1 (`vpo.language.self_bleu`); None for a single text."""
    n = len(texts)
    if n < 2:
        return [None] * n
    remaining = Remaining([words(text) for text in texts], order)
    scores = [remaining.score(place) for place in range(n)]
    whole = math.fsum(scores) / n
    if n == 2:
        return [whole, whole]
    without = []
    for place, others in enumerate(remaining.depending()):
        remaining.remove(place)
        change = math.fsum(remaining.score(other) - scores[other] for other in sorted(others))
        remaining.add(place)
        without.append((n * whole - scores[place] + change) / (n - 1))
    return list(jackknifed(whole, without))


def vendi(vectors: Floats) -> list[float]:
    """The Vendi score: how many texts that share nothing would be as diverse, from 1 to their number.

    exp(-sum l log l), with l the eigenvalues of K / n and K the cosines of all pairs (Friedman and Dieng, arXiv:2210.02410). Of more
    than 500 texts the values are by the infinitesimal jackknife, from the influence of a text on the entropy H, -x^T log(C) x - H with
    C = X^T X / n; it is one decomposition in the place of n, and its intervals are a little too narrow while n is not far above d.

    Args:
        vectors: (n, d), each of length 1.
    """
    x = np.asarray(vectors, dtype=np.float64)
    n, size = x.shape
    if n <= EXACT:
        whole = math.exp(_entropy(x @ x.T / n if n < size else x.T @ x / n))
        if n < 2:
            return [whole] * n
        return jackknifed(whole, [math.exp(_entropy(matrix)) for matrix in _without_each(x)])
    values, axes = np.linalg.eigh(x.T @ x / n)
    logs = np.log(np.where(values > _ZERO, values, 1.0))
    entropy = -float((values * logs).sum())
    influence = -((x @ axes) ** 2 @ logs) - entropy
    return list(math.exp(entropy) * (1 + influence - influence.mean()))


def _without_each(x: Floats) -> Iterator[Floats]:
    """By text, a matrix with the eigenvalues of K / (n - 1) of the others, the smaller of the two that have them."""
    n, size = x.shape
    inner, outer = x @ x.T, x.T @ x
    for place in range(n):
        kept = np.arange(n) != place
        yield (inner[kept][:, kept] if n <= size else outer - np.outer(x[place], x[place])) / (n - 1)


def _entropy(matrix: Floats) -> float:
    values = np.linalg.eigvalsh(matrix)
    values = values[values > _ZERO]
    return -float((values * np.log(values)).sum())


def _unit(counts: Counter[tuple[str, ...]]) -> dict[tuple[str, ...], float]:
    length = math.sqrt(sum(count * count for count in counts.values()))
    return {run: count / length for run, count in counts.items()}
