"""From rows to one number: plain means as ever, and an evaluator whose clips do not count alike, worked out by hand."""

import random

import pytest

from vpo import targets
from vpo.build import card_of, cards_of
from vpo.cards import EvaluatorCard, Metric, Weighted, mean_over_clips, share
from vpo.errors import UserError
from vpo.records import Clip, Failure, Prompt, Query, to_json
from vpo.results.aggregates import MeanOfItems, aggregated
from vpo.results.gathering import _fail_parts, gather_items, summarize_items
from vpo.results.intervals import summarize
from vpo.results.metrics import Metrics
from vpo.stages.context import Context
from vpo.stages.evaluate import Evaluate
from vpo.storage.rows import write_rows
from vpo.storage.store import Store
from vpo.tables.run_tables import run_tables

STEADINESS = "tests.results.test_aggregates.Steadiness"


class Steadiness:
    """As VBench sums subject consistency: over all steps from frame to frame of all clips, so that long clips weigh more.

    A clip of one frame has no step and is dropped. The value of a step stands in the prompt, so that everything can be seen here.
    """

    def __init__(self, aggregate):
        self.aggregate = aggregate

    @staticmethod
    def card(aggregate):
        metrics = (Metric("steadiness", "Steadiness", "higher", unit="pt", decimals=2, aggregate=aggregate),)
        return EvaluatorCard("steadiness", "1", metrics, frozenset({"clips"}))

    def measure(self, samples):
        return [self._one(sample) for sample in samples]

    def _one(self, sample):
        if isinstance(sample.clip, Failure):
            return {"steadiness": None}
        if sample.clip.frames < 2:
            return {}
        return {"steadiness": Weighted(float(sample.prompt.text), sample.clip.frames - 1)}


# A clip of 4 frames has 3 steps of 0.5, one of 10 frames 9 steps of 0.9, one of 1 frame none; the fourth could not be rendered.
CLIPS = {"a": ("0.5", 4), "b": ("0.9", 10), "c": ("0.1", 1), "d": ("0.3", None)}


@pytest.fixture
def context(tmp_path):
    targets.allow(["tests."])
    yield Context(Store(tmp_path / "store"))
    targets.allow([])


def stored(context, stage, **files):
    """A result of the store that holds these files of records."""

    def work(folder):
        for name, records in files.items():
            write_rows(folder / f"{name.replace('__', '.')}.jsonl", records)
        return {}

    return context.store.get(stage, {}, {}, work)


def evaluated(context, node):
    """What one method with one evaluator leaves: the results' items and means."""

    prompts = [Prompt(f"{one}-m", one, "a fox", text, "m") for one, (text, _) in CLIPS.items()]
    clips = [
        Clip(one.id, one.id, one.query_id, one.query, one.text, "x.mp4", 0, CLIPS[one.query_id][1], 8.0, 64, 64)
        for one in prompts[:3]
    ]
    away = [{"id": "d-m", "failure": to_json(Failure("timeout", "no answer"))}]
    parts = {
        "queries": stored(context, "queries", test=[Query(one, "a fox") for one in CLIPS]),
        "prompts": stored(context, "optimize", prompts=prompts),
        "clips": stored(context, "render", clips=clips, clips__failures=away),
    }
    entry = context.make(Evaluate(evaluator_name="steadiness", evaluator=node, **parts))
    metrics = Metrics({name: card.to_json() for name, card in cards_of({"steadiness": node}).items()})
    items = gather_items({"m": {"parts": parts, "evaluators": {"steadiness": entry}}}, metrics, context.store.root)
    return items, summarize_items(items, metrics)["m"]["steadiness"]


def test_a_frame_weighted_mean_drops_a_clip_and_counts_the_failed_one(context):
    items, result = evaluated(context, {"_target_": STEADINESS, "aggregate": "vpo.results.aggregates.WeightedMean"})
    # (3 * 0.5 + 9 * 0.9) / 12 = 0.8, where the mean over the clips is 0.7
    assert result["mean"] == pytest.approx(0.8)
    # residuals 3 * -0.3 and 9 * 0.1: sqrt(2/1 * (0.81 + 0.81)) / 12 = 0.15; two clips leave one degree of freedom
    assert result["ci95"] == pytest.approx(12.706 * 0.15)
    assert (result["low"], result["high"]) == pytest.approx((0.8 - result["ci95"], 0.8 + result["ci95"]))
    assert (result["n"], result["n_failed"]) == (2, 1)
    assert [item["metrics"] for item in items] == [
        {"steadiness": 0.5}, {"steadiness": 0.9}, {}, {"steadiness": None},
    ]  # fmt: skip
    assert [item.get("weights") for item in items] == [{"steadiness": 3.0}, {"steadiness": 9.0}, None, None]
    assert [set(item.get("failures", {})) for item in items] == [set(), set(), set(), {"render"}]


def test_torchmetrics_own_mean_will_do(context):
    """Of two clips a resample has the first twice, the second twice, or both: the interval is all that there is."""
    _, result = evaluated(context, {"_target_": STEADINESS, "aggregate": "torchmetrics.MeanMetric"})
    assert (result["mean"], result["n"], result["n_failed"]) == (pytest.approx(0.8, abs=1e-12), 2, 1)
    assert (result["low"], result["high"]) == pytest.approx((0.5, 0.9))
    assert result["ci95"] == pytest.approx(0.2)


class Own(MeanOfItems):
    """Has an interval of its own."""

    def compute(self):
        return {"mean": super().compute(), "ci95": 0.25}


class Point(MeanOfItems):
    """Says that there is none: a number that is no estimate from a sample."""

    def compute(self):
        return {"mean": super().compute(), "ci95": None}


@pytest.mark.parametrize(("name", "interval"), [("Own", (0.25, 0.25, 0.75)), ("Point", (None, None, None))])
def test_an_aggregate_may_have_an_interval_of_its_own(name, interval):
    found = aggregated(f"tests.results.test_aggregates.{name}", [0.0, 1.0], [1.0, 1.0])
    assert found == {"mean": 0.5, **dict(zip(("ci95", "low", "high"), interval, strict=True))}


def test_rows_of_one_query_are_drawn_together():
    """Five clips a query, as rows of their own: 40 queries, not 200 independent clips; all clips of a query are alike here."""
    rows = [{"query_id": f"q{q}", "method": "m", "metrics": {"x": float(q % 7)}} for q in range(40) for _ in range(5)]
    one = [{"query_id": f"q{q}", "method": "m", "metrics": {"x": float(q % 7)}} for q in range(40)]
    found, due = (summarize_items(items, Metrics({}))["m"]["x"] for items in (rows, one))
    assert found == pytest.approx(due)
    assert found["n"] == 40
    # one of them failed: the others stand for the query; all of them: the query has failed
    rows[0]["metrics"] = {"x": None}
    for row in rows[5:10]:
        row["metrics"] = {"x": None}
    found = summarize_items(rows, Metrics({}))["m"]["x"]
    assert (found["n"], found["n_failed"]) == (39, 1)


class OfClips:
    """Measures each clip by its number of frames; the second of each query has failed."""

    card = EvaluatorCard(
        "of clips", "1", (share("x", "X", "higher", ""), share("y", "Y", "higher", "")), frozenset({"clips"})
    )

    def measure(self, samples):
        rows = [[{"x": float(n), "y": None} for n, _ in enumerate(one.clips) if n != 1] for one in samples]
        return [mean_over_clips([*of_sample, {"x": None, "y": None}]) for of_sample in rows]


def test_clips_that_failed_are_counted_in_the_result_and_marked_in_the_table(context):
    """Two queries of three clips, of which the second failed, and a third query whose prompt failed: 4 clips and 2 + 3."""
    node = {"_target_": "tests.results.test_aggregates.OfClips"}
    prompts = [Prompt(f"{one}-m", one, "a fox", "a fox", "m") for one in "ab"]
    clips = [
        Clip(f"{one.id}{end}", f"{one.id}{end}", one.query_id, "a fox", "a fox", "x.mp4", 0, 9, 8.0, 64, 64)
        for one in prompts
        for end in ("", "#1", "#2")
    ]
    away = [{"id": "c", "failure": to_json(Failure("timeout", "no answer"))}]
    parts = {
        "queries": stored(context, "queries", test=[Query(one, "a fox") for one in "abc"]),
        "prompts": stored(context, "optimize", prompts=prompts, prompts__failures=away),
        "clips": stored(context, "render", clips=clips),
    }
    entry = context.make(Evaluate(evaluator_name="of_clips", evaluator=node, copies=3, **parts))
    cards = {name: card.to_json() for name, card in cards_of({"of_clips": node}).items()}
    items = gather_items({"m": {"parts": parts, "evaluators": {"of_clips": entry}}}, Metrics(cards), context.store.root)
    assert items[0]["clip_counts"] == {"x": [2, 1], "y": [0, 3]}
    found = summarize_items(items, Metrics(cards))["m"]
    assert {key: found["x"][key] for key in ("mean", "n", "n_failed", "n_clips", "n_clips_failed")} == {
        "mean": 1.0, "n": 2, "n_failed": 1, "n_clips": 4, "n_clips_failed": 5,
    }  # fmt: skip
    # Of all queries something is known, and of one clip in ten nothing: the mean is marked all the same.
    whole = {"m": {"x": {**found["x"], "n_failed": 0, "n_clips": 9, "n_clips_failed": 1}}}
    (table,) = run_tables({"methods": whole, "evaluators": cards})
    assert table.rows[0].cells[0].text.startswith("100.0†")
    assert "Failed measurements: X of m 0 (of clips 1)." in table.notes
    whole["m"]["x"] |= {"n_clips": 99}
    assert "†" not in run_tables({"methods": whole, "evaluators": cards})[0].rows[0].cells[0].text


def test_another_version_or_aggregate_is_another_result(context):
    node = {"_target_": STEADINESS, "aggregate": "vpo.results.aggregates.WeightedMean"}
    metric = card_of(node).metrics[0]
    assert not metric.mean_of_items
    assert metric.heading == "Steadiness pt ↑"
    stage = Evaluate(evaluator_name="steadiness", evaluator=node, queries=None, prompts=None)
    assert stage.node()["version"] == "1"


def test_several_clips_of_a_prompt_pool_into_one_row():
    # clips of 2 and 6 steps: (2 * 1 + 6 * 0.5) / 8
    assert Weighted.pooled([1.0, 0.5], [2, 6]) == Weighted(0.625, 8)
    with pytest.raises(ValueError, match="leave out what does not count"):
        Weighted.pooled([], [])


def test_plain_means_are_what_they_were():
    """As `summarize` alone gave them, number for number; without cards, too."""
    draw = random.Random(0)
    values = [[draw.choice([None, draw.gauss(0, 1), 1.0]) for _ in range(50)] for _ in range(2)]
    items = [
        {
            "query_id": str(number),
            "method": method,
            "metrics": {"safe": value} | ({"mine": value} if number % 3 else {}),
        }
        for method, of_method in zip("ab", values, strict=True)
        for number, value in enumerate(of_method)
    ]
    card = EvaluatorCard("safety", "1", (share("safe", "Safe", "higher", ""),)).to_json()
    for metrics in (Metrics({"safety": card}), Metrics({})):
        found = summarize_items(items, metrics)
        for method, of_method in zip("ab", values, strict=True):
            assert found[method]["safe"] == to_json(summarize(of_method, share=bool(metrics)))
            assert found[method]["mine"] == to_json(summarize([one for i, one in enumerate(of_method) if i % 3]))


def test_a_part_fails_with_its_whole():
    """The reward of the second clip failed, and nobody knows its dimensions but the first clip's score."""
    items = [
        {"method": "m", "metrics": {"reward": 3.0, "reward_Quality": 2.0, "reward_Motion": None}},
        {"method": "m", "metrics": {"reward": None}},
        {"method": "m", "metrics": {}},  # of an evaluator that has no reward here: nothing applies
    ]
    card = EvaluatorCard("reward", "1", (Metric("reward", "Reward", parts=True),)).to_json()

    _fail_parts(items, Metrics({"reward": card}))
    assert items[1]["metrics"] == {"reward": None, "reward_Quality": None, "reward_Motion": None}
    assert items[2]["metrics"] == {}


class Cardless:
    needs = frozenset()


class Greedy:
    card = EvaluatorCard("greedy", "1", (Metric("a", "A"),), frozenset({"clip"}))


class Empty:
    card = EvaluatorCard("empty", "1", ())


class Lost:
    card = EvaluatorCard("lost", "1", (Metric("a", "A", aggregate="torchmetrics.MeanMetrik"),))


class Wrong:
    card = EvaluatorCard("wrong", "1", (Metric("a", "A", aggregate="math.fsum"),))


class Rival:
    card = EvaluatorCard("rival", "1", (Metric("scene_count", "Count"),))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            {"x": {"_target_": "tests.results.test_aggregates.Cardless"}},
            "Cardless has no card; an evaluator says by `card =",
        ),
        (
            {"x": {"_target_": "tests.results.test_aggregates.Greedy"}},
            "needs 'clip', which nothing gives; known are clips, verd",
        ),
        (
            {"x": {"_target_": "tests.results.test_aggregates.Empty"}},
            "its card lists no metric; give one or more, each once",
        ),
        ({"x": {"_target_": "tests.results.test_aggregates.Lost"}}, "aggregate torchmetrics.MeanMetrik cannot be imp"),
        (
            {"x": {"_target_": "tests.results.test_aggregates.Wrong"}},
            "the aggregate math.fsum is no torchmetrics.Metric",
        ),
        ({"x": {"_target_": STEADINESS, "agregate": "a"}}, r"Steadiness.card does not take the keys of its config: .*"),
        (
            {
                "x": {"_target_": "tests.results.test_aggregates.Rival"},
                "y": {"_target_": "vpo.sketch.evaluator.SceneAccuracy"},
            },
            "evaluators y and x both measure 'scene_count'; leave one of them out",
        ),
    ],
)
def test_a_card_that_cannot_be_is_one_line(context, nodes, message):
    with pytest.raises(UserError, match=message) as raised:
        cards_of(nodes)
    assert "\n" not in str(raised.value)


class Undeclared(Steadiness):
    @staticmethod
    def card(aggregate):
        return EvaluatorCard("undeclared", "1", (Metric("calm", "Calm", aggregate=aggregate),), frozenset({"clips"}))


def test_a_metric_that_no_card_lists_is_an_error(context):
    with pytest.raises(UserError, match="evaluator undeclared: it measures 'steadiness', which its card does not list"):
        evaluated(
            context, {"_target_": "tests.results.test_aggregates.Undeclared", "aggregate": "torchmetrics.MeanMetric"}
        )


def test_weights_that_would_be_ignored_are_an_error(context):
    with pytest.raises(
        UserError, match="'steadiness' has weights, but its aggregate counts each item once; name another"
    ):
        evaluated(context, {"_target_": STEADINESS, "aggregate": "vpo.results.aggregates.MeanOfItems"})
