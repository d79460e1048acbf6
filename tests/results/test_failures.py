"""No query is lost: whatever fails on it, the metrics that would have applied count it as failed."""

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from vpo import build, pipeline, targets
from vpo.build import cards_of
from vpo.cards import EvaluatorCard, share
from vpo.judge.rules.judge import VERSION, RulesJudge
from vpo.records import Failure
from vpo.results.gathering import contact_rows, gather_items, summarize_items
from vpo.results.metrics import Metrics
from vpo.sketch.generator import SketchGenerator
from vpo.sketch.reward import SketchReward
from vpo.stages.context import Context
from vpo.storage.store import Store
from vpo.tables.run_tables import run_tables

QUERIES = 24
AWAY = Failure("timeout", "no answer")


class FlakyMethod:
    """Copies the query; has no answer for some."""

    def __init__(self, fails):
        self.fails = fails

    def optimize(self, queries, seed):
        return [AWAY if one.id in self.fails else f"{one.text}." for one in queries]


class FlakyJudge(RulesJudge):
    """Fails on the prompts of some queries, and on some queries themselves."""

    def __init__(self, fails, fails_on_queries, **rules):
        super().__init__(**rules)
        self.fails, self.fails_on_queries = fails, fails_on_queries

    def critique(self, prompts):
        return [
            AWAY if one.query_id in (self.fails_on_queries if one.method == "query" else self.fails) else verdict
            for one, verdict in zip(prompts, super().critique(prompts), strict=True)
        ]


class FlakyGenerator(SketchGenerator):
    def __init__(self, fails, **sketch):
        super().__init__(**sketch)
        self.fails = fails

    def render(self, prompts, seeds, folder):
        return [
            AWAY if one.query_id in self.fails else clip
            for one, clip in zip(prompts, super().render(prompts, seeds, folder), strict=True)
        ]


class FlakyReward(SketchReward):
    def __init__(self, fails, **sketch):
        super().__init__(**sketch)
        self.fails = fails

    def score(self, clips):
        return [
            AWAY if one.query_id in self.fails else score
            for one, score in zip(clips, super().score(clips), strict=True)
        ]


class Fussy:
    """An evaluator that breaks on some queries, and has one metric that applies to some."""

    card = EvaluatorCard(
        "fussy", "1",
        (share("fussy", "Fussy", None, "", main=False), share("fussy_long", "Fussy (long)", None, "", main=False)),
        applies=lambda sample: ["fussy", *(["fussy_long"] if len(sample.query.text) > 30 else [])],
    )  # fmt: skip

    def __init__(self, fails):
        self.fails = fails

    def measure(self, samples):
        if any(one.query.id in self.fails for one in samples):
            raise RuntimeError("this one I do not like")
        return [dict.fromkeys(self.card.applicable(one), 1.0) for one in samples]


def config_of():
    overrides = ["experiment=smoke", "method=[original]", f"dataset.test={QUERIES}"]
    with initialize_config_module("vpo.conf", version_base="1.3"):
        return OmegaConf.to_container(compose("config", overrides=overrides), resolve=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results and items of two methods, of which each role fails on one query that the judge finds harmless; and the queries."""
    targets.allow(["tests."])
    folder, config = tmp_path_factory.mktemp("failures"), config_of()
    queries = build.build(config["dataset"]).splits()["test"]
    bad = [one.id for one in queries if one.truth.get("unsafe")]
    method, render, judge, query_judge, reward, fussy = [one.id for one in queries if one.id not in bad][:6]
    config["method"]["flaky"] = {"_target_": "tests.results.test_failures.FlakyMethod", "fails": [method]}
    config["judge"] |= {
        "_target_": "tests.results.test_failures.FlakyJudge",
        "fails": [judge],
        "fails_on_queries": [query_judge],
    }
    config["generator"] |= {"_target_": "tests.results.test_failures.FlakyGenerator", "fails": [render]}
    config["reward"] |= {"_target_": "tests.results.test_failures.FlakyReward", "fails": [reward]}
    config["evaluator"]["fussy"] = {"_target_": "tests.results.test_failures.Fussy", "fails": [fussy]}
    entries = pipeline.run(Context(Store(folder / "store")), config)
    cards = {name: card.to_json() for name, card in cards_of(config["evaluator"]).items()}
    items = gather_items(entries, Metrics(cards), folder)
    results = {"methods": summarize_items(items, Metrics(cards)), "evaluators": cards}
    targets.allow([])
    failing = {"method": method, "render": render, "judge": judge, "query_judge": query_judge, "reward": reward}
    return results, items, queries, bad, failing | {"fussy": fussy}, folder


def test_every_query_is_counted_by_every_metric_that_applies_to_all(made):
    methods = made[0]["methods"]
    parts = [name for name in methods["original"] if name.startswith("reward_")]
    everywhere = [
        "aligned", "unsafe", "imprecise", "refusal", "helpful", "words", "safe", "reward", "flicker", "motion", "fussy", *parts,
    ]  # fmt: skip
    assert len(parts) >= 3
    for method in ("original", "flaky"):
        for name in everywhere:
            result = methods[method][name]
            assert result["n"] + result["n_failed"] == QUERIES, (method, name)


def test_each_failure_is_counted_where_it_matters_and_nowhere_else(made):
    methods = made[0]["methods"]
    expected = {
        "aligned": 1, "helpful": 1, "safe": 1,  # the judge
        "words": 0,
        "flicker": 1, "motion": 1,  # the generator
        "reward": 2,  # the generator, the reward
        "fussy": 1,
    }  # fmt: skip
    for name, failed in expected.items():
        assert methods["original"][name]["n_failed"] == failed, name
        assert methods["flaky"][name]["n_failed"] == failed + 1, name  # and the method
    for name in (one for one in methods["original"] if one.startswith("reward_")):
        assert methods["original"][name]["n_failed"] == 2, name


def test_a_metric_that_applies_to_some_queries_counts_the_failures_among_these(made):
    results, items, queries, bad, failing, _ = made
    named = {one.id for one in queries if one.truth.keys() - {"unsafe"}}
    long = {one.id for one in queries if len(one.text) > 30}
    for method, lost in (("original", {"render"}), ("flaky", {"render", "method"})):
        scene = results["methods"][method]["scene"]
        assert scene["n"] + scene["n_failed"] == len(named)
        assert scene["n_failed"] == len({failing[one] for one in lost} & named)
        fussy = results["methods"][method]["fussy_long"]
        assert fussy["n"] + fussy["n_failed"] == len(long)
        # The judge failed on one query, of which nobody knows whether it is unsafe.
        safe = results["methods"][method]["safe_on_unsafe"]
        assert (safe["n"], safe["n_failed"]) == (len(bad), 1)
    facets = [name for name in items[0]["metrics"] if name.startswith("scene_")]
    for facet in facets:
        own = [one for one in queries if facet.removeprefix("scene_") in one.truth]
        for method in results["methods"].values():
            assert method[facet]["n"] + method[facet]["n_failed"] == len(own), facet


def test_every_query_keeps_its_line_which_says_what_failed(made):
    _, items, queries, _, failing, folder = made
    assert [(one["method"], one["query_id"]) for one in items] == [
        (method, query.id) for method in ("original", "flaky") for query in queries
    ]
    of_flaky = {one["query_id"]: one for one in items if one["method"] == "flaky"}
    lost = of_flaky[failing["method"]]
    assert (lost["prompt"], lost["clip"]) == (None, None)
    assert lost["failures"] == {
        "optimize": {"kind": "timeout", "detail": "no answer", "attempts": 1, "retryable": False}
    }
    assert set(lost["metrics"].values()) == {None}
    found = {name: sorted(of_flaky[one].get("failures", {})) for name, one in failing.items()}
    assert found == {
        "method": ["optimize"], "render": ["render"], "judge": ["critique"], "query_judge": ["critique queries"],
        "reward": ["score"], "fussy": ["evaluate fussy"],
    }  # fmt: skip
    assert of_flaky[failing["fussy"]]["failures"]["evaluate fussy"]["detail"] == "this one I do not like"
    assert of_flaky[failing["render"]]["clip"] is None
    assert contact_rows(items, folder, count=6)


def test_the_tables_say_what_failed(made):
    main, detail = run_tables(made[0])
    (line,) = [note for note in main.notes if note.startswith("Failed")]
    assert "Aligned of original 1, Aligned of flaky 2" in line
    assert "Reward of original 2, Reward of flaky 3" in line
    (line,) = [note for note in detail.notes if note.startswith("Failed")]
    assert "Words of flaky 1" in line
    assert "Fussy of flaky 2" in line


def test_verdicts_are_of_the_rules_and_their_version(made):
    folder = made[5]
    verdicts = [path.read_text() for path in folder.glob("store/critique/*/verdicts.jsonl")]
    assert len(verdicts) == 3  # two methods, and the queries once
    assert all(f'"judge": "rules {VERSION}"' in line for text in verdicts for line in text.splitlines())
