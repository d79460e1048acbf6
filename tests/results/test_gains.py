"""The differences between the methods of one run, query by query: by hand, against the plain statistics, and in the tables."""

import numpy as np
import pytest

from vpo.cards import WEIGHTED_MEAN, Derived, EvaluatorCard, Metric, share
from vpo.results.derived import paired_derived
from vpo.results.gains import gains_of
from vpo.results.gathering import summarize_items
from vpo.results.intervals import paired_bootstrap, paired_weighted_bootstrap
from vpo.results.metrics import Metrics
from vpo.results.schema import Gains
from vpo.tables.formats import to_text
from vpo.tables.run_tables import run_tables

HALF = "tests.results.test_derived.half_of_both"
CARD = EvaluatorCard(
    "one",
    "1",
    (
        share("good", "Good", "higher", ""),
        Metric("long", "Long", main=False),
        Metric("kappa", "Kappa", aggregate="vpo.results.kappa.CohenKappa"),
    ),
)
METRICS = Metrics({"one": CARD.to_json()})


def item(query, method, **metrics):
    return {"query_id": str(query), "method": method, "metrics": metrics}


def run_of(**good):
    """Items of methods by their values of `good`, a query each; the first method is the reference."""
    return [
        item(q, method, good=value, long=1.0, kappa=0.0) for method, of in good.items() for q, value in enumerate(of)
    ]


def results_of(items):
    methods = summarize_items(items, METRICS)
    return {"methods": methods, "gains": gains_of(items, methods, METRICS), "evaluators": {"one": CARD.to_json()}}


def test_each_method_less_the_first_one_with_p_corrected_over_all_differences():
    """Of twenty queries the second method gains all, the third one: p = 2^-19 or 1 of chance, twice the smaller one after Holm."""
    found = results_of(run_of(plain=[0.0] * 20, much=[1.0] * 20, little=[1.0] + [0.0] * 19))["gains"]
    Gains.model_validate(found)
    assert (found["reference"], found["resamples"], list(found["differences"])) == ("plain", 2000, ["good"])
    much, little = found["differences"]["good"]["much"], found["differences"]["good"]["little"]
    assert much == {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 20, "p": 1 / 2001, "p_holm": 2 / 2001}
    assert (little["mean"], little["n"], little["p"], little["p_holm"]) == (pytest.approx(0.05), 20, 1.0, 1.0)


def test_a_query_that_failed_on_either_side_is_in_no_difference_and_one_method_has_none():
    found = results_of(run_of(plain=[0.0, None, 1.0, 1.0], other=[1.0, 1.0, None, 1.0]))["gains"]
    assert (found["differences"]["good"]["other"]["mean"], found["differences"]["good"]["other"]["n"]) == (0.5, 2)
    assert results_of(run_of(plain=[0.0, 1.0]))["gains"] is None
    assert results_of(run_of(plain=[None, 1.0], other=[1.0, None]))["gains"]["differences"] == {}


def test_the_tables_mark_what_is_not_distinguishable_from_the_first_method():
    results = results_of(run_of(plain=[0.0] * 20, much=[1.0] * 20, little=[1.0] + [0.0] * 19))
    main, gain, detail = run_tables(results, {"plain": "Plain", "much": "Much"})
    assert [row.cells[0].text.endswith("≈") for row in main.rows] == [False, False, True]
    assert "≈: not distinguishable from Plain, p ≥ 0.05" in main.notes[-1]
    assert [(row.label, row.cells[0].bold) for row in gain.rows] == [("Much − Plain", True), ("little − Plain", False)]
    assert gain.rows[0].cells[0].text == "+100.0 [+100.0, +100.0]"
    assert gain.rows[1].cells[0].text.startswith("+5.0 [")
    assert gain.rows[1].cells[0].text.endswith("] ≈")
    assert gain.rows[1].cells[0].fields["p_holm"] == 1.0
    assert [row.label for row in detail.rows] == ["Long"]
    assert any(line.split()[:3] == ["little", "5.0", "≈"] for line in to_text(main).splitlines())
    (main, _) = run_tables({**results, "gains": None})  # of an older version, or of one method
    assert not any("≈" in cell.text for row in main.rows for cell in row.cells)


def weighted(values, weights):
    return {str(q): [(float(v), float(w))] for q, (v, w) in enumerate(zip(values, weights, strict=True))}


def test_a_derived_number_of_one_mean_is_that_mean():
    """a and b alike: the half of their sum is a itself, so difference and p are those of the bootstrap that exists."""
    rng = np.random.default_rng(0)
    mine, other = rng.normal(0.3, 1, 60), rng.normal(0, 1, 60)
    weights = rng.integers(1, 9, 60)
    derived = Derived(Metric("both", "Both", aggregate=HALF), ("a", "b"))
    sides = [dict.fromkeys("ab", weighted(values, weights)) for values in (mine, other)]
    found = paired_derived(derived, *sides, resamples=2000)
    due = paired_weighted_bootstrap(sides[0]["a"], sides[1]["a"], resamples=2000)
    assert (found.mean, found.p, found.n) == (pytest.approx(due.mean), due.p, 60)
    assert (found.low, found.high) == (pytest.approx(due.low, abs=0.06), pytest.approx(due.high, abs=0.06))


def test_a_derived_number_of_prompts_of_their_own_is_compared_over_its_seeds():
    """a is measured on one half of the queries and b on the other: D_a - D_b is half of the sum of the two mean differences."""
    gained = {str(q): [float(q % 3), float(q % 2)] for q in range(40)}
    first, second = ({q: v for q, v in gained.items() if int(q) % 2 == half} for half in (0, 1))

    def with_weights(values, less=0.0):
        return {q: [(v - less, 1.0) for v in of_seeds] for q, of_seeds in values.items()}

    derived = Derived(Metric("both", "Both", aggregate=HALF), ("a", "b"))
    mine = {"a": with_weights(first), "b": with_weights(second)}
    nothing = {name: {q: [(0.0, 1.0)] * 2 for q in of} for name, of in mine.items()}
    found = paired_derived(derived, mine, nothing, resamples=500)
    parts = [paired_bootstrap(of, {q: [0.0, 0.0] for q in of}, resamples=500).mean for of in (first, second)]
    assert found.mean == pytest.approx(sum(parts) / 2)
    assert (found.n, found.seeds, found.same_sign) == (40, 2, 2)
    assert found.low < found.mean < found.high
    assert paired_derived(derived, {"a": mine["a"]}, {"a": nothing["a"]}) is None  # b is missing


def test_a_run_compares_its_derived_numbers():
    card = EvaluatorCard(
        "one",
        "1",
        tuple(Metric(name, name, aggregate=WEIGHTED_MEAN, main=False) for name in "ab"),
        derived=(Derived(Metric("both", "Both", "higher", aggregate=HALF), ("a", "b")),),
    )
    metrics = Metrics({"one": card.to_json()})
    items = [
        item(q, method, a=float(q % 5) + up, b=1.0 + up) for method, up in (("x", 0.0), ("y", 1.0)) for q in range(12)
    ]
    methods = summarize_items(items, metrics)
    gain = gains_of(items, methods, metrics)["differences"]["both"]["y"]
    assert (gain["mean"], gain["n"], gain["p"] < 0.01) == (pytest.approx(1.0), 12, True)
    assert (gain["low"], gain["high"]) == (pytest.approx(1.0), pytest.approx(1.0))
