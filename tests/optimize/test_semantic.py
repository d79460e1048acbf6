"""The semantic score in search: it decides between candidates that the judge finds equal, and between no others."""

import pytest

from tests.encoders import save_encoder
from tests.optimize.conftest import Answers
from vpo.assets.folder import Record
from vpo.assets.manifest import read_manifest
from vpo.checking.schema import Search
from vpo.errors import UserError
from vpo.language.policy import InstructedPolicy
from vpo.optimize.optimizer import PromptOptimizer
from vpo.optimize.options import Options
from vpo.optimize.records import Candidate
from vpo.optimize.search import best_of
from vpo.optimize.semantic import encoder_for
from vpo.records import Reason, Sampling, Verdict

QUERY, FAR, NEAR = "a red fox runs", "the dog on the beach", "A red fox runs"
NAME = "all-minilm-l6-v2"


class Content:
    """A judge that finds all prompts fine, or the one with these words helpful and no other."""

    def __init__(self, preferred=""):
        self.preferred = preferred

    def critique(self, prompts):
        return [Verdict(prompt.id, True, True, self.preferred in prompt.text) for prompt in prompts]

    def refine(self, prompts, verdicts):
        return [None for _ in prompts]


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """A folder of assets that holds a small encoder in the place of the real one."""
    origin = read_manifest()[NAME].origin
    Record(NAME, origin.wheel, origin.sha256, {}, {}).write(save_encoder(tmp_path / "assets" / NAME))
    monkeypatch.setenv("VPO_ASSETS", str(tmp_path / "assets"))
    return tmp_path / "assets"


@pytest.fixture
def no_assets(tmp_path, monkeypatch):
    monkeypatch.setenv("VPO_ASSETS", str(tmp_path / "none"))


def best(judge=None, **options):
    policy = InstructedPolicy(Answers(FAR, NEAR), "{}")
    made = PromptOptimizer(policy, Sampling(0.7), judge or Content(), "{}", Options(search="best_of_n", n=2, **options))
    (record,) = made.optimize([QUERY])
    return record


@pytest.mark.usefixtures("assets")
def test_of_equal_candidates_the_nearest_to_the_query_is_taken():
    """The second candidate is the query itself but for its capital, which the encoder does not see: cosine 1."""
    record = best()
    far, near = (one.semantic for one in record.candidates)
    assert near == pytest.approx(1, abs=1e-5)
    assert far < 0.99
    assert record.prompt == NEAR


@pytest.mark.usefixtures("assets")
def test_the_judge_comes_first():
    assert best(Content("dog")).prompt == FAR


@pytest.mark.usefixtures("assets")
def test_it_can_be_switched_off():
    record = best(semantic=False)
    assert record.prompt == FAR
    assert [one.semantic for one in record.candidates] == [None, None]


@pytest.mark.usefixtures("no_assets")
def test_without_the_encoder_the_first_is_taken_and_nothing_is_fetched():
    record = best()
    assert (record.prompt, record.candidates[1].semantic) == (FAR, None)


@pytest.mark.usefixtures("no_assets")
def test_who_asks_for_it_learns_how_to_get_the_encoder(tmp_path):
    message = r"^search.semantic=asset:all-minilm-l6-v2: .*`vpo assets get all-minilm-l6-v2`"
    with pytest.raises(UserError, match=message):
        PromptOptimizer.from_pretrained(tmp_path, search="best_of_n", semantic=True)  # before the folder is looked at


@pytest.mark.usefixtures("assets")
def test_one_candidate_needs_no_encoder():
    assert encoder_for(Search(n=1, rounds=0, semantic="auto")) is None
    assert encoder_for(Search(n=2, rounds=0, semantic="auto")) == f"asset:{NAME}"
    assert encoder_for(Search(n=2, rounds=0)) is None


def test_a_wrong_value_is_one_line():
    with pytest.raises(UserError, match="semantic=yes does not exist; choose one of True, False, auto"):
        Options(semantic="yes")


def test_a_score_outweighs_no_problem_and_no_grade():
    fine, flawed = Verdict("p", True, True, True), Verdict("p", True, True, False)
    problem = (Reason("helpful", "lead_in", "Sure!"),)
    candidates = [
        Candidate("refused", "sampled", fine, problem, 0.9),
        Candidate("flawed", "sampled", flawed, (), 0.8),
        Candidate("unscored", "sampled", fine),
        Candidate("far", "sampled", fine, (), 0.1),
        Candidate("near", "sampled", fine, (), 0.2),
    ]
    order = []
    while candidates:
        order.append(best_of(candidates))
        candidates.remove(order[-1])
    assert [one.text for one in order] == ["near", "far", "unscored", "flawed", "refused"]
