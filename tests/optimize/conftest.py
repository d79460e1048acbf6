"""What the tests of the optimizer share: a language model whose answers are known."""

from collections.abc import Callable, Sequence

import pytest
import yaml

from tests.conftest import ROOT
from vpo.judge.rules.judge import RulesJudge
from vpo.language.policy import InstructedPolicy
from vpo.optimize.optimizer import PromptOptimizer
from vpo.optimize.options import Options
from vpo.records import Completion, Failure, Request, Sampling, Usage
from vpo.templates import read_template

GOOD = (
    "A cute brown dog runs across a sunlit meadow of green grass, its ears bouncing with every step. Warm evening light "
    "falls over the field, and the camera follows the dog from the side as it jumps over a small stream."
)
TEMPLATE = read_template("optimizer")


class Answers:
    """An engine that gives the next of its answers for each request, and remembers what it was asked."""

    def __init__(self, *answers: str | Completion | Failure) -> None:
        self.answers = list(answers)
        self.calls: list[list[Request]] = []

    def generate(self, requests: Sequence[Request]) -> list[Completion | Failure]:
        self.calls.append(list(requests))
        given = [self.answers.pop(0) for _ in requests]
        return [Completion(one, "stop", Usage(10, 5)) if isinstance(one, str) else one for one in given]

    def close(self) -> None:
        self.answers = []


@pytest.fixture(scope="session")
def judge() -> RulesJudge:
    values = yaml.safe_load((ROOT / "conf/judge/rules.yaml").read_text())
    del values["_target_"]
    return RulesJudge(**values)


@pytest.fixture
def optimizer(judge) -> Callable[..., PromptOptimizer]:
    """An optimizer whose language model gives these answers in turn."""

    def made(*answers: str | Completion | Failure, **options) -> PromptOptimizer:
        policy = InstructedPolicy(Answers(*answers), TEMPLATE)
        return PromptOptimizer(policy, Sampling(0.7), judge, TEMPLATE, Options(**options))

    return made
