"""The benchmark of sampling: one run of the whole script with a tiny shape. Never a timing."""

import json
import signal
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
    for wall, cpu, read, step in (one for times in found.values() for one in times):
        assert wall > 0
        assert 0 < read < cpu
        steps = round((cpu - read) / step)
        assert steps in (4, 5)  # of five tokens; `prefilled` reads a prompt's last token in a step of its own
    assert "tiny engine, round 2 of 2: " in done.stderr


@pytest.mark.slow
def test_an_interrupted_run_prints_the_rounds_that_are_done():
    command = [
        sys.executable,
        "experiments/benchmarks/sample.py",
        "--shapes",
        "tiny",
        "--tokens",
        "5",
        "--rounds",
        "100000",
    ]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in running.stderr:
        if "tiny engine, round 2 of" in line:
            break
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    rows = [line.split("|")[1:4] for line in output.splitlines() if line.startswith("| tiny")]
    assert [[cell.strip() for cell in row[:2]] for row in rows] == [["tiny", "generate"], ["tiny", "engine"]]
    assert int(rows[0][2]) == int(rows[1][2]) >= 2
    assert "not compared" in output


@pytest.mark.slow
def test_a_time_limit_ends_after_a_round():
    command = [
        sys.executable,
        "experiments/benchmarks/sample.py",
        "--shapes",
        "tiny",
        "--tokens",
        "5",
        "--rounds",
        "100000",
    ]
    done = subprocess.run(
        [*command, "--minutes", "0.02", "--json"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)["tiny"]
    assert 1 <= len(found["generate"]) == len(found["engine"]) < 1000
    assert "another would not end before 0.02" in done.stderr
