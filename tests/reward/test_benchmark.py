"""The benchmark of scoring runs, decodes each clip once, and counts what it says; its ratio is for people to read."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_the_benchmark_runs() -> None:
    command = [sys.executable, str(ROOT / "experiments/benchmarks/score.py"), "--clips", "2", "--frames", "9", "--json"]
    done = subprocess.run([*command, "--size", "64", "96"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["clips"], found["decodes"]) == (2, 2)
    assert all(found[name][0] > 0 for name in ("decode", "features", "heads", "ensemble", "one_by_one"))
    assert found["ratio"] > 0
