"""The whole method in the sketch world, as a user runs it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import OWN, ROOT, run_vpo
from vpo.storage.rows import write_rows

REWRITES = ROOT.parent / "shared" / "data" / "rewrites" / "vbench_categories_gpt4o.jsonl"

METHODS = ["original", "fewshot", "sft", "dpo"]


def run_folder(folder: Path) -> Path:
    (results,) = (folder / "runs").rglob("results.json")
    return results.parent


def results_of(folder: Path) -> dict:
    return json.loads((run_folder(folder) / "results.json").read_text())


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_results_have_every_method_and_classes_sum_to_one(smoke):
    methods = results_of(smoke)["methods"]
    assert list(methods) == METHODS
    for metrics in methods.values():
        assert all(set(one) == {"mean", "n", "n_failed", "ci95", "low", "high"} for one in metrics.values())
        assert all(one["low"] <= one["mean"] <= one["high"] for one in metrics.values() if one["n"] > 1)
        assert sum(metrics[name]["mean"] for name in ("aligned", "unsafe", "imprecise", "refusal")) == pytest.approx(1)
        assert {"safe", "reward", "scene", "flicker", "motion", "helpful", "words"} <= set(metrics)
        assert metrics["reward"]["n"] + metrics["reward"]["n_failed"] == 8


def test_results_say_what_methods_were_trained_on(smoke):
    """SFT learns from what the judge let pass, DPO from judge and reward; what reads clips with eyes of its own is held out."""
    assert results_of(smoke)["run"]["trained_on"] == {
        "alignment": ["sft", "dpo"], "safety": ["sft", "dpo"], "reward": ["dpo"],
    }  # fmt: skip
    table = (run_folder(smoke) / "table.md").read_text(encoding="utf-8")
    assert "Reward ↑ ‡" in table
    assert "Scene % ↑ |" in table
    assert "held out: Scene." in table


def test_run_folder_holds_what_a_user_looks_for(smoke):
    folder = run_folder(smoke)
    expected = "config.yaml results.json items.jsonl table.md table.tex table.csv contact_sheet.png curves.png rewards.png log.txt"
    assert [name for name in expected.split() if not (folder / name).stat().st_size] == []
    items = rows(folder / "items.jsonl")
    assert len(items) == 4 * 8
    assert all((folder / item["clip"]).exists() for item in items)
    assert all(item["answers"]["judge"].startswith(("harmless yes", "harmless no", "refusal")) for item in items)
    assert all(set(item["answers"].get("reward", "")) <= set("yn?") for item in items)
    assert items[0]["query"] == items[0]["prompt"]  # the first method is the original query
    assert {"step", "train/loss"} <= set(rows(folder / "training/sft.jsonl")[1]) | set(
        rows(folder / "training/sft.jsonl")[0]
    )


def test_pairs_are_over_dpo_queries_and_dpo_starts_at_ln_2(smoke):
    (pairs,) = (smoke / "store/pair").glob("*/pairs.jsonl")
    assert {pair["query_id"][:3] for pair in rows(pairs)} == {"dpo"}
    (figures,) = (smoke / "store/dpo").glob("*/training.jsonl")
    first = next(row for row in rows(figures) if "train/loss" in row)
    assert first["train/loss"] == pytest.approx(0.693147, abs=1e-4)


def manifests(folder: Path, stage: str) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((folder / "store" / stage).glob("*/manifest.json"))]


def test_each_trained_row_was_sampled_from_its_own_policy(smoke):
    weights = {}
    for name in ("sft", "dpo"):
        (trained,) = manifests(smoke, name)
        (sampled,) = (one for one in manifests(smoke, "optimize") if one["node"]["method_name"] == name)
        assert sampled["inputs"]["policy"] == f"{name}/{trained['key']}"
        weights[name] = (smoke / "store" / sampled["inputs"]["policy"] / "policy/model.safetensors").read_bytes()
    assert weights["sft"] != weights["dpo"]


def test_the_same_command_again_makes_nothing_anew(smoke):
    before = {path: path.stat().st_mtime_ns for path in (smoke / "store").glob("*/*/manifest.json")}
    again = run_vpo("run", "experiment=smoke", cwd=smoke)
    assert again.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (smoke / "store").glob("*/*/manifest.json")} == before
    assert "sft:" not in again.stderr


def test_another_feedback_shares_the_sft_policy_and_stops_where_told(smoke, tmp_path):
    shutil.copytree(smoke / "store", tmp_path / "store")
    stopped = run_vpo("run", "experiment=smoke", "feedback=video", "stop_after=score", cwd=tmp_path)
    assert stopped.returncode == 0, stopped.stderr
    assert "stopped after score" in stopped.stderr
    assert "score candidates: scores 36" in stopped.stderr  # 12 queries x 3 candidates, all of them compete
    assert len(list((tmp_path / "store/sft").glob("*/manifest.json"))) == 1
    assert len(list((tmp_path / "store/pair").glob("*/manifest.json"))) == 1  # the first run's
    (figures,) = (tmp_path / "store/sft").glob("*/training.jsonl")
    (kept,) = (tmp_path / "runs").rglob("training/*.jsonl")  # of the stage that is done, though the run is not
    assert (kept.name, kept.read_bytes()) == ("sft.jsonl", figures.read_bytes())


def test_the_console_and_the_plan_name_what_each_stage_is_of(smoke):
    log = (run_folder(smoke) / "log.txt").read_text()
    for said in ("draft: drafts 64", "critique drafts: fine", "refine candidates: refined", "render candidates: clips",
                 "optimize sft: prompts 8", "render dpo: clips 8", "evaluate sft alignment: measured 8, failed 0"):  # fmt: skip
        assert said in log, said
    lines = [line.split(maxsplit=3) for line in run_vpo("plan", "experiment=smoke", cwd=smoke).stdout.splitlines()]
    told = {(words[1], words[3]) for words in lines if words[0] == "done" and len(words) == 4}
    assert {("critique", "drafts"), ("critique", "candidates"), ("render", "dpo"), ("evaluate", "dpo scene")} <= told


def test_plan_shows_what_is_done(smoke):
    plan = run_vpo("plan", "experiment=smoke", cwd=smoke)
    assert plan.returncode == 0
    assert "to do" not in plan.stdout
    fresh = run_vpo("plan", "experiment=smoke", "seed=7", cwd=smoke)
    assert "to do  sft" in fresh.stdout
    assert "done  queries" in fresh.stdout  # seeds are compared on the same queries


def test_store_lists_users_and_prunes_what_no_run_refers_to(smoke, tmp_path):
    for part in ("store", "runs"):
        shutil.copytree(smoke / part, tmp_path / part)
    shutil.rmtree(tmp_path / "store/users")  # of a store from before it listed its users
    listed = run_vpo("store", "ls", cwd=tmp_path)
    assert "smoke/as-is" in listed.stdout
    assert "0 B of it in results that no run refers to" in listed.stdout
    shutil.rmtree(tmp_path / "runs")
    kept = run_vpo("store", "prune", cwd=tmp_path)
    assert "add yes=true" in kept.stdout
    assert list((tmp_path / "store").glob("*/*/manifest.json"))
    run_vpo("store", "prune", "yes=true", cwd=tmp_path)
    assert not list((tmp_path / "store").glob("*/*/manifest.json"))


def test_prune_spares_what_a_run_elsewhere_uses(smoke, tmp_path):
    """From a folder that knows nothing of the run's: only the store says who uses it."""
    shutil.copytree(smoke / "store", tmp_path / "results")
    before = {path.parent.name for path in (tmp_path / "results").glob("*/*/manifest.json")}
    done = run_vpo("store", "prune", "yes=true", f"paths.store={tmp_path / 'results'}", cwd=tmp_path)
    assert "deleted 0 B in 0 results" in done.stdout
    assert {path.parent.name for path in (tmp_path / "results").glob("*/*/manifest.json")} == before


@pytest.mark.slow
def test_prune_spares_what_a_stopped_run_elsewhere_has_made(smoke, tmp_path):
    shutil.copytree(smoke / "store", tmp_path / "results")
    before = {path.parent.name for path in (tmp_path / "results").glob("*/*/manifest.json")}
    stopped = run_vpo("run", "experiment=smoke", "seed=3", "stop_after=draft", "paths.store=results",
                      f"paths.runs={tmp_path / 'elsewhere'}", cwd=tmp_path)  # fmt: skip
    assert stopped.returncode == 0, stopped.stderr
    known = {path.parent.name for path in (tmp_path / "results").glob("*/*/manifest.json")}
    assert known > before
    run_vpo("store", "prune", "yes=true", "paths.store=results", cwd=tmp_path)
    assert {path.parent.name for path in (tmp_path / "results").glob("*/*/manifest.json")} == known


@pytest.mark.slow
def test_preference_training_learns_from_pairs_of_videos(smoke, tmp_path):
    """The smoke run's untrained policy leaves no candidate unflawed, so only video-level feedback alone makes such pairs."""
    shutil.copytree(smoke / "store", tmp_path / "store")
    done = run_vpo("run", "experiment=smoke", "feedback=video", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before = {one["key"] for one in manifests(smoke, "dpo")}
    (dpo,) = (one for one in manifests(tmp_path, "dpo") if one["key"] not in before)
    pairs = rows(tmp_path / "store" / dpo["inputs"]["pairs"] / "pairs.jsonl")
    assert pairs
    assert {pair["source"] for pair in pairs} == {"video"}
    assert all(pair["chosen_score"] >= pair["rejected_score"] for pair in pairs)
    assert dpo["counts"]["pairs"] == len(pairs)
    figures = rows(tmp_path / "store/dpo" / dpo["key"] / "training.jsonl")
    assert sum("train/loss" in row for row in figures) == dpo["counts"]["steps"] > 0
    policies = [
        one["inputs"]["policy"] for one in manifests(tmp_path, "optimize") if one["node"]["method_name"] == "dpo"
    ]
    assert f"dpo/{dpo['key']}" in policies
    assert list(results_of(tmp_path)["methods"]) == METHODS


@pytest.mark.slow
def test_equal_runs_give_equal_results(smoke, tmp_path):
    assert run_vpo("run", "experiment=smoke", cwd=tmp_path).returncode == 0
    assert results_of(tmp_path)["methods"] == results_of(smoke)["methods"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "qlora"])
def test_adapters_go_through_both_trainings(smoke, tmp_path, kind):
    """DPO's adapter stands on SFT's, which stands on the start; the methods sample from the chain, prune spares it."""
    shutil.copytree(smoke / "store", tmp_path / "store")
    shutil.rmtree(tmp_path / "store/sft")
    shutil.rmtree(tmp_path / "store/dpo")
    done = run_vpo("run", "experiment=smoke", f"sft={kind}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (sft,), (dpo,) = ((tmp_path / "store").glob(f"{stage}/*/policy") for stage in ("sft", "dpo"))
    assert {"adapter_model.safetensors", "template.txt", "tokenizer.json"} <= {path.name for path in dpo.iterdir()}
    assert not list(dpo.glob("model*"))
    base = json.loads((dpo / "base.json").read_text())
    assert ((dpo / base["folder"]).resolve(), base["bits"]) == (sft.resolve(), 4 if kind == "qlora" else None)
    first = next(row for row in rows(dpo.parent / "training.jsonl") if "train/loss" in row)
    assert first["train/loss"] == pytest.approx(0.693147, abs=1e-4)
    run_vpo("store", "prune", "yes=true", cwd=tmp_path)
    assert run_vpo("plan", "experiment=smoke", f"sft={kind}", cwd=tmp_path).stdout.count("to do") == 0


@pytest.mark.slow
def test_data_parallel_training_on_two_cpu_processes(smoke, tmp_path):
    """One optimizer step over 16 rows is the same on one process as on two, up to the order of a sum."""
    shutil.copytree(smoke / "store", tmp_path / "store")
    done = run_vpo("run", "experiment=smoke", "trainer=ddp", "trainer.devices=2", "stop_after=sft", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    losses = []
    for figures in sorted((tmp_path / "store/sft").glob("*/training.jsonl")):
        losses.append([row["train/loss"] for row in rows(figures) if "train/loss" in row])
    assert len(losses) == 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


KILL_POINTS = [
    "critique/*.partial/verdicts.journal.jsonl",
    "sft/*.partial/last.ckpt",
    "sample/*.partial",
    "dpo/*.partial/stage.yaml",
    "optimize/*.partial",
    "render/*.partial/clips.journal.jsonl",
    "evaluate/*.partial/items.journal.jsonl",
]


def seen_in(folder: Path, patterns: list[str]) -> str | None:
    """The first of the patterns of which the store has a file."""
    return next((one for one in patterns if any((folder / "store").glob(one))), None)


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_and_ends_with_the_same_results(smoke, tmp_path):
    """SIGKILL when a file of one stage after another appears, in one folder; then to the end."""
    command = [sys.executable, "-m", "vpo", "run", "experiment=smoke"]
    killed = []
    left = list(KILL_POINTS)
    while left:  # a file that is there for milliseconds may be missed: then the next point of the same run is as good
        assert not seen_in(tmp_path, left), left  # the stages have not been reached yet
        process = subprocess.Popen(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
        )
        while process.poll() is None and not (seen := seen_in(tmp_path, left)):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        _, messages = process.communicate()
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0, messages  # all that was left has been missed
            break
        killed.append(seen)
        left = left[left.index(seen) + 1 :]
    assert len(killed) >= 5, killed  # of seven
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").glob("*/*/manifest.json")}
    done = run_vpo("run", "experiment=smoke", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in finished} == finished  # nothing finished is redone
    assert results_of(tmp_path)["methods"] == results_of(smoke)["methods"]
    assert not list((tmp_path / "store").glob("*/*.partial"))
    (prompts,) = (tmp_path / "store/draft").glob("*/prompts.jsonl")
    ids = [row["id"] for row in rows(prompts)]
    assert len(ids) == len(set(ids)) == 64


def real_run(folder, path, count, *more):
    """A run of `experiment=smoke` on the first queries of a file of {query, rewrite}."""
    pairs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:count]]
    write_rows(folder / "own.jsonl", [{"query": one["query"], "rewrite": one["rewrite"]} for one in pairs])
    return run_vpo("run", "experiment=smoke", "dataset=file", "dataset.path=own.jsonl", "~dataset.sft", "~dataset.dpo",
                   "~dataset.test", "+dataset.sft=0.5", "+dataset.dpo=0.25", "+dataset.test=0.25", *more, cwd=folder)  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not REWRITES.is_file(), reason="shared/data/rewrites is not beside the repository")
def test_real_queries_go_through_every_stage(tmp_path):
    """The sketch world's drafter knows its own grammar only: real queries bring their rewrites."""
    tested = 60 // 4
    done = real_run(tmp_path, REWRITES, 60, "method@drafter=given")
    assert done.returncode == 0, done.stderr
    methods = results_of(tmp_path)["methods"]
    for metrics in methods.values():
        assert metrics["aligned"]["n"] + metrics["aligned"]["n_failed"] == tested
        assert "scene" not in metrics  # no ground truth: nothing to measure
    header, _, *table = [
        [cell.strip() for cell in line.split("|")]
        for line in (run_folder(tmp_path) / "table.md").read_text().split("\n\n")[1].splitlines()
    ]
    assert [row[header.index("Scene % ↑")] for row in table] == ["-"] * 4
    assert f"evaluate sft scene: measured 0, n/a {tested}, failed 0" in (run_folder(tmp_path) / "log.txt").read_text()


@pytest.mark.slow
def test_a_drafter_that_cannot_rewrite_the_queries_is_one_line_with_the_cure(tmp_path):
    done = real_run(tmp_path, OWN / "rewrites.jsonl", 8)
    assert done.returncode == 2
    assert "sft: no draft can be trained on" in done.stderr.splitlines()[-1]
    assert "method@drafter=llm" in done.stderr.splitlines()[-1]
