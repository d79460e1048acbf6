"""Intervals that are called 95 % hold the truth in 94 to 96 % of simulated experiments, whatever is measured.

Each experiment draws queries anew from a population whose mean is known. The error of a share of 95 % in 2,000 experiments is
0.5 points.
"""

import math

import numpy as np
import pytest

from vpo.results.intervals import paired_bootstrap, paired_weighted_bootstrap
from vpo.results.resampling import interval_of_mean

QUERIES = 200


def share_of(low, high):
    """A share whose true rate is another one each time: at one single rate the number of hits is so coarse that coverage jumps."""

    def draw(rng):
        rate = rng.uniform(low, high)
        return (rng.random(QUERIES) < rate).astype(float), None, rate

    return draw


def normal(rng):
    return rng.normal(3.0, 2.0, QUERIES), None, 3.0


def lognormal(rng):
    """A score with a long tail: skewness 6."""
    return rng.lognormal(0, 1, QUERIES), None, math.exp(0.5)


def student(rng):
    """Symmetric, with tails so heavy that the fourth moment is infinite."""
    return rng.standard_t(3, QUERIES), None, 0.0


def frames(rng):
    """Clips of 1 to 49 frames; long ones score higher, so that value and weight hang together."""
    counts = rng.integers(1, 50, QUERIES).astype(float)
    every = np.arange(1, 50)
    return rng.exponential(size=QUERIES) * np.sqrt(counts), counts, (every**1.5).sum() / every.sum()


def clips(rng):
    """Five clips a query that share the query's own rate, 95 % on average: pooled, as an evaluator does."""
    rates = rng.beta(9.5, 0.5, QUERIES)
    return rng.binomial(5, rates) / 5, np.full(QUERIES, 5.0), 0.95


def nearly_all(rng):
    """The same at 98 %, so that few queries have any clip that fails."""
    rates = rng.beta(4.9, 0.1, QUERIES)
    return rng.binomial(5, rates) / 5, np.full(QUERIES, 5.0), 0.98


def cut(rng):
    """Tokens behind the 226th, of all tokens: 0 for three prompts of four, weighted by length."""
    lengths = rng.lognormal(5, 0.4, QUERIES)
    return np.maximum(0, 1 - 226 / lengths), lengths, CUT


def _cut_of_all():
    """E max(0, L - 226) / E L of a log-normal length, in closed form.

    With d = (5 + s^2 - ln 226) / s it is Phi(d) - 226 Phi(d - s) / E L.
    """
    phi, s = (lambda x: (1 + math.erf(x / math.sqrt(2))) / 2), 0.4
    d = (5 + s * s - math.log(226)) / s
    return phi(d) - 226 * phi(d - s) / math.exp(5 + s * s / 2)


CUT = _cut_of_all()
KINDS = {
    "share near 0": (share_of(0.005, 0.08), True),
    "share near 1": (share_of(0.92, 0.995), True),
    "share in the middle": (share_of(0.3, 0.7), True),
    "normal": (normal, False),
    "long tail": (lognormal, False),
    "heavy tails": (student, False),
    "weighted by frames": (frames, False),
    "cut off, weighted by length": (cut, True),
    "five clips a query": (clips, True),
    "five clips a query, nearly all alike": (nearly_all, True),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_interval_of_a_mean(kind):
    draw, share = KINDS[kind]
    rng, experiments, covered = np.random.default_rng(0), 2_000, 0
    for _ in range(experiments):
        values, weights, truth = draw(rng)
        found = interval_of_mean(values, weights, share=share)
        covered += found.low <= truth <= found.high
    assert 0.94 <= covered / experiments <= 0.96


def changes(rng):
    """A share that few queries gain and fewer lose."""
    return rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.6, 0.3], size=QUERIES), 0.2


def skewed(rng):
    return rng.exponential(1.0, QUERIES) - 0.5, 0.5


def long_tail(rng):
    return rng.lognormal(0, 1, QUERIES), math.exp(0.5)


def heavy(rng):
    return rng.standard_t(3, QUERIES), 0.0


@pytest.mark.slow
@pytest.mark.parametrize("draw", [changes, skewed, long_tail, heavy])
def test_the_interval_of_a_gain(draw):
    rng, experiments, covered = np.random.default_rng(0), 2_000, 0
    for number in range(experiments):
        differences, truth = draw(rng)
        a = {str(query): [float(value)] for query, value in enumerate(differences)}
        gain = paired_bootstrap(a, {query: [0.0] for query in a}, resamples=1_000, seed=number)
        covered += gain.low <= truth <= gain.high
    assert 0.94 <= covered / experiments <= 0.96


@pytest.mark.slow
def test_the_interval_of_a_gain_of_weighted_means_in_three_seeds():
    """Seeds of one query are no independent evidence: they share the query's own part, and only queries are drawn."""
    every, experiments, covered = np.arange(1, 50), 1_000, 0
    rng = np.random.default_rng(0)
    truth = 0.5 * (every**1.5).sum() / every.sum()
    for number in range(experiments):
        own = rng.exponential(size=QUERIES)
        counts = rng.integers(1, 50, (QUERIES, 3)).astype(float)
        noise = rng.normal(0, 0.3, (2, QUERIES, 3))
        values = [(own[:, None] * half + one) * np.sqrt(counts) for half, one in zip((1.0, 0.5), noise, strict=True)]
        a, b = (
            {str(q): list(zip(of[q].tolist(), counts[q].tolist(), strict=True)) for q in range(QUERIES)}
            for of in values
        )
        gain = paired_weighted_bootstrap(a, b, resamples=500, seed=number)
        covered += gain.low <= truth <= gain.high
    assert 0.935 <= covered / experiments <= 0.97


def test_few_queries_that_differ_are_no_clear_gain():
    """Three of 200 queries gained: by the sign test p = 1/4. A resample has none of them with probability 5 %."""
    a = {str(query): [float(query < 3)] for query in range(200)}
    gain = paired_bootstrap(a, {query: [0.0] for query in a})
    assert gain.low <= 0
    assert not gain.clear
