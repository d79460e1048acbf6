"""The benchmark of sampling: one run of the whole script with a tiny shape. Never a timing."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_the_script_runs_and_its_greedy_texts_are_equal():
    command = [sys.executable, "experiments/benchmarks/sample.py", "--shapes", "tiny", "--tokens", "5", "--rounds", "2"]
    command += ["--methods", "generate", "prefilled", "engine", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["tiny"]
    assert found.pop("equal_greedy") == 8
    assert {name: len(times) for name, times in found.items()} == {"generate": 2, "prefilled": 2, "engine": 2}
    assert all(wall > 0 and cpu > 0 for times in found.values() for wall, cpu in times)
