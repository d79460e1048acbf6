"""Numbers that are made of a method's other numbers: from the card to the table."""

import json
from typing import Any

import numpy as np
import pytest

from tests.evaluator.test_vbench_formulas import COGVIDEOX
from vpo import targets
from vpo.build import card_of, cards_of
from vpo.cards import WEIGHTED_MEAN, Derived, EvaluatorCard, Metric, Weighted, share
from vpo.errors import UserError
from vpo.evaluator.vbench.dimensions import COUNTERS, DERIVED, DIMENSIONS
from vpo.results.gathering import summarize_items
from vpo.results.metrics import Metrics, are_cards
from vpo.tables.run_tables import run_tables
from vpo.workers.vbench.totals import QUERIES

HERE = "tests.results.test_derived"
NO_INTERVAL = {"ci95": None, "low": None, "high": None}


def half_of_both(means: Any) -> float:
    return (means["a"] + means["b"]) / 2


def none_at_all(means: Any) -> None:
    return None


class One:
    """Measures the metrics of these names, and derives a number by a function, if there is one."""

    def __init__(self, names: list[str], function: str) -> None: ...

    @staticmethod
    def card(names: list[str], function: str) -> EvaluatorCard:
        derived = Derived(Metric("both", "Both", "higher", decimals=1, aggregate=function), ("a", "b"), ("strange",))
        return EvaluatorCard(
            "one", "1", tuple(Metric(name, name) for name in names), derived=(derived,) if function else ()
        )

    def measure(self, samples: Any) -> Any:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def allowed() -> Any:
    targets.allow(["tests."])
    yield
    targets.allow([])


def node(*names: str, function: str = f"{HERE}.half_of_both") -> dict[str, Any]:
    return {"_target_": f"{HERE}.One", "names": list(names), "function": function}


def summarized(items: list[dict[str, Any]], *nodes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cards = cards_of({str(number): one for number, one in enumerate(nodes)})
    written = json.loads(json.dumps({name: card.to_json() for name, card in cards.items()}))
    assert are_cards(written)
    rows = [{"method": "m", "query_id": str(number), **one} for number, one in enumerate(items)]
    return summarize_items(rows, Metrics(written))


def test_it_is_made_of_the_numbers_of_two_evaluators() -> None:
    items = [{"metrics": {"a": 1.0, "b": 4.0}}, {"metrics": {"a": 2.0, "b": None}}]
    found = summarized(items, node("a"), node("b"))["m"]
    # Of two queries drawn twice: the first twice (2.5), both (2.75), or the second twice, which has no b and is left out.
    assert found["both"] == {"mean": (1.5 + 4) / 2, "n": 1, "n_failed": 1, "ci95": 0.125, "low": 2.5, "high": 2.75}


def test_its_interval_draws_all_numbers_of_a_query_together() -> None:
    rng = np.random.default_rng(3)
    a, noise = rng.normal(0, 1, 400), rng.normal(0, 1, 400)
    alike = [{"metrics": {"a": x, "b": x}} for x in a]
    apart = [{"metrics": {"a": x, "b": y}} for x, y in zip(a, noise, strict=True)]
    opposed = [{"metrics": {"a": x, "b": 1 - x}} for x in a]
    widths = [summarized(items, node("a", "b"))["m"]["both"]["ci95"] for items in (alike, apart, opposed)]
    of_mean = 1.96 * a.std(ddof=1) / 400**0.5
    assert widths[0] == pytest.approx(of_mean, rel=0.08)
    assert widths[1] == pytest.approx(1.96 * ((a + noise) / 2).std(ddof=1) / 400**0.5, rel=0.08)
    assert widths[2] == pytest.approx(0, abs=1e-12)


def test_its_parts_count_by_their_weights() -> None:
    """The second query has all the weight, so nothing varies among resamples that have it, and those without it are far away."""
    heavy = [
        {"metrics": {"a": 1.0, "b": 0.0}, "weights": {"a": 1e-9}},
        {"metrics": {"a": 3.0, "b": 0.0}, "weights": {"a": 1e9}},
    ]
    weighted = Metric("a", "a", aggregate=WEIGHTED_MEAN)
    card = EvaluatorCard(
        "one",
        "1",
        (weighted, Metric("b", "b")),
        derived=(Derived(Metric("both", "Both", aggregate=f"{HERE}.half_of_both"), ("a", "b")),),
    )
    rows = [{"method": "m", "query_id": str(number), **one} for number, one in enumerate(heavy)]
    found = summarize_items(rows, Metrics({"one": card.to_json()}))["m"]["both"]
    assert (found["mean"], found["low"], found["high"]) == (pytest.approx(1.5), pytest.approx(0.5), pytest.approx(1.5))


@pytest.mark.parametrize(
    ("metrics", "function"),
    [
        ({"a": 1.0}, "half_of_both"),  # b was not measured
        ({"a": 1.0, "b": None}, "half_of_both"),  # or only failed
        ({"a": 1.0, "b": 1.0, "strange": 1.0}, "half_of_both"),
        ({"a": 1.0, "b": 1.0}, "none_at_all"),
    ],
)
def test_without_all_of_its_parts_there_is_none(metrics: dict[str, float | None], function: str) -> None:
    listed = node("a", "b", "strange", function=f"{HERE}.{function}")
    assert "both" not in summarized([{"metrics": metrics}], listed)["m"]
    whole = summarized([{"metrics": {"a": 1.0, "b": 1.0, "strange": 0.0}}], node("a", "b", "strange"))
    assert whole["m"]["both"]["mean"] == 1.0


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("a", function="vpo.results.vbench_scores.all")], "the function .*all cannot be imported"),
        ([node("a", function="vpo.results.vbench_scores.QUALITY")], "is no function"),
        ([node("a"), node("both", function="")], "both measure 'both'"),
        ([node("a"), node("b", function=f"{HERE}.none_at_all")], "both measure 'both'"),
        ([node("both")], "lists both, both; give one or more, each once"),
    ],
)
def test_a_wrong_card_is_refused(nodes: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cards_of({str(number): one for number, one in enumerate(nodes)})


def scores_of(raw: dict[str, float], outside: float) -> dict[str, Any]:
    """What a run shows whose queries had these numbers, each dimension on one query."""
    card = EvaluatorCard(
        "VBench",
        "1",
        (*(one.metric for one in DIMENSIONS.values()), share(COUNTERS.outside, "outside", None, "")),
        derived=DERIVED,
    )
    items: list[dict[str, Any]] = [
        {"method": "m", "query_id": name, "metrics": {name: value, COUNTERS.outside: outside}, "weights": {name: 7.0}}
        for name, value in raw.items()
    ]
    cards = {"vbench": card.to_json()}
    results = {"methods": summarize_items(items, Metrics(cards)), "evaluators": cards}
    (table, *_) = run_tables(results)
    return {"m": results["methods"]["m"], "cells": dict(zip(table.headings, table.rows[0].cells, strict=True))}


def test_vbenchs_scores_stand_in_the_table_without_an_interval_and_marked_as_of_a_part() -> None:
    found = scores_of(COGVIDEOX, outside=0.0)
    assert [found["cells"][f"VBench {name} % ↑"].text for name in ("Quality", "Semantic", "Total")] == [
        "82.76§", "77.04§", "81.61§",
    ]  # fmt: skip
    total = found["m"]["vbench_total"]
    assert total == {"mean": pytest.approx(0.81612, abs=5e-6), "n": 16, "n_failed": 0, **NO_INTERVAL,
                     "part": pytest.approx(14 / 1199)}  # fmt: skip


def test_a_part_of_the_suite_is_marked() -> None:
    """Of all queries of the suite a dimension each is 0 or 1; those that the static filter dropped are missing, and are no part.

    Three dimensions have 92 queries, as two of their 93 prompts differ in case alone.
    """
    card = EvaluatorCard("VBench", "1", tuple(one.metric for one in DIMENSIONS.values()), derived=DERIVED)
    metrics = Metrics({"vbench": card.to_json()})
    items: list[dict[str, Any]] = [
        {"method": "m", "query_id": f"{name} {number}", "metrics": {name: float(number % 2)}, "weights": {name: 1.0}}
        for name, count in QUERIES.items()
        for number in range(count)
    ]
    items[0]["metrics"] = {"subject_consistency": None}  # it failed, and was asked for all the same
    dropped = [one for one in items if not one["query_id"].startswith("temporal_flickering")]
    whole = summarize_items([*dropped, items[72 + 86]], metrics)["m"]["vbench_total"]
    assert (whole["n"], whole["n_failed"], "part" in whole) == (len(dropped), 1, False)
    less = summarize_items(items[1:], metrics)["m"]
    assert less["vbench_total"]["part"] == pytest.approx(1198 / 1199)
    assert less["vbench_quality"]["part"] == pytest.approx(485 / 486)
    assert "part" not in less["vbench_semantic"]
    (table, *_) = run_tables({"methods": {"m": less}, "evaluators": {"vbench": card.to_json()}})
    assert "§: of a part of the benchmark (99.8% of its measurements), so no number of it." in table.notes


def test_an_interval_of_few_ends_where_the_metrics_range_does() -> None:
    """1/2, 1, 1: the standard error is 1/6, so Student's t reaches 4.303 / 6 = 0.717 to both sides of 5/6, beyond 1."""
    card = EvaluatorCard("e", "1", (Metric("bounded", "B", range=(0.0, 1.0)), Metric("free", "F")))
    items: list[dict[str, Any]] = [
        {"method": "m", "query_id": str(number), "metrics": {"bounded": value, "free": value}}
        for number, value in enumerate((0.5, 1.0, 1.0))
    ]
    found = summarize_items(items, Metrics({"e": card.to_json()}))["m"]
    low, high = 5 / 6 - 4.303 / 6, 5 / 6 + 4.303 / 6
    assert [found["free"][end] for end in ("low", "high", "ci95")] == pytest.approx([low, high, 4.303 / 6])
    assert [found["bounded"][end] for end in ("low", "high", "ci95")] == pytest.approx([low, 1.0, (1 - low) / 2])


def test_they_are_shown_for_the_whole_suite_alone() -> None:
    names = {"vbench_quality", "vbench_semantic", "vbench_total"}
    assert names <= scores_of(COGVIDEOX, outside=0.0)["m"].keys()
    assert not names & scores_of(COGVIDEOX, outside=0.1)["m"].keys()  # other prompts are among them
    without = {name: value for name, value in COGVIDEOX.items() if name != "imaging_quality"}
    assert names & scores_of(without, outside=0.0)["m"].keys() == {"vbench_semantic"}


def test_a_card_without_derived_numbers_is_written_as_before() -> None:
    assert set(card_of({"_target_": "vpo.evaluator.flicker.Flicker"}).to_json()) == {
        "name", "version", "about", "model", "licence", "needs", "metrics",
    }  # fmt: skip
    assert Weighted.pooled([1.0, 2.0], [1, 3]) == Weighted(1.75, 4)
