"""Best of n, with the real rule judge and an engine whose texts are known."""

import pytest

from tests.checking.test_config import composed
from vpo.build import build
from vpo.language.policy import InstructedPolicy
from vpo.method.best_of_n import BestOfN
from vpo.method.instructed import InstructedMethod
from vpo.method.policy import PolicyMethod
from vpo.records import Completion, Failure, Query, Usage
from vpo.templates import read_template

QUERY = Query("q", "a red dog runs")
FINE = (
    "A red dog runs across a wide green meadow in the morning. Its ears fly back as it leaps over a small ditch. Soft golden "
    "sunlight falls on the grass. The camera follows the dog at its side in a smooth tracking shot."
)
TEXTS = ["A blue cat sleeps.", "A red dog runs.", FINE]


class Scripted:
    """An engine that writes by the seed of the request: what each seed gives is fixed, whatever stands beside it."""

    def __init__(self, texts):
        self.texts, self.asked, self.closed = texts, [], False

    def generate(self, requests):
        self.asked += requests
        return [self._written(self.texts[request.seed % len(self.texts)]) for request in requests]

    def _written(self, text):
        return Failure("too_long", "no room") if text is None else Completion(text, "stop", Usage(5, len(text.split())))

    def close(self):
        self.closed = True


class Numbered(Scripted):
    """Writes its texts one after another."""

    def generate(self, requests):
        start = len(self.asked)
        self.asked += requests
        return [self._written(self.texts[(start + at) % len(self.texts)]) for at in range(len(requests))]


@pytest.fixture(scope="module")
def judge():
    return build(composed()["judge"])


def best(engine, judge, n):
    return BestOfN(InstructedPolicy(engine, "{}"), judge, n, 0.7, 1.0, 50)


def test_the_judge_takes_the_best_of_each_query(judge):
    """A cat is inaccurate, the bare dog unhelpful, the third without flaw."""
    engine = Numbered(TEXTS)
    first, second = best(engine, judge, 3).optimize([QUERY, Query("p", "a blue cat sleeps")], 0)
    assert first.text == FINE
    assert first.usage == Usage(5, sum(len(text.split()) for text in TEXTS))
    assert second.text == "A blue cat sleeps."
    assert len({request.seed for request in engine.asked}) == 6


def test_what_failed_is_passed_over_and_all_failed_is_a_failure(judge):
    assert best(Numbered([None, "A red dog runs.", None]), judge, 3).optimize([QUERY], 0)[0].text == "A red dog runs."
    assert best(Numbered([None]), judge, 2).optimize([QUERY], 0) == [Failure("too_long", "no room")]


def test_the_first_of_n_is_the_policys_own_prompt(judge):
    """So with n=1, and where no other is better, the row is the policy's."""
    many = [Query(f"q{number}", "a red dog runs") for number in range(20)]
    engine = Scripted([f"A red dog runs. {word}" for word in ["one", "two", "three", "four", "five", "six", "seven"]])
    plain = PolicyMethod(InstructedPolicy(engine, "{}"), 0.7, 1.0, 50).optimize(many, 3)
    assert best(engine, judge, 1).optimize(many, 3) == plain
    assert [one.text for one in best(engine, judge, 4).optimize(many, 3)] == [
        one.text for one in plain
    ]  # all are equal


def test_a_query_gets_the_same_alone_and_among_others(judge):
    many = [Query(f"q{number}", "a red dog runs") for number in range(8)]
    method = best(Scripted(TEXTS), judge, 2)
    assert [method.optimize([one], 0)[0] for one in many] == method.optimize(many, 0)


def test_an_instructed_policy_is_asked_by_its_own_template():
    engine = Scripted(TEXTS)
    InstructedMethod(InstructedPolicy(engine, "other {}"), "fewshot", 0.7, 1.0, 50).optimize([QUERY], 0)
    (request,) = engine.asked
    assert request.messages[-1].content == read_template("fewshot").replace("{}", QUERY.text)
