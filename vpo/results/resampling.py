"""The 95 % interval of one number over the queries: by resampling them, and in closed form where resampling is known to fail.

Which one is used depends on the values:

- *shares*, of which all values are 0 or 1, or nearly all are alike (several clips pooled): Wilson's score interval (JASA 22, 1927)
  with the effective number of items. Resampling knows no other value than those it saw: of 50 safe prompts it would say "100 % ± 0".
- *fewer than 10 items*: Student's t. A resample of a few items has all alike too often.
- *more than 5,000 items*: the normal distribution, from which resampling no longer differs by more than its own error.
- *everything else*: bootstrap-t, by resamples of whole items with their weights. T* = (m* - m) / s*, s* being the standard error of
  a resample, has two sets of 95 % quantiles: equal-tailed ones (Efron 1979; they follow skewness, but cover 93 % under heavy tails)
  and that of |T*| (Hall, "On symmetric bootstrap confidence intervals", JRSSB 50, 1988; it covers 93.5 % of long-tailed scores). The
  ends lie halfway between the two, and at the second for shares (of pooled clips, of tokens), whose values are bounded. This covers
  94 to 96 % in all cases of `tests/results/test_coverage.py`, where percentiles of m* alone cover 91 to 93 %.

An item is one query: what several clips of it gave is pooled first, so that all of it is drawn or left out together.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

Z95 = 1.96  # the normal distribution's two-sided 95 % quantile
T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306)  # Student's, with 1, 2, ... 8 degrees of freedom
DRAWS, FEWER_DRAWS = (
    10_000,
    2_000,
)  # resamples of an interval, and of many items: the error of its width is then 1 or 2 %
DRAWS_OF_ANY = 1_000  # where each of them is a call
MANY = 5_000  # items above which the interval is the normal one
RARE = 8  # items that differ from all the others, below which a share's interval is Wilson's
_BLOCK = 500  # resamples at a time, so that 5,000 items need tens of megabytes
_KEPT = 4_000_000  # numbers of a table of resamples that is kept for the next metric of as many items: 32 MB


@dataclass(frozen=True)
class Interval:
    """A 95 % interval; `half` is half of its width."""

    low: float
    high: float

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2


def of_few_within(low: float, high: float, n: int, least: float | None, greatest: float | None) -> tuple[float, float]:
    """The ends of an interval of fewer than 10 items, no farther out than the number itself can be; of more items as they are.

    Student's t knows no range: of nine items it may reach 117 % of a share. None is an end that there is not.
    """
    if n > len(T95) + 1:
        return low, high
    return low if least is None else max(low, least), high if greatest is None else min(high, greatest)


def interval_of_mean(
    values: Sequence[float], weights: Sequence[float] | None = None, *, share: bool = False
) -> Interval | None:
    """The 95 % interval of sum w v / sum w over items that were drawn with their weights; None for fewer than two.

    The same for the items in any order. Values that are all alike, and no share, have an interval of no width: nothing is known of how
    they vary.

    Args:
        values: (N,), finite.
        weights: (N,), above 0; 1 each where there are none.
        share: whether 0 and 1 are all that a single measurement can be. Values of which each is 0 or 1, and both occur, are taken for
            a share in any case.
    """
    v = np.asarray(values, dtype=np.float64)
    w = np.ones_like(v) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(v) < 2:
        return None
    order = np.lexsort((w, v))
    v, w = v[order], w[order]
    if _wants_score(v, share):
        return _score_interval(v, w)
    mean, error = (float(one) for one in _mean_and_error(v, w))
    if v[0] == v[-1]:
        return Interval(mean, mean)
    low, high = _quantiles(v, w, mean, error, share)
    return Interval(mean - high * error, mean - low * error)


def interval_of_any(compute: Callable[[Floats, Floats], float], values: Floats, weights: Floats) -> Interval | None:
    """The percentile interval of any number that `compute` makes of items (N,) and weights (N,); None for fewer than two items.

    For aggregates of which nothing is known.
    """
    if len(values) < 2:
        return None
    order = np.lexsort((weights, values))
    v, w = values[order], weights[order]
    found = [compute(v[places], w[places]) for block in draws(len(v), DRAWS_OF_ANY) for places in block]
    finite = [one for one in found if math.isfinite(one)]
    if not finite:
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return Interval(float(low), float(high))


def draws(size: int, resamples: int, seed: int = 0) -> Iterator[npt.NDArray[np.int64]]:
    """The places of `resamples` draws with replacement of `size` from as many, a block (rows, size) at a time."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _BLOCK):
        yield rng.integers(size, size=(min(_BLOCK, resamples - start), size))


def quantiles_of_t(
    estimates: Floats, errors: Floats, estimate: float, error: float, *, symmetric: bool = False
) -> tuple[float, float]:
    """The lower and the upper 95 % quantile of T* = (estimate* - estimate) / error* over the resamples (B,), as the head says.

    A resample in which nothing varies has no error and is left out; where these are the most, the normal quantiles stand in.
    """
    known = errors > 1e-9 * error
    if 2 * known.sum() < len(errors):
        return -Z95, Z95
    t = (estimates[known] - estimate) / errors[known]
    size = float(np.quantile(np.abs(t), 0.95))
    if symmetric:
        return -size, size
    low, high = np.quantile(t, [0.025, 0.975])
    return float(low - size) / 2, float(high + size) / 2


def quantile_of_few_or_many(items: int) -> float | None:
    """The quantile for so many items where it is not found by resampling: Student's for few, the normal one for very many."""
    if items - 1 <= len(T95):
        return T95[items - 2]
    return Z95 if items > MANY else None


def _wants_score(v: Floats, share: bool) -> bool:
    """Whether the interval of the values, sorted, is Wilson's."""
    if v[0] < 0 or v[-1] > 1:
        return False
    zeros, ones = np.count_nonzero(v == 0), np.count_nonzero(v == 1)
    if zeros + ones == len(v):
        return share or bool(zeros and ones)
    return share and len(v) - max(zeros, ones) < RARE <= len(v)


def _score_interval(v: Floats, w: Floats) -> Interval:
    """Wilson's interval of a share with the number of independent items that have its variance.

    With equal weights and values of 0 and 1 that is the number of items. Where all values are alike it is that of the weights
    (Kish: (sum w)^2 / sum w^2).
    """
    share, error = (float(one) for one in _mean_and_error(v, w))
    spread, of_weights = share * (1 - share), float(w.sum() ** 2 / (w * w).sum())
    # n / (n - 1) is in the error, and not in the variance of a share.
    n = spread / error**2 * len(v) / (len(v) - 1) if error > 0 and spread > 0 else of_weights
    return wilson(share, n)


def wilson(share: float, n: float) -> Interval:
    """Wilson's score interval of a share of `n` independent items."""
    square = Z95**2 / n
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def _quantiles(v: Floats, w: Floats, mean: float, error: float, share: bool) -> tuple[float, float]:
    known = quantile_of_few_or_many(len(v))
    if known is not None:
        return -known, known
    # How far the items are from the mean: what is squared below does not cancel then.
    parts = np.stack([w, w * (v - mean), w * w, w * w * (v - mean), (w * (v - mean)) ** 2], axis=1)
    sums = np.concatenate([counts @ parts for counts in _counts(len(v))])
    total, first, squares, mixed, second = sums.T
    shift = first / total  # of the resample's mean
    variance = np.maximum(second - 2 * shift * mixed + shift**2 * squares, 0) * len(v) / (len(v) - 1)
    return quantiles_of_t(shift, np.sqrt(variance) / total, 0.0, error, symmetric=share)


def _counts(items: int) -> Iterator[Floats]:
    """How often each item is in each resample, a block (rows, items) at a time."""
    resamples = min(DRAWS, max(FEWER_DRAWS, _KEPT // items))
    if items * resamples <= _KEPT:
        yield _kept_counts(items, resamples)
    else:
        yield from map(_counted, draws(items, resamples))


@lru_cache(maxsize=2)
def _kept_counts(items: int, resamples: int) -> Floats:
    return np.concatenate([_counted(places) for places in draws(items, resamples)])


def _counted(places: npt.NDArray[np.int64]) -> Floats:
    rows, items = places.shape
    flat = (places + np.arange(rows)[:, None] * items).ravel()
    return np.bincount(flat, minlength=rows * items).reshape(rows, items).astype(np.float64)


def _mean_and_error(v: Floats, w: Floats) -> tuple[Floats, Floats]:
    """R = sum w v / sum w and its standard error over the last axis, (..., N) to (...).

    R is a ratio of two sums, since the weights are drawn with the items. Its variance, linearised, is
    n / (n - 1) * sum (w (v - R))^2 / (sum w)^2 (Cochran, Sampling Techniques, 3rd ed. 1977, section 2.11); with equal weights that is
    s^2 / n.
    """
    n, total = v.shape[-1], w.sum(-1)
    ratio = (w * v).sum(-1) / total
    squares = ((w * (v - ratio[..., None])) ** 2).sum(-1)
    return ratio, np.sqrt(n / (n - 1) * squares) / total
