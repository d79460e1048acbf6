"""What the tests of the rule judge share."""

from pathlib import Path

import pytest
import yaml

from vpo.judge.rules.judge import RulesJudge
from vpo.records import Prompt, Verdict

ROOT = Path(__file__).resolve().parents[2]
GOOD = (
    "A red car drives along a coastal road at sunset, its paint glowing in the warm light. Waves break on the rocks, "
    "and the camera follows the car from the side as it turns towards the hills."
)


@pytest.fixture(scope="module")
def judge() -> RulesJudge:
    values = yaml.safe_load((ROOT / "conf" / "judge" / "rules.yaml").read_text())
    assert values.pop("_target_") == "vpo.judge.rules.judge.RulesJudge"
    return RulesJudge(**values)


def prompt_of(query: str, text: str, name: str = "p") -> Prompt:
    return Prompt(name, "q", query, text, "test")


def repaired_of(judge: RulesJudge, query: str, text: str) -> str | None:
    prompt = prompt_of(query, text)
    return judge.refine([prompt], judge.critique([prompt]))[0]


def verdict_of(judge: RulesJudge, query: str, text: str) -> Verdict:
    return judge.critique([prompt_of(query, text)])[0]


def kinds(verdict: Verdict, aspect: str) -> list[tuple[str, str]]:
    return [(reason.kind, reason.detail) for reason in verdict.reasons if reason.aspect == aspect]
