"""What a judge, reward or evaluator looks with, and what judges answered, as people read it."""

import pytest

from vpo.records import Reason, Score, Verdict
from vpo.results.answers import answers_of
from vpo.results.held_out import eyes_of


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
