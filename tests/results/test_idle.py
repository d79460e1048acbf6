"""Idle shares, by hand."""

import json

import pytest

from vpo.results.idle import idle_shares


def manifest(stage: str, spent: float, inputs=(), **work) -> dict:
    return {"stage": stage, "seconds": spent, "inputs": dict(enumerate(inputs))} | ({"work": work} if work else {})


def test_shares_of_a_run():
    """100 seconds in all; two workers had 60 + 30 + 10 seconds each, and were at work for 110 + 40 + 20 of these 200."""
    found = idle_shares(
        {
            "render/a": manifest("render", 60, ["optimize/p"], items=9, seconds=60, workers=2, busy=110),
            "score/b": manifest("score", 30, ["render/a"], items=9, seconds=30, workers=2, busy=40),
            "critique/c": manifest("critique", 10, ["optimize/p"], items=9, seconds=10, workers=2, busy=20),
        }
    )
    assert found == {"generator": 0.4, "judge": 0.9, "reward": 0.7, "workers": 0.15, "overlap": 0.3}


def test_scores_that_take_longer_than_clips_hide_the_clips():
    found = idle_shares({"render/a": manifest("render", 20), "score/b": manifest("score", 60, ["render/a"])})
    assert found["overlap"] == 0.25


def test_a_run_without_stages_that_take_time_has_none():
    assert idle_shares({"queries/a": manifest("queries", 0)}) == {}


def test_a_run_records_them(smoke):
    (path,) = smoke.glob("runs/smoke/*/results.json")
    idle = json.loads(path.read_text())["run"]["idle"]
    assert {"generator", "reward", "judge", "training", "policy", "drafter", "workers", "overlap"} == set(idle)
    assert all(0 <= share <= 1 for share in idle.values())
    assert idle["workers"] == pytest.approx(0, abs=0.05)  # this process is the only one
