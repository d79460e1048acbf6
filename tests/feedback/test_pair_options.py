"""Variants of the pair rules, which are off by default, and what a pair says of its origin. Expected pairs are read off by hand."""

import json

import pytest

from tests.checking.test_config import composed, keys_of
from vpo.checking.rules import check
from vpo.errors import UserError
from vpo.feedback.checklist import weighted_dimensions
from vpo.feedback.pairing import feedback_pairs, merge, sampled_pairs, text_pairs, video_candidates, video_pairs
from vpo.feedback.video_rules import VideoRule
from vpo.records import Pair, Prompt, Reason, Refinement, Score, Verdict, from_json, to_json


def prompt(query, k):
    return Prompt(f"{query}-{k}", query, f"query {query}", f"text {query}{k}", "candidate", k)


def scored(values, query="a"):
    """Candidates whose values and dimensions are given: a number, or (value, {dimension: value})."""
    prompts = [prompt(query, k) for k in range(len(values))]
    pairs = [one if isinstance(one, tuple) else (one, {}) for one in values]
    return prompts, [Score(f"c{k}", f"{query}-{k}", query, value, parts) for k, (value, parts) in enumerate(pairs)]


def shown(pairs):
    return [f"{one.chosen[-1]}>{one.rejected[-1]}" for one in pairs]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["1>0"]),
        ({"order": "widest"}, ["2>3"]),
        ({"per_query": 2}, ["1>0", "1>3"]),
        ({"per_query": 2, "order": "widest"}, ["2>3", "2>0"]),
        ({"per_query": None}, ["1>0", "1>3", "2>0", "2>1", "2>3"]),
        ({"per_query": None, "order": "widest"}, ["2>3", "2>0", "1>3", "1>0", "2>1"]),
        ({"per_query": None, "ranks": 1}, ["2>0", "2>1", "2>3"]),
        ({"ranks": 1}, ["2>0"]),
    ],
)
def test_which_video_pairs_are_kept(options, expected):
    """Values 0.25, 3, 4 and 0: gaps of 2.75 (1>0), 3 (1>3), 3.75 (2>0), 1 (2>1) and 4 (2>3); 0 beats 3 by too little."""
    prompts, scores = scored([0.25, 3.0, 4.0, 0.0])
    assert shown(video_pairs(prompts, scores, VideoRule(0.5, "none", **options))) == expected


def test_equal_ranks_are_in_the_order_of_the_candidates():
    prompts, scores = scored([3.0, 3.0, 0.0])
    assert shown(video_pairs(prompts, scores, VideoRule(0.5, "none", ranks=1, per_query=None))) == ["0>2"]


def test_weights_make_the_overall_score():
    """2 x 1 + 0.5 x 3 = 3.5 against 2 x 2 + 0.5 x 0 = 4; the reward's own value says the contrary."""
    prompts, scores = scored([(9.0, {"a": 1.0, "b": 3.0}), (0.0, {"a": 2.0, "b": 0.0})])
    rule = VideoRule(0.4, "none", weights={"a": 2.0, "b": 0.5})
    (pair,) = video_pairs(prompts, scores, rule)
    assert (pair.chosen[-1], pair.chosen_score, pair.rejected_score) == ("1", 4.0, 3.5)


def test_a_dimension_that_could_not_be_read_leaves_its_candidate_out():
    prompts, scores = scored([(9.0, {"a": None}), (1.0, {"a": 2.0}), (1.0, {"a": 1.0})])
    assert shown(video_pairs(prompts, scores, VideoRule(0.5, "none", weights={"a": 1.0}, per_query=None))) == ["1>2"]
    assert shown(video_pairs(prompts, scores, VideoRule(0.5, "none", least={"a": 0.0}))) == []  # 0 has no bound to pass
    assert weighted_dimensions({"a": 1.0}, {"a": 1.0, "b": 0.0}) is None
    assert weighted_dimensions({"a": 1.5, "b": 2.0}, {"a": 2.0}) == 3.0  # what has no weight does not count


@pytest.mark.parametrize("name", ["weights", "least"])
def test_a_dimension_that_the_reward_does_not_give_is_an_error(name):
    prompts, scores = scored([(1.0, {"quality": 1.0})])
    with pytest.raises(
        UserError, match=rf"feedback.{name} names VQ, and the reward gives quality .*set feedback.{name}=null"
    ):
        video_pairs(prompts, scores, VideoRule(0.5, "none", **{name: {"VQ": 1.0}}))


def test_several_text_pairs_of_a_query_are_different_ones():
    prompts = [prompt("a", k) for k in range(3)]
    refinements = [Refinement(one.id, "a", f"mended {one.text}") for one in prompts]
    every = text_pairs(prompts, refinements, 0, prepended=True, per_query=None)
    assert sorted(one.rejected for one in every) == ["text a0", "text a1", "text a2"]
    assert len({one.id for one in every}) == 3
    (first,) = text_pairs(prompts, refinements, 0, prepended=True)
    assert (first, first.id) == (every[0], "a")  # the pair that there is without the option keeps its place and its id
    assert text_pairs(prompts, refinements, 0, prepended=True, per_query=2) == every[:2]


def test_several_sampled_pairs_take_each_two_candidates_once():
    prompts = [prompt("a", k) for k in range(4)]
    verdicts = [Verdict(one.id, True, one.index < 2, True) for one in prompts]  # 0 and 1 fine, 2 and 3 flawed
    every = sampled_pairs(prompts, verdicts, 0, per_query=None)
    assert sorted(shown(every)) == ["0>2", "0>3", "1>2", "1>3"]
    assert len({one.id for one in every}) == 4
    assert sampled_pairs(prompts, verdicts, 0) == every[:1]


def test_text_and_video_pairs_may_stand_side_by_side():
    text = [Pair("a", "q", "1", "2", "text")]
    video = [Pair("a", "q", "3", "4", "video"), Pair("b", "q", "5", "6", "video")]
    both = merge(text, video, beside=True)
    assert [(one.query_id, one.source) for one in both] == [("a", "text"), ("a", "video"), ("b", "video")]
    assert [one.id for one in both] == ["a", "a#2", "b"]
    # Then a query with a text pair is rendered, too: all its fine candidates.
    prompts = [prompt("a", k) for k in range(3)]
    verdicts = [Verdict(one.id, True, one.index > 0, True) for one in prompts]
    refinements = [Refinement("a-0", "a", "mended")]
    rules = {"kind": "refined", "prepended": True}
    assert video_candidates(prompts, verdicts, refinements, **rules) == []
    assert video_candidates(prompts, verdicts, refinements, **rules, beside=True) == prompts[1:]


def test_a_text_pair_says_where_it_came_from():
    flaw = Reason("accurate", "missing", "boat")
    verdicts = [Verdict("a-0", True, False, True, reasons=(flaw,), accuracy=0.5, judge="rules 2", raw="long")]
    (pair,) = feedback_pairs(
        [prompt("a", 0)], verdicts, [Refinement("a-0", "a", "mended")], 0, kind="refined", prepended=False
    )
    assert json.loads(json.dumps(to_json(pair)))["provenance"] == {
        "rule": {"name": "refined over flawed", "prepended": False, "per_query": 1},
        "chosen": {"refinement_of": "a-0"},
        "rejected": {
            "candidate": "a-0",
            "verdict": {
                "harmless": True, "accurate": False, "helpful": True, "refusal": False, "accuracy": 0.5, "judge": "rules 2",
                "reasons": [{"aspect": "accurate", "kind": "missing", "detail": "boat"}],
            },
        },
    }  # fmt: skip


def test_a_video_pair_says_where_it_came_from():
    prompts = [prompt("a", k) for k in range(2)]
    scores = [
        Score("c0", "a-0", "a", 2.0, {"x": 2.0}, (True, True)),
        Score("c1", "a-1", "a", 1.0, {"x": 1.0}, (True, False)),
    ]
    (pair,) = video_pairs(prompts, scores, VideoRule(0.5), [Verdict("a-1", True, True, True, judge="rules 2")])
    assert pair.provenance["rule"] == {
        "name": "clip over clip", "threshold": 0.5, "dominance": "answers", "order": "scan", "per_query": 1
    }  # fmt: skip
    assert pair.provenance["chosen"] == {
        "candidate": "a-0", "score": {"clip": "c0", "value": 2.0, "dimensions": {"x": 2.0}, "answers": "yy"}
    }  # fmt: skip
    assert pair.provenance["rejected"]["score"]["answers"] == "yn"
    assert pair.provenance["rejected"]["verdict"]["judge"] == "rules 2"


def test_pairs_of_older_files_are_read():
    """A line as it was written before pairs had a number and a provenance."""
    old = {
        "query_id": "a",
        "query": "q",
        "chosen": "1",
        "rejected": "2",
        "source": "text",
        "chosen_score": None,
        "rejected_score": None,
    }
    pair = from_json(Pair, old)
    assert (pair.id, pair.number, pair.provenance) == ("a", 0, {})
    assert from_json(Pair, json.loads(json.dumps(to_json(pair)))) == pair


def pair_keys(*overrides):
    return {one for one in keys_of(composed(*overrides)) if one.startswith("pair/")}


@pytest.mark.parametrize(
    "override",
    ["feedback.order=widest", "feedback.per_query=2", "feedback.merge=beside", "feedback.ranks=2", "feedback.max_words=130",
     "feedback.weights={a:1}", "feedback.least={a:1}", "feedback.among=all"],
)  # fmt: skip
def test_an_option_changes_the_key_where_it_is_on(override):
    check(composed(override))
    assert pair_keys(override) != pair_keys()


def test_options_that_are_off_leave_the_keys_as_they_were():
    """The key of the pairs of `vpo run`, as it was before these options: the same node without them."""
    config = composed()
    for name in ("order", "per_query", "merge", "ranks", "max_words", "weights", "least"):
        del config["feedback"][name]
    config["feedback"] |= {"merge": "text_wins", "among": "fine"}  # which say what is rendered
    assert {one for one in keys_of(config) if one.startswith("pair/")} == pair_keys()


def test_the_filter_of_prompt_a_video_is_values_of_a_config():
    config = composed("feedback=prompt_a_video")
    check(config)
    feedback = config["feedback"]
    rule = VideoRule(**{name: feedback[name] for name in VideoRule.__dataclass_fields__})
    assert rule == VideoRule(
        1.4, "none", ranks=2, max_words=130, per_query=None,
        weights={"VQ": 1, "TC": 1, "FC": 1, "DD": 1.1, "TVA": 1.3, "AES": 0.8, "MPS": 1 / 3},
        least={"VQ": 2.6, "TC": 2.6, "FC": 2.55, "DD": 2.65, "TVA": 2.9, "AES": 5.5, "MPS": 8.5},
    )  # fmt: skip
    assert (feedback["text"], feedback["video"]) == (False, True)
