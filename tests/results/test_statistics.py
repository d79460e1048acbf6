"""Means, intervals and the paired bootstrap, against numbers worked out by hand."""

import itertools
import math
import random

import numpy as np
import pytest

from vpo.records import Result
from vpo.results.intervals import (
    holm,
    mean_and_deviation,
    paired_bootstrap,
    paired_weighted_bootstrap,
    summarize,
    weighted_mean,
)
from vpo.results.resampling import interval_of_any, interval_of_mean


def test_summarize_of_a_share_gives_wilsons_interval():
    # 5 of 50: (0.1 + z^2/100 -+ z sqrt(0.1 * 0.9 / 50 + z^2 / 10000)) / (1 + z^2 / 50), z = 1.96: 4.35 % to 21.36 %
    result = summarize([1.0] * 5 + [0.0] * 45)
    assert (result.mean, result.n, result.n_failed) == (0.1, 50, 0)
    assert (result.low, result.high) == (pytest.approx(0.0435, abs=1e-4), pytest.approx(0.2136, abs=1e-4))
    assert result.ci95 == pytest.approx((result.high - result.low) / 2)


def test_a_share_of_none_or_all_is_not_certain():
    # none of n: z^2 / (n + z^2) at most
    bound = 1.96**2 / (100 + 1.96**2)
    none, every = summarize([0.0] * 100, share=True), summarize([1.0] * 100, share=True)
    assert (none.low, none.high) == (0, pytest.approx(bound))
    assert (every.low, every.high) == (pytest.approx(1 - bound), pytest.approx(1))
    # of weights 1, 1, 2 there are (1 + 1 + 2)^2 / (1 + 1 + 4) items
    items = 16 / 6
    assert interval_of_mean([0, 0, 0], [1, 1, 2], share=True).high == pytest.approx(1.96**2 / (items + 1.96**2))


def test_what_is_no_share_and_does_not_vary_has_no_width():
    """Clips that are all frozen move 0 pixels; that is no share of something."""
    assert interval_of_mean([0.0] * 50) == interval_of_mean([0.0] * 50, [3.0] * 50)
    assert interval_of_mean([0.0] * 50).half == 0
    assert interval_of_mean([0.7] * 50, share=True).half == 0


def test_a_failure_is_counted_and_is_never_a_score():
    result = summarize([1.0, None, 3.0, math.nan])
    assert (result.mean, result.n, result.n_failed) == (2.0, 2, 2)
    assert result.ci95 == pytest.approx(
        12.706
    )  # sample deviation sqrt(2), over sqrt(2); Student's t with one degree of freedom


def test_summarize_of_one_or_no_value():
    assert summarize([2.0]) == Result(mean=2.0, n=1, n_failed=0, ci95=None)
    assert summarize([None]) == Result(mean=None, n=0, n_failed=1, ci95=None)
    assert summarize([]) == Result(mean=None, n=0, n_failed=0, ci95=None)


def test_a_weighted_mean_is_a_ratio_of_sums_and_so_is_its_interval():
    # (3 * 1 + 1 * 2) / 4 = 5/4; residuals 3 * -1/4 and 1 * 3/4, squares 2 * 9/16, so sqrt(2/1 * 18/16) / 4 = 3/8
    mean, half = weighted_mean([1.0, 2.0], [3.0, 1.0])
    assert (mean, half) == (1.25, pytest.approx(12.706 * 3 / 8))
    # with equal weights it is the plain mean with its interval
    values = [0.5, 2.0, 0.0, 7.0, 1.0, 1.5]
    assert weighted_mean(values, [7.0] * 6)[1] == pytest.approx(summarize(values).ci95)
    assert weighted_mean([2.0], [5.0]) == (2.0, None)


def test_the_bootstrap_t_is_that_of_a_plain_loop():
    """Once more by plain sums, with other draws: the two widths differ by the error of 10,000 and 4,000 resamples."""
    draw = random.Random(3)
    values, weights = [draw.lognormvariate(0, 1) for _ in range(60)], [float(draw.randint(1, 9)) for _ in range(60)]

    def mean_and_error(items):
        total = sum(w for _, w in items)
        mean = sum(v * w for v, w in items) / total
        return mean, math.sqrt(len(items) / (len(items) - 1) * sum((w * (v - mean)) ** 2 for v, w in items)) / total

    items = list(zip(values, weights, strict=True))
    mean, error = mean_and_error(items)
    found = [mean_and_error(draw.choices(items, k=60)) for _ in range(4_000)]
    ratios = sorted((m - mean) / e for m, e in found)
    size = sorted(map(abs, ratios))[3_800]
    interval = interval_of_mean(values, weights)
    assert mean - interval.low == pytest.approx((ratios[3_900] + size) / 2 * error, rel=0.06)
    assert interval.high - mean == pytest.approx((size - ratios[100]) / 2 * error, rel=0.06)
    assert interval.half > 1.03 * 1.96 * error  # wider than the normal one,
    assert interval.high - mean > 1.1 * (mean - interval.low)  # and further above: the values are skewed
    turned = interval_of_mean(values[::-1], weights[::-1])
    assert turned == interval


def test_any_number_has_the_percentile_interval_of_its_resamples():
    """The largest of 20 values: a resample lacks the largest with probability (19/20)^20 = 0.36, the two largest with 0.12, ..."""
    values = np.arange(20, dtype=float)
    found = interval_of_any(lambda v, w: float(v.max()), values, np.ones(20))
    assert found.high == 19
    assert found.low == 16  # the largest three are lacking in 3.9 % of resamples, the largest four in 1.2 %
    assert interval_of_any(lambda v, w: float(v.max()), values[:1], np.ones(1)) is None


def test_mean_and_deviation_over_seeds():
    assert mean_and_deviation([1.0, 2.0, 3.0]) == (2.0, 1.0)
    assert mean_and_deviation([5.0]) == (5.0, None)


def test_the_gain_averages_over_seeds_first_and_counts_the_seeds_that_agree():
    a = {"q1": [3.0, 1.0], "q2": [1.0, 0.0]}
    b = {"q1": [1.0, 1.0], "q2": [0.0, 1.0]}
    # differences: q1 (2, 0), q2 (1, -1); per query 1 and 0; their mean 1/2. Seed 0: +3/2, seed 1: -1/2.
    gain = paired_bootstrap(a, b)
    assert (gain.mean, gain.n, gain.seeds, gain.same_sign) == (0.5, 2, 2, 1)
    # two queries: the deviation is 1 / sqrt(2), the standard error 1/2, and Student's t with one degree of freedom 12.706
    assert (gain.low, gain.high) == pytest.approx((0.5 - 6.353, 0.5 + 6.353))
    assert not gain.clear


def test_the_bootstrap_interval_of_a_share_is_close_to_the_normal_one():
    a = {f"q{i}": [float(i % 2)] for i in range(400)}
    b = {f"q{i}": [0.0] for i in range(400)}
    gain = paired_bootstrap(a, b)
    half = 1.96 * 0.5 / math.sqrt(400)  # = 0.049
    assert gain.low == pytest.approx(0.5 - half, abs=0.004)
    assert gain.high == pytest.approx(0.5 + half, abs=0.004)
    assert gain.clear


def test_the_same_data_in_another_order_give_the_same_interval():
    a, b = {"x": [1.0], "y": [0.0], "z": [4.0]}, {"x": [0.0], "y": [2.0], "z": [1.0]}
    assert paired_bootstrap(a, b) == paired_bootstrap(dict(reversed(a.items())), dict(reversed(b.items())))


def test_a_seed_that_failed_on_one_side_is_left_out_on_both():
    # q1 keeps seed 1 only (difference 1); q2 has no seed that both sides measured
    gain = paired_bootstrap({"q1": [9.0, 2.0], "q2": [5.0, None]}, {"q1": [None, 1.0], "q2": [None, 1.0]})
    assert (gain.mean, gain.n, gain.seeds, gain.same_sign) == (1.0, 1, 1, 1)


def test_no_common_query_is_no_gain():
    assert paired_bootstrap({"q1": [1.0]}, {"q2": [1.0]}) is None
    assert paired_bootstrap({}, {}) is None


def test_the_gain_of_weighted_means_is_a_difference_of_ratios():
    a = {"q1": [(1.0, 3.0)], "q2": [(0.0, 1.0)], "q3": [(9.0, 9.0)]}
    b = {"q1": [(0.0, 1.0)], "q2": [(1.0, 1.0)], "q3": [None]}
    # a: (3 * 1 + 1 * 0) / 4 = 3/4; b: (0 + 1) / 2 = 1/2; q3 is left out on both sides
    gain = paired_weighted_bootstrap(a, b)
    assert (gain.mean, gain.n, gain.seeds, gain.same_sign) == (0.25, 2, 1, 1)
    # residuals of q1: 3 (1 - 3/4) / 4 - 1 (0 - 1/2) / 2 = 7/16, of q2 the same below 0: the standard error is sqrt(2 * 2) 7/16 = 7/8
    assert (gain.low, gain.high) == pytest.approx((0.25 - 12.706 * 0.875, 0.25 + 12.706 * 0.875))
    assert paired_weighted_bootstrap({"q1": [None]}, {"q1": [(1.0, 1.0)]}) is None


def test_the_gain_of_weighted_means_averages_over_the_seeds_that_measured():
    # seed 0: q1 alone, 1 - 0; seed 1: q2 alone, 0 - 0.5; seed 2: nothing on both sides. The mean of 1 and -0.5 is 0.25.
    a = {"q1": [(1.0, 2.0), None, None], "q2": [None, (0.0, 5.0), (1.0, 1.0)]}
    b = {"q1": [(0.0, 7.0), (1.0, 1.0), None], "q2": [(1.0, 1.0), (0.5, 1.0), None]}
    gain = paired_weighted_bootstrap(a, b)
    assert (gain.mean, gain.n, gain.seeds, gain.same_sign) == (0.25, 2, 2, 1)
    assert (gain.low, gain.high) == (-0.5, 1.0)  # a resample of q1 alone has seed 0 only


def test_with_equal_weights_it_is_the_plain_bootstrap():
    a = {f"q{i}": [float(i % 3), float(i % 5)] for i in range(40)}
    b = {f"q{i}": [float(i % 2), 1.0] for i in range(40)}
    plain = paired_bootstrap(a, b)
    weighted = paired_weighted_bootstrap(*({q: [(v, 4.0) for v in of] for q, of in side.items()} for side in (a, b)))
    assert (weighted.mean, weighted.low, weighted.high) == pytest.approx((plain.mean, plain.low, plain.high))
    assert (weighted.n, weighted.seeds, weighted.same_sign) == (plain.n, plain.seeds, plain.same_sign)


def test_p_is_that_of_all_interchanges():
    """Of eight differences all 256 choices of signs, one by one; two thousand draws come within their own error of it."""
    differences = [3.0, -1.0, 2.5, 0.5, -0.25, 1.0, 2.0, -1.5]
    sums = [abs(sum(sign * d for sign, d in zip(signs, differences, strict=True)))
            for signs in itertools.product((1, -1), repeat=8)]  # fmt: skip
    exact = sum(one >= abs(sum(differences)) - 1e-9 for one in sums) / 256
    a, b = {f"q{i}": [d] for i, d in enumerate(differences)}, {f"q{i}": [0.0] for i in range(8)}
    error = 4 * math.sqrt(exact * (1 - exact) / 10_000)
    assert paired_bootstrap(a, b).p == pytest.approx(exact, abs=error)
    weighted = paired_weighted_bootstrap(*({q: [(v, 4.0) for v in of] for q, of in side.items()} for side in (a, b)))
    assert weighted.p == pytest.approx(exact, abs=error)


def test_p_of_no_difference_is_one_and_p_is_never_zero():
    same = {f"q{i}": [1.0] for i in range(50)}
    assert paired_bootstrap(same, same).p == 1.0
    better = {name: [2.0] for name in same}
    assert paired_bootstrap(better, same).p == pytest.approx(1 / 10_001)


def test_p_of_weighted_means_interchanges_weights_too():
    """Two queries, a = (1, weight 3), (0, weight 1) and b = (0, weight 1), (1, weight 1): by hand the four interchanges.

    None: 3/4 - 1/2 = 1/4. The first: a (0, 1), (0, 1) is 0 and b (1, 3), (1, 1) is 1, so -1. The second: 1. Both: -1/4. All are at
    least 1/4, so p is 1.
    """
    a = {"q1": [(1.0, 3.0)], "q2": [(0.0, 1.0)]}
    b = {"q1": [(0.0, 1.0)], "q2": [(1.0, 1.0)]}
    assert paired_weighted_bootstrap(a, b).p == 1.0


def test_holm_by_hand():
    # in order 0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.04, and none is less than the one before it
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
