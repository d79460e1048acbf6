"""The benchmark of curation runs, and a stream of VidProM's length stays in memory. Never a timing."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.curation.conftest import needs_packages

STATUS = Path("/proc/self/status")


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


@needs_packages
@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="the system does not say how much memory a process has taken at most")
def test_a_file_in_vidproms_form_is_read_filtered_and_dealt_in_memory_that_hardly_grows_with_its_rows():
    """File, rules, pool, comparison and splits in one process with a progress bar; rows cost what the rule against copies keeps."""
    script = ["experiments/benchmarks/curate.py", "--no-language", "--pool", "2000", "--json", "--stream"]
    done = subprocess.run([sys.executable, *script, "20000", "200000"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    few, many = json.loads(done.stdout)
    assert (few["queries"], many["queries"]) == (20_000, 200_000)
    assert many["left"]["pool"] < 2_000 + 6_000 + 1
    a_row = (many["peak_mb"] - few["peak_mb"]) / 180_000
    assert many["peak_mb"] + 1_470_000 * a_row < 1000, (few, many)
    assert re.search(r"queries read \d+, [\d.]+/s", done.stderr)  # the progress, as a log has it


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="the system does not say how much memory a process has taken at most")
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
    assert int(python("-c", textwrap.dedent(script))) < 10**9
