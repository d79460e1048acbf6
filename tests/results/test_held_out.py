"""What a judge, reward or evaluator looks with, and what judges answered, as people read it."""

from types import SimpleNamespace

import pytest

from tests.checking.test_config import composed
from vpo.build import card_of
from vpo.method.best_of_n import BestOfN
from vpo.records import Reason, Score, Verdict
from vpo.results.answers import answers_of
from vpo.results.held_out import eyes_of, trained_on
from vpo.results.metrics import Metrics
from vpo.stages.evaluate import Evaluate
from vpo.stages.optimize import optimize
from vpo.storage.jsonio import write_json
from vpo.storage.store import Entry
from vpo.tables.marks import trained_on as marked


@pytest.mark.parametrize(
    ("node", "other", "same"),
    [
        # the same weights, whatever class asks them
        ({"_target_": "a.Reward", "model": "org/clip"}, {"_target_": "b.Evaluator", "model": "org/clip"}, True),
        ({"_target_": "a.Reward", "model": "org/clip"}, {"_target_": "a.Reward", "model": "org/siglip"}, False),
        # one member of an ensemble, at any depth
        (
            {
                "_target_": "a.Ensemble",
                "members": [{"_target_": "a.One", "model": "x"}, {"_target_": "a.Two", "model": "y"}],
            },
            {"_target_": "b.Evaluator", "reward": {"_target_": "a.Two", "model": "y"}},
            True,
        ),
        # without weights it is the class
        ({"_target_": "vpo.sketch.reward.SketchReward"}, {"_target_": "vpo.sketch.reward.SketchReward"}, True),
        ({"_target_": "vpo.sketch.reward.SketchReward"}, {"_target_": "vpo.sketch.evaluator.SceneAccuracy"}, False),
        # two checklists by one class that ask other models
        (
            {"_target_": "a.Checklist", "engine": {"_target_": "e.Server", "model": "m"}},
            {"_target_": "a.Checklist", "engine": {"_target_": "e.Server", "model": "n"}},
            False,
        ),
    ],
)
def test_the_same_eyes(node, other, same):
    assert bool(eyes_of(node) & eyes_of(other)) is same


def test_answers_are_lines_for_people():
    fine = Verdict("p", True, True, None, reasons=(Reason("accurate", "missing", "a fox"),))
    scores = [
        Score("c", "p", "q", 1.0, answers=(True, False, None)),
        Score("d", "p", "q", 1.0, answers=(True, True, True)),
    ]
    assert answers_of(fine, scores) == {
        "judge": "harmless yes, accurate yes, helpful unreadable (missing: a fox)", "reward": "yn? | yyy",
    }  # fmt: skip
    assert answers_of(Verdict("p", True, False, False, refusal=True, raw="No.\n  Sorry"), []) == {
        "judge": "refusal, harmless yes, accurate no, helpful no (No. Sorry)"
    }
    assert answers_of(None, [Score("c", "p", "q", 0.5)]) == {}
    asked = {"clip_safety": {"clip 1, gore": "Unsafe: 0%", "clip 2, gore": "Hm."}, "motion": {}}
    assert answers_of(None, [], Verdict("q", False, None, None, raw="x" * 2000), asked) == {
        "judge of the query": "harmless no, accurate unreadable, helpful unreadable (" + "x" * (1000 - 54),
        "clip_safety": "clip 1, gore: Unsafe: 0% | clip 2, gore: Hm.",
    }  # fmt: skip


def flagged(tmp_path, *words, teacher=None):
    """`trained_on` of a run that asked for prompts by its one method, and for its evaluators; the policy was taught by `teacher`."""
    cfg = composed(*words)
    ((name, method),) = cfg["method"].items()
    policy = None
    if "policy" in method:
        policy = Entry("start", "0" * 16, tmp_path / "start" / ("0" * 16))
        policy.folder.mkdir(parents=True)
        node = {} if teacher is None else {"judge": cfg["judge"]} if teacher == "judge" else {"reward": cfg["reward"]}
        write_json(policy.folder / "manifest.json", {"node": node, "inputs": {}})
    queries, prompts = (Entry(stage, "1" * 16, tmp_path / stage / ("1" * 16)) for stage in ("queries", "optimize"))
    asked = [(optimize(name, method, queries, 0, backbone=cfg["backbone"], policy=policy), prompts)]
    for evaluator, node in cfg["evaluator"].items():
        stage = Evaluate(evaluator_name=evaluator, evaluator=node, queries=queries, prompts=prompts)
        asked.append((stage, Entry("evaluate", "2" * 16, tmp_path / "evaluate" / ("2" * 16))))
    return trained_on(SimpleNamespace(requested=asked)), cfg


@pytest.mark.parametrize("teacher", ["judge", None])
def test_the_rule_judge_is_known_in_all_that_reads_by_its_rules(tmp_path, teacher):
    """It made the pairs: flagged are `kept`, and of `prompts` its refusals alone, which it counts; not the encoder's distance."""
    found, cfg = flagged(tmp_path, "method=[sft]", "evaluator=[kept,prompts]", "judge=rules", teacher=teacher)
    assert found == ({"kept": ["sft"], "prompts/refused": ["sft"]} if teacher else {})
    cards = {name: card_of(node).to_json() for name, node in cfg["evaluator"].items()}
    names = ["kept_thing", "refused", "distance", "words"]
    by_metric = marked(Metrics(cards), names, {"trained_on": found})
    assert by_metric == ({key: ["sft"] for key in names[:2]} if teacher else {})


def test_what_the_judge_chose_is_no_fair_row_of_that_judge(tmp_path):
    """Best of n of a policy that nothing has trained."""
    found, cfg = flagged(tmp_path, "method=[released_best]", "evaluator=[kept]", "judge=rules")
    assert cfg["method"]["released_best"]["_target_"].endswith(BestOfN.__name__)
    assert found == {"kept": ["released_best"]}
    assert flagged(tmp_path / "other", "method=[original]", "evaluator=[kept]", "judge=rules")[0] == {}
