"""The benchmark of judges: its arithmetic, and one run of the whole script with the rule judge. Never a timing."""

import importlib.util
import subprocess
import sys

import pytest
import yaml

from tests.checking.test_config import composed
from tests.conftest import ROOT, SHARED
from vpo.records import Failure, Verdict

SCRIPT = ROOT / "experiments/benchmarks/judges.py"


@pytest.fixture(scope="module")
def judges():
    spec = importlib.util.spec_from_file_location("judges_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I: method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_the_interval_of_a_share(judges, successes, n, low, high):
    assert judges.wilson(successes, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_unread_answers_are_in_no_share(judges):
    """Of true texts 1 of 2 is accepted, of swapped ones 1 of 1 rejected, of changed ones 0 of 1; two were not read."""
    said = {"0-true": True, "0-swapped": False, "0-changed": True, "1-true": False, "1-swapped": None}
    verdicts = {name: Verdict(name, True, accurate, True) for name, accurate in said.items()}
    verdicts["1-changed"] = Failure("refusal", "the judge declines")
    kind_of = {name: name.split("-")[1] for name in verdicts}
    judged = judges.Judged(verdicts, {})
    assert {kind: judges.rights_of(judged, kind_of, kind) for kind in judges.KINDS} == {
        "true": [True, False], "swapped": [True, None], "changed": [False, None],
    }  # fmt: skip
    # Read of true and changed: said y n y, truth y y n: alike 1/3, by chance (2/3)(2/3) + (1/3)(1/3) = 5/9, kappa -1/2.
    assert judges.truth_kappa(judged, kind_of) == pytest.approx(-0.5)
    assert judges.share_cell([None]) == "none read"
    assert judges.share_cell([True, None, False]).startswith("50.0 % [")
    assert judges.share_cell([True, None, False]).endswith("of 2")


def test_verdicts_are_kept_under_all_that_decides_them(judges, tmp_path, monkeypatch):
    """The judge's values, its local model, its code; not how many requests are under way at once."""
    (tmp_path / "config.json").write_text("{}")
    engine = {"_target_": "vpo.language.server.ServerEngine", "base_url": "http://x/v1", "model": "m", "concurrency": 4}
    here = {"_target_": "vpo.language.hf.PretrainedEngine", "model": str(tmp_path)}
    llm = {"_target_": "vpo.judge.llm.LLMJudge", "critique_template": "critique", "temperature": 0.0}

    def key(engine, **values):
        return judges.key_of({**llm, "engine": engine, **values})

    served, local = key(engine), key(here)
    assert key({**engine, "concurrency": 9}) == served != key({**engine, "model": "n"})
    assert key(engine, temperature=0.5) != served
    (tmp_path / "config.json").write_text('{"layers": 2}')
    assert key(here) != local
    monkeypatch.setattr(judges, "class_hash", lambda node: "another")
    assert key(engine) != served


def test_every_judge_of_the_page_composes(judges):
    spec = yaml.safe_load((SCRIPT.parent / "judges.yaml").read_text(encoding="utf-8"))
    found = {name: composed(*one["overrides"])["judge"]["_target_"] for name, one in spec["judges"].items()}
    assert found == {
        "rules": "vpo.judge.rules.judge.RulesJudge", "smollm2_135m": "vpo.judge.llm.LLMJudge",
        "vpo_released": "vpo.judge.vpo_released.ReleasedJudge", "panel": "vpo.judge.panel.PanelJudge",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "data/rewrites").is_dir(), reason="shared/data/rewrites is not beside the repository")
def test_the_script_writes_its_page_and_asks_nothing_twice(tmp_path):
    command = [sys.executable, str(SCRIPT), "--judges", "rules", "--pairs", "5", "--work", str(tmp_path / "work"),
               "--out", str(tmp_path / "judges.md")]  # fmt: skip
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    page = (tmp_path / "judges.md").read_text()
    assert "| rules | 5 | 0 of 15 |" in page
    (kept,) = (tmp_path / "work").glob("rules-*.jsonl")
    assert len(kept.read_text().splitlines()) == 15
    stamp = kept.stat().st_mtime_ns
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip() == page.strip()
    assert kept.stat().st_mtime_ns == stamp


def test_without_the_data_it_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--data", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith(f"judges: {tmp_path}/rewrites: no such folder")
