"""Statistics over many measurements: means with intervals, and the paired bootstrap and test behind every reported gain.

Pure functions on numbers; None stands for a measurement that failed. It is counted and never a score.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpo.records import Result
from vpo.results.resampling import T95, draws, interval_of_mean, quantiles_of_t

RESAMPLES = 10_000
_BLOCK = 500  # resamples drawn at a time, so that 10,000 queries still need only tens of megabytes

# values[query id] = one number per seed, in the same order of seeds everywhere; None where the measurement failed
SeedValues = Mapping[str, Sequence[float | None]]
# the same, with the weight of each measurement: (value, weight)
SeedWeighted = Mapping[str, Sequence[tuple[float, float] | None]]


@dataclass(frozen=True)
class Gain:
    """How much better one method is than another on the same queries.

    Attributes:
        mean: mean over the queries of the difference, in the metric's own unit.
        low: lower end of the 95 % interval of `mean`.
        high: upper end.
        n: queries with at least one seed in which both methods were measured.
        seeds: seeds in which both methods were measured on some query.
        same_sign: of these, the seeds whose own mean difference has the sign of `mean`.
        p: two-sided, of the paired permutation test: how often a difference as large comes about where the methods are interchanged at
            random query by query. Not corrected for other comparisons; see `holm`.
    """

    mean: float
    low: float
    high: float
    n: int
    seeds: int
    same_sign: int
    p: float

    @property
    def clear(self) -> bool:
        """True where the interval does not contain zero."""
        return self.low > 0 or self.high < 0


def summarize(values: Sequence[float | None], *, share: bool = False) -> Result:
    """The mean over queries with its 95 % interval, as `vpo.results.resampling.interval_of_mean` has it.

    `n` counts the values in the mean; None and NaN are failures and count in `n_failed`.
    """
    valid = [float(value) for value in values if value is not None and math.isfinite(value)]
    n, n_failed = len(valid), len(values) - len(valid)
    if n == 0:
        return Result(mean=None, n=0, n_failed=n_failed, ci95=None)
    mean, found = math.fsum(valid) / n, interval_of_mean(valid, share=share)
    if found is None:
        return Result(mean, n, n_failed, ci95=None)
    return Result(mean, n, n_failed, found.half, found.low, found.high)


def weighted_mean(values: Sequence[float], weights: Sequence[float]) -> tuple[float, float | None]:
    """The ratio sum w v / sum w over the items, with the half width of its 95 % interval (None for a single item).

    Raises ValueError where the lengths differ.
    """
    ratio = math.fsum(v * w for v, w in zip(values, weights, strict=True)) / math.fsum(weights)
    found = interval_of_mean(values, weights)
    return ratio, None if found is None else found.half


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (None for a single value), as tables report several seeds."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return math.fsum(values) / len(values), deviation


def paired_bootstrap(a: SeedValues, b: SeedValues, *, resamples: int = RESAMPLES, seed: int = 0) -> Gain | None:
    """Is `a` better than `b`? The mean difference a - b over the queries, with its 95 % interval (`_ends`).

    Queries are independent evidence and seeds of one query are not: so the difference is first averaged over the seeds
    of each query, and then whole queries are resampled with replacement. A seed in which either method failed on a
    query is left out of that query, on both sides.

    Returns:
        None where no query was measured under both methods.
    """
    pairs = {query: _differences(a[query], b[query]) for query in sorted(a.keys() & b.keys())}
    pairs = {query: differences for query, differences in pairs.items() if differences}
    if not pairs:
        return None
    per_query = np.array([math.fsum(differences.values()) / len(differences) for differences in pairs.values()])
    mean = float(per_query.mean())
    drawn = [per_query[places] for places in draws(len(pairs), resamples, seed)]
    means, errors = (np.concatenate(column) for column in zip(*map(_means_and_errors, drawn), strict=True))
    low, high = _ends(means, errors, mean, _means_and_errors(per_query)[1], len(pairs))
    of_seed: dict[int, list[float]] = {}
    for differences in pairs.values():
        for number, difference in differences.items():
            of_seed.setdefault(number, []).append(difference)
    same = sum(np.sign(math.fsum(differences)) == np.sign(mean) for differences in of_seed.values())
    p = p_value(mean, _swapped_means(per_query, resamples, seed))
    return Gain(mean, low, high, n=len(pairs), seeds=len(of_seed), same_sign=int(same), p=p)


def paired_weighted_bootstrap(
    a: SeedWeighted, b: SeedWeighted, *, resamples: int = RESAMPLES, seed: int = 0
) -> Gain | None:
    """`paired_bootstrap` of weighted means: R_a - R_b with R = sum w v / sum w, averaged over the seeds.

    Whole queries are resampled, with their values and weights under both methods and in all seeds. A seed in which a query was not
    measured under both methods is left out of that query, on both sides. With equal weights it is `paired_bootstrap`.

    Returns:
        None where no query was measured under both methods.
    """
    queries = sorted(query for query in a.keys() & b.keys() if any(measured_by_both(a[query], b[query])))
    if not queries:
        return None
    masks = np.array([measured_by_both(a[query], b[query]) for query in queries]).T  # (S, Q)
    used = masks.any(axis=1)
    sides = [products_of(side, queries, masks)[:, used] for side in (a, b)]  # each (2, S, Q)

    def difference(places: np.ndarray, swap: np.ndarray | None = None) -> np.ndarray:
        """R_a - R_b of queries drawn, by seed: places (..., Q) to (S, ...); NaN where a seed measured none of them.

        With `swap` (..., Q) the methods are interchanged on these queries.
        """
        a, b = (products[..., places] for products in sides)
        if swap is not None:
            a, b = np.where(swap, b, a), np.where(swap, a, b)
        with np.errstate(invalid="ignore"):
            ratios = [products.sum(-1) for products in (a, b)]
            return ratios[0][0] / ratios[0][1] - ratios[1][0] / ratios[1][1]

    def error(places: np.ndarray) -> np.ndarray:
        """The standard error of the mean over the seeds of R_a - R_b, linearised as in `vpo.results.resampling`: (..., Q) to (...)."""
        residuals = []
        for products in (side[..., places] for side in sides):
            with np.errstate(invalid="ignore"):
                total = products[1].sum(-1)[..., None]
                residuals.append((products[0] - products[0].sum(-1)[..., None] / total * products[1]) / total)
        of_query = np.nanmean(residuals[0] - residuals[1], axis=0)
        n = len(queries)
        found: np.ndarray = np.sqrt(n / max(n - 1, 1) * (of_query**2).sum(-1))
        return found

    every = np.arange(len(queries))
    of_seeds = difference(every)
    mean = float(of_seeds.mean())
    drawn = [(np.nanmean(difference(places), axis=0), error(places)) for places in draws(len(queries), resamples, seed)]
    means, errors = (np.concatenate(column) for column in zip(*drawn, strict=True))
    low, high = _ends(means, errors, mean, error(every), len(queries))
    same = int(sum(np.sign(of_seeds) == np.sign(mean)))
    swapped = [
        difference(np.broadcast_to(every, swap.shape), swap).mean(axis=0)
        for swap in swaps(len(queries), resamples, seed)
    ]
    p = p_value(mean, np.concatenate(swapped))
    return Gain(mean, low, high, n=len(queries), seeds=len(of_seeds), same_sign=same, p=p)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of one family of comparisons, corrected after Holm (Scandinavian Journal of Statistics 6, 1979), in their order.

    The i-th smallest of m (from 0) is multiplied by m - i, is at least as great as the one before it, and at most 1.
    """
    corrected, least = [0.0] * len(p_values), 0.0
    for place, number in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, p_values[number] * (len(p_values) - place)))
        corrected[number] = least
    return corrected


def measured_by_both(a: Sequence[object | None], b: Sequence[object | None]) -> list[bool]:
    """By seed, whether both sides measured."""
    return [x is not None and y is not None for x, y in zip(a, b, strict=True)]


def products_of(side: SeedWeighted, queries: Sequence[str], masks: np.ndarray) -> np.ndarray:
    """(w v, w) by seed and query, (2, S, Q); zeros where the mask (S, Q) is False."""
    pairs = [[one if one is not None else (0.0, 0.0) for one in side[query]] for query in queries]
    values, weights = np.array(pairs, dtype=float).transpose(2, 1, 0)
    return np.stack([values * weights, weights]) * masks


def _differences(a: Sequence[float | None], b: Sequence[float | None]) -> dict[int, float]:
    """{number of the seed: a - b} over the seeds that measured both."""
    both = enumerate(zip(a, b, strict=True))
    return {number: x - y for number, (x, y) in both if x is not None and y is not None}


def _means_and_errors(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and their standard errors over the last axis, (..., N) to (...)."""
    n = values.shape[-1]
    errors = values.std(axis=-1, ddof=1) / math.sqrt(n) if n > 1 else np.zeros(values.shape[:-1])
    return values.mean(axis=-1), errors


def _ends(means: np.ndarray, errors: np.ndarray, mean: float, error: Any, n: int) -> tuple[float, float]:
    """The 95 % interval of a difference, from the resamples' differences and standard errors.

    Each end is the farther one of two. Percentiles of the resamples alone cover 93 % under heavy tails, bootstrap-t more (see
    `vpo.results.resampling`); but where few queries differ at all, and all in one direction, only percentiles know that a resample may
    have none of them. Of fewer than 10 queries percentiles cover 86 to 89 %, so these have Student's t, as means do.
    """
    if 1 < n <= len(T95) + 1 and error > 0:
        half = T95[n - 2] * float(error)
        return mean - half, mean + half
    low, high = (float(one) for one in np.percentile(means, [2.5, 97.5]))
    if not error > 0:
        return low, high
    lower, upper = quantiles_of_t(means, errors, mean, float(error))
    return min(low, mean - upper * float(error)), max(high, mean - lower * float(error))


def _swapped_means(differences: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of the differences (N,) with the sign of each drawn anew, as an array (resamples,)."""
    signs = (np.where(swap, -1.0, 1.0) for swap in swaps(len(differences), resamples, seed))
    return np.concatenate([(one * differences).mean(axis=1) for one in signs])


def p_value(mean: float, swapped: np.ndarray) -> float:
    """The share of at least as large differences among those of chance, the one at hand among them, so that it is never 0.

    Sums in another order round differently: what is equal but for rounding counts as equal.
    """
    least = abs(mean) - 1e-12 * max(1.0, abs(mean))
    return float((1 + np.count_nonzero(np.abs(swapped) >= least)) / (1 + len(swapped)))


def swaps(size: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Whether each of `size` queries has its methods interchanged, `resamples` times, a block (rows, size) at a time."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _BLOCK):
        yield rng.random((min(_BLOCK, resamples - start), size)) < 0.5
