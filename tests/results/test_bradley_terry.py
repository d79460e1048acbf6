"""Bradley-Terry strengths: by hand for two, against a maximiser of the likelihood for more, and intervals that cover."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from vpo.cards import EvaluatorCard, Metric
from vpo.results.bradley_terry import bradley_terry, comparisons, of_clips, strengths
from vpo.results.gathering import summarize_items
from vpo.results.metrics import Metrics


def item(query, method, **against):
    return {
        "query_id": query,
        "method": method,
        "metrics": {f"winrate_{name}": value for name, value in against.items()},
    }


def test_two_methods_differ_by_the_logarithm_of_their_odds():
    one, other = strengths(np.array([[0.0, 30.0], [10.0, 0.0]]))
    assert one - other == pytest.approx(math.log(3))
    assert one + other == pytest.approx(0)


def test_more_methods_have_the_strengths_of_greatest_likelihood():
    """scipy maximises sum_ij w_ij log(1 / (1 + exp(s_j - s_i))) over s."""
    wins = np.random.default_rng(1).integers(1, 40, (5, 5)).astype(float)
    np.fill_diagonal(wins, 0)

    def loss(s):
        return float((wins * np.logaddexp(0, s[None, :] - s[:, None])).sum())

    best = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-9}).x
    assert strengths(wins) == pytest.approx(best - best.mean(), abs=1e-6)


def test_a_comparison_counts_once_whoever_measured_it():
    items = [
        item("q", "a", b=1.0, c=0.5),
        item("q", "b", a=0.0, c=None),
        item("q", "c", a=0.5, b=1.0),
        item("r", "b", a=1.0),
    ]
    assert comparisons(items, "winrate") == {
        ("a", "b"): {"q": 1.0, "r": 0.0},
        ("a", "c"): {"q": 0.5},
        ("c", "b"): {"q": 1.0},
    }


def test_strengths_in_elo_by_hand():
    """Through one rival: a beats o in 9 of 12 and b in 3 of 12, a tie more of each; so 400 log10(9.5 / 3.5) on either side of o."""
    items = []
    for number in range(12):
        items.append(item(f"q{number}", "a", o=float(number < 9)))
        items.append(item(f"q{number}", "b", o=float(number < 3)))
        items.append({"query_id": f"q{number}", "method": "o", "metrics": {}})
    found = bradley_terry(items, "winrate")
    points = 400 * math.log10(9.5 / 3.5)
    assert [found[name]["mean"] for name in ("a", "o", "b")] == pytest.approx([points, 0, -points], abs=1e-6)
    assert [(one["n"], one["n_failed"]) for one in found.values()] == [(12, 0)] * 3
    assert list(found) == ["a", "b", "o"]  # in the order of the run
    assert found == bradley_terry(items, "winrate")  # the resamples are seeded


def test_failures_are_counted_and_a_method_that_always_wins_is_finite():
    items = [item(f"q{n}", "a", o=1.0 if n else None) for n in range(4)] + [item(f"q{n}", "b", o=0.0) for n in range(4)]
    found = bradley_terry([*items, *(item(f"q{n}", "o") for n in range(4))], "winrate")
    assert (found["a"]["n"], found["a"]["n_failed"]) == (3, 1)
    assert (found["o"]["n"], found["o"]["n_failed"]) == (4, 0)
    # Three wins and a tie: odds of 3.5 to 0.5; four losses and a tie: 0.5 to 4.5.
    assert found["a"]["mean"] - found["o"]["mean"] == pytest.approx(400 * math.log10(3.5 / 0.5))
    assert found["o"]["mean"] - found["b"]["mean"] == pytest.approx(400 * math.log10(4.5 / 0.5))


def test_two_methods_and_groups_that_never_met_have_no_strengths():
    assert bradley_terry([item("q", "a", b=1.0), item("q", "b", a=0.0)], "winrate") == {}
    apart = [item("q", "a", b=1.0), item("q", "b", a=0.0), item("q", "c", d=1.0), item("q", "d", c=0.0)]
    assert bradley_terry(apart, "winrate") == {}
    assert bradley_terry([], "winrate") == {}
    assert of_clips([item("q", "a", b=1.0)]) == {}


def test_intervals_cover_the_true_strengths(monkeypatch):
    """100 simulated tournaments of three methods of known strength; each half width holds the strength about 95 times of 100."""
    monkeypatch.setattr("vpo.results.bradley_terry.RESAMPLES", 200)
    true = np.array([60.0, 0.0, -60.0])
    rng, inside, total = np.random.default_rng(3), 0, 0
    for _ in range(100):
        items = []
        for query in range(60):
            won = {
                (i, j): float(rng.random() < 1 / (1 + 10 ** ((true[j] - true[i]) / 400)))
                for i, j in ((0, 1), (0, 2), (1, 2))
            }
            items += [
                item(f"q{query}", "m0", m1=won[0, 1], m2=won[0, 2]),
                item(f"q{query}", "m1", m2=won[1, 2]),
                item(f"q{query}", "m2"),
            ]
        for place, one in enumerate(bradley_terry(items, "winrate").values()):
            inside += abs(one["mean"] - true[place]) <= one["ci95"]
            total += 1
    assert 0.90 <= inside / total <= 0.98  # 95 % but for the simulation's own noise of 300


def test_a_run_has_them_beside_the_means():
    card = EvaluatorCard("w", "1", (
        Metric("winrate", "Win rate", "higher", parts=True),
        Metric("bradley_terry", "BT", "higher", across=True, aggregate="vpo.results.bradley_terry.of_prompts"),
    ))  # fmt: skip
    items = [item(f"q{n}", m, **{o: 0.5 for o in "abc" if o != m}) for n in range(5) for m in "abc"]
    found = summarize_items(items, Metrics({"winrate": card.to_json()}))
    assert list(found["a"]) == ["winrate_b", "winrate_c", "bradley_terry"]
    assert found["a"]["bradley_terry"]["mean"] == pytest.approx(0)
    assert found["a"]["bradley_terry"]["n"] == 5
