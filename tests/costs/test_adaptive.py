"""The benchmark on rendering less, by hand."""

import importlib.util

import pytest

from tests.conftest import ROOT
from vpo.feedback.video_rules import VideoRule
from vpo.records import Prompt, Score

PATH = ROOT / "experiments/benchmarks/adaptive.py"


@pytest.fixture(scope="module")
def adaptive():
    spec = importlib.util.spec_from_file_location("adaptive", PATH)
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["adaptive"] = module
    spec.loader.exec_module(module)
    return module


def candidates(query: str, *values: float):
    prompts = [
        Prompt(f"{query}-{k}", query, "a dog", f"{query} prompt {k}", "candidate", k) for k in range(len(values))
    ]
    scores = [Score(one.id, one.id, query, value) for one, value in zip(prompts, values, strict=True)]
    return prompts, scores


def test_a_query_stops_at_its_first_pair(adaptive):
    """Gaps above 1. q1: 0, 2 is a pair after two of four clips; all four would give (9, 0) in scan order: chosen outer, so 2 over 0,
    the same. q2: 1, 1.5, 3: a pair after three, of 3 over 1. q3: none, all three are used."""
    prompts, scores = [], []
    for query, values in (("q1", (0, 2, 9, 9)), ("q2", (1, 1.5, 3)), ("q3", (1, 1.5, 1.9))):
        some, their = candidates(query, *values)
        prompts, scores = prompts + some, scores + their
    found = adaptive.stop_at_a_pair(prompts, scores, VideoRule(1.0, dominance="none"))
    assert found == adaptive.Stopped(10, 2 + 3 + 3, 2, 2, 2, 2.0, 2.0)


def test_an_early_pair_may_be_another(adaptive):
    """5 is the first candidate: over 3 when two are there, and of all four over 3 as well; but 3 first: 5 over 3, of all 3 over 1."""
    prompts, scores = candidates("q", 3, 5, 1, 0)
    found = adaptive.stop_at_a_pair(prompts, scores, VideoRule(1.0, dominance="none"))
    assert (found.used, found.pairs, found.found, found.same) == (2, 1, 1, 0)
