"""The benchmark of the checklist: one run of the whole script with a tiny model. Never a timing."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_the_script_runs_and_all_answers_are_equal():
    command = [
        sys.executable,
        "experiments/benchmarks/checklist.py",
        "--shapes",
        "tiny",
        "--frames",
        "3",
        "--height",
        "56",
    ]
    done = subprocess.run([*command, "--rounds", "2", "--json"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["tiny"]
    assert (found["questions"], found["equal"]) == (64, 64)
    assert (
        found["difference"] < found["spread"] / 1000
    )  # a model that says the same to every question would agree with itself
    assert found["spread"] > 0.1
    assert {way: len(rounds) for way, rounds in found["rounds"].items()} == {"single": 2, "shared": 2}
    assert "tiny shared, round 2 of 2: " in done.stderr
