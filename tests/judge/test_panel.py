"""Several judges as one: the common verdict, who refines, and how far they agree."""

import itertools
import json

import pytest
import yaml

from tests.conftest import ROOT
from tests.judge.asking import prompts
from tests.judge.conftest import GOOD
from vpo.errors import UserError
from vpo.judge.panel import PanelJudge, agreement, majority, unanimous, votes_of
from vpo.records import Failure, Reason, Usage, Verdict
from vpo.results.record import RunRecord
from vpo.runs import keep_what_is_there
from vpo.stages.context import Context
from vpo.stages.critique import Critique
from vpo.storage.rows import write_rows
from vpo.storage.store import Store

Y, N = True, False
FLAW = Reason("accurate", "judged", "the car is blue")


class Says:
    """A judge with given verdicts, by the text of the prompt."""

    def __init__(self, answers, refinement=None, name="says"):
        self.answers, self.refinement, self.name, self.refined, self.closed = answers, refinement, name, [], False

    def critique(self, asked):
        return [
            one if isinstance(one, Failure) else Verdict(prompt.id, *one, judge=self.name, usage=Usage(10, 5, 0.5),
                                                         reasons=() if one[1] else (FLAW,))
            for prompt in asked for one in [self.answers[prompt.text]]
        ]  # fmt: skip

    def refine(self, asked, verdicts):
        self.refined += [(prompt.text, verdict.judge) for prompt, verdict in zip(asked, verdicts, strict=True)]
        return [self.refinement] * len(asked)

    def close(self):
        self.closed = True


def test_the_rules_on_every_vote_of_three():
    """By counting: more than half of three is two."""
    for votes in itertools.product((Y, N, None), repeat=3):
        yes, no = votes.count(Y), votes.count(N)
        assert majority(votes) is (Y if yes >= 2 else N if no >= 2 else None)
        assert unanimous(votes) is (N if no else Y if yes == 3 else None)
    assert majority((Y, N)) is None
    assert majority((Y, None)) is None  # one of two is no majority


def panel(*answers, rule="majority", **values):
    judges = {f"j{place}": Says({"x": one}, name=f"j{place}", **values) for place, one in enumerate(answers)}
    return PanelJudge(judges, rule), judges


def test_each_principle_is_decided_by_itself():
    judge, _ = panel((Y, Y, N), (Y, N, None), (N, N, Y))
    (found,) = judge.critique(prompts("x"))
    assert (found.harmless, found.accurate, found.helpful) == (True, False, None)
    assert found.reasons == (FLAW,)
    assert found.judge == "panel 1, majority of j0; j1; j2"
    assert found.usage == Usage(30, 15, 1.5)
    assert found.accuracy is None
    kept = votes_of(found)
    assert {name: (one.harmless, one.accurate, one.helpful) for name, one in kept.items()} == {
        "j0": (True, True, False), "j1": (True, False, None), "j2": (False, False, True),
    }  # fmt: skip
    assert kept["j1"].reasons == (FLAW,)


def test_a_judge_that_failed_has_no_vote_and_is_kept():
    refused = Failure("refusal", "the judge declines")
    judge, _ = panel((Y, Y, Y), refused, (Y, N, Y))
    (found,) = judge.critique(prompts("x"))
    assert (found.harmless, found.accurate, found.helpful) == (True, None, True)
    assert votes_of(found)["j1"] == refused
    judge, _ = panel(refused, refused)
    (found,) = judge.critique(prompts("x"))
    assert (found.kind, found.retryable) == ("judges_failed", False)


def test_a_vote_that_was_lost_for_a_reason_that_passes_is_asked_for_again():
    judge, _ = panel((Y, Y, Y), Failure("timeout", "slow", retryable=True), (Y, Y, Y))
    (found,) = judge.critique(prompts("x"))
    assert isinstance(found, Failure)
    assert (found.retryable, found.detail) == (True, "j1: timeout, slow")


def test_those_refine_who_found_a_flaw_and_the_first_usable_text_counts():
    judges = {
        "fine": Says({"x": (Y, Y, Y)}, "by fine", "fine"),
        "blank": Says({"x": (Y, N, Y)}, None, "blank"),
        "good": Says({"x": (Y, N, Y)}, "by good", "good"),
        "late": Says({"x": (Y, N, Y)}, "by late", "late"),
    }
    judge = PanelJudge(judges, "unanimous")
    asked = prompts("x")
    assert judge.refine(asked, judge.critique(asked)) == ["by good"]
    assert [one.refined for one in judges.values()] == [[], [("x", "blank")], [("x", "good")], []]
    judge.close()
    assert all(one.closed for one in judges.values())
    with_failure = PanelJudge(
        {"a": Says({"x": (Y, N, Y)}, Failure("timeout", "slow")), "b": judges["blank"]}, "unanimous"
    )
    assert with_failure.refine(asked, with_failure.critique(asked)) == [Failure("timeout", "slow")]


def test_agreement_by_hand():
    """On accurate, j0 says y y y n n and j1 y y n n -: 3 of 4 alike, by chance (3/4)(2/4) + (1/4)(2/4) = 1/2, kappa = 1/2."""
    first, second = [Y, Y, Y, N, N], [Y, Y, N, N, None]
    votes = {
        f"p{place}": {"j0": Verdict(f"p{place}", Y, a, N), "j1": Verdict(f"p{place}", Y, b, Y)}
        for place, (a, b) in enumerate(zip(first, second, strict=True))
    }
    votes["p5"] = {"j0": Verdict("p5", Y, Y, N), "j1": Failure("refusal", "no")}
    found = agreement(votes)
    assert found["pairs"] == [
        {"judges": ["j0", "j1"], "principle": "harmless", "n": 5, "agree": 1.0, "kappa": None},
        {"judges": ["j0", "j1"], "principle": "accurate", "n": 4, "agree": 0.75, "kappa": 0.5},
        {"judges": ["j0", "j1"], "principle": "helpful", "n": 5, "agree": 0.0, "kappa": 0.0},
    ]
    assert found["unanswered"] == {
        "j0": {"harmless": 0, "accurate": 0, "helpful": 0}, "j1": {"harmless": 1, "accurate": 2, "helpful": 1},
    }  # fmt: skip
    accurate = [one for one in found["disagreements"] if one["principle"] == "accurate"]
    assert accurate == [
        {"prompt_id": "p2", "principle": "accurate", "answers": {"j0": True, "j1": False}, "reasons": {}}
    ]
    assert found["failures"] == {"j0": {}, "j1": {"refusal": 1}}
    assert len(found["disagreements"]) == 1 + 5


def test_the_report_is_made_of_the_verdicts_alone():
    judges = {"j0": Says({"x": (Y, Y, Y), "z": (Y, N, Y)}), "j1": Says({"x": (Y, N, Y), "z": (Y, N, Y)})}
    asked = prompts("x", "z", query="a red car")
    verdicts = PanelJudge(judges).critique(asked)
    failures = {"p9": Failure("judges_failed", "j0: timeout, slow")}
    report = PanelJudge.report(asked, [Verdict(**{**vars(one)}) for one in verdicts], failures)
    found = json.loads(json.dumps(report))["agreement.json"]
    assert found["disagreements"] == [
        {"prompt_id": "p0", "query": "a red car", "prompt": "x", "principle": "accurate", "answers": {"j0": True, "j1": False},
         "reasons": {"j1": ["the car is blue"]}}
    ]  # fmt: skip
    assert found["failed"] == [{"prompt_id": "p9", "kind": "judges_failed", "detail": "j0: timeout, slow"}]
    assert PanelJudge.report([], [], {})["agreement.json"]["pairs"] == []


@pytest.mark.parametrize("raw", [None, "", "no JSON", "[]", "{}", '{"a": 1}', '{"a": {"verdict": {}}}', "null"])
def test_a_verdict_of_another_judge_has_no_votes(raw):
    assert votes_of(Verdict("p", True, True, True, raw=raw)) == {}


def test_a_panel_of_one_and_an_unknown_rule_are_one_line():
    with pytest.raises(UserError, match="two judges or more"):
        PanelJudge({"a": Says({})})
    with pytest.raises(UserError, match=r"judge.rule=loudest is none of majority, unanimous"):
        PanelJudge({"a": Says({}), "b": Says({})}, "loudest")


def test_the_stage_keeps_the_report_beside_the_verdicts(tmp_path):
    """Two rule judges that differ in what a helpful prompt has: a short one without light and camera is so for one of them."""
    rules = yaml.safe_load((ROOT / "conf/judge/rules.yaml").read_text())
    lax = {**rules, "facets": [], "min_words": 2}
    node = {"_target_": "vpo.judge.panel.PanelJudge", "judges": {"strict": rules, "lax": lax}, "rule": "unanimous"}
    context = Context(Store(tmp_path / "store"))
    asked = prompts(GOOD, "A red car drives at sunset.", query="a red car at sunset")
    made = context.store.get("draft", {}, {}, lambda place: write_rows(place / "prompts.jsonl", asked) or {})
    entry = context.make(Critique(judge=node, prompts=made))
    assert [one.helpful for one in entry.rows("verdicts.jsonl", Verdict)] == [True, False]
    report = json.loads((entry.folder / "agreement.json").read_text())
    assert [(one["principle"], one["n"], one["agree"]) for one in report["pairs"]] == [
        ("harmless", 2, 1.0), ("accurate", 2, 1.0), ("helpful", 2, 0.5),
    ]  # fmt: skip
    (row,) = report["disagreements"]
    assert row["reasons"].keys() == {"strict"}
    assert {name: value for name, value in row.items() if name != "reasons"} == {
        "prompt_id": "p1", "query": "a red car at sunset", "prompt": "A red car drives at sunset.", "principle": "helpful",
        "answers": {"strict": False, "lax": True},
    }  # fmt: skip
    record = RunRecord(tmp_path / "run")
    (tmp_path / "run").mkdir()
    keep_what_is_there(record, context)
    assert json.loads((tmp_path / "run/agreement/critique.json").read_text()) == report
    plain = context.make(Critique(judge=rules, prompts=made))
    assert not (plain.folder / "agreement.json").exists()
