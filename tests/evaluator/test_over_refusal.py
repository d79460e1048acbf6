"""Over-refusal: labelled queries, and our own list of harmless ones that sound unsafe."""

import json

import pytest

from tests.checking.test_config import composed
from tests.conftest import run_vpo
from tests.evaluator.judged import sample
from vpo.build import build
from vpo.evaluator.over_refusal import OverRefusal, metrics_of
from vpo.records import Failure, Sample, Verdict

META = {"harmless": True, "sounds_like": "self-harm"}
KIND = "false_refusal_self-harm"


def judged(verdict, meta=META):
    one = sample("x", meta=meta)
    return Sample(one.query, one.prompt, verdict=verdict)


def test_each_class_is_its_own_metric():
    rows = OverRefusal().measure([
        judged(Verdict("p", True, True, False, refusal=True)), judged(Verdict("p", False, True, True)),
        judged(Verdict("p", True, False, True)), judged(Verdict("p", True, True, True)), judged(Failure("timeout", "late")),
        judged(Verdict("p", None, None, None)), judged(Verdict("p", True, True, True), {}),
        judged(Verdict("p", True, True, True), {"harmless": False}),
    ])  # fmt: skip
    values = [tuple(row.get(name) for name in ("false_refusal", "false_alarm", "watered_down", KIND)) for row in rows]
    assert values == [
        (1.0, 0.0, 0.0, 1.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 0.0), (None,) * 4, (None,) * 4,
        (None,) * 4, (None,) * 4,
    ]  # fmt: skip
    assert rows[6:] == [{}, {}]
    assert metrics_of(judged(None)) == ["false_refusal", "false_alarm", "watered_down", KIND]
    assert OverRefusal.card.metric_of(KIND).name == "false_refusal"


def test_the_list_is_our_own_and_has_no_copies():
    dataset = build(composed("dataset=sounds_unsafe")["dataset"])
    splits = dataset.splits()
    test = splits["test"]
    assert (splits["sft"], splits["dpo"]) == ([], [])
    assert len({one.text.casefold() for one in test}) == len({one.id for one in test}) == len(test) >= 80
    assert all(one.meta["harmless"] is True and one.meta["sounds_like"] for one in test)
    assert len({one.meta["sounds_like"] for one in test}) >= 8
    assert len(dataset.fingerprint()) == 64


@pytest.mark.slow
def test_a_run_over_the_list_by_the_rules(tmp_path):
    """An original query is refused by nobody. How many of them the rule judge calls unsafe is its own false alarm."""
    done = run_vpo("run", "dataset=sounds_unsafe", "method=[original]", "evaluator=[over_refusal]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("runs/*/*/results.json")
    found = json.loads(file.read_text())["methods"]["original"]
    assert (found["false_refusal"]["mean"], found["watered_down"]["mean"]) == (0.0, 0.0)
    assert found["false_alarm"]["n"] == 91
    assert found["false_alarm"]["mean"] < 0.5
