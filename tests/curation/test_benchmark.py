"""The benchmark of curation runs, and a stream of VidProM's length stays in memory. Never a timing."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.curation.conftest import needs_packages


def python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_packages
@pytest.mark.slow
def test_the_script_runs():
    (found,) = json.loads(python("experiments/benchmarks/curate.py", "--queries", "300", "--json"))
    assert set(found["parts"]) == {"rules", "near", "self-BLEU", "judge and split"}
    assert all(seconds > 0 for times in found["parts"].values() for seconds in times)
    assert 0 < found["left"]["split"] < found["left"]["diversity"] + 1 <= 301


@pytest.mark.slow
def test_as_many_queries_as_vidprom_has_pass_the_rules_in_less_than_a_gigabyte():
    """All rules but that of languages, whose model takes as much memory for one query as for a million, and ten times as long."""
    script = """
        import yaml
        from vpo.curation.report import Report
        from vpo.curation.selecting import screened
        from vpo.records import Query

        node = yaml.safe_load(open("conf/curation/vpo.yaml", encoding="utf-8")) | {"language": None}
        count, report = 1_670_000, Report(0)
        queries = (
            Query(f"q{n}", f"word{n % 997} of {n} runs over a hill in the morning", meta={"toxicity": (n % 50) / 50})
            for n in range(count)
        )
        pools = screened(queries, node, (), report)
        assert report.steps[0].before == report.steps[-1].before == count
        assert (len(pools.general), len(pools.labelled)) == (node["pool"]["general"], node["pool"]["safety"])
        # Of this program alone: a child's ru_maxrss counts what its parent had when it was started.
        print(next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("the system does not say how much memory a process has taken at most")
    assert int(python("-c", textwrap.dedent(script))) < 10**9
