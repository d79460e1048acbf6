"""What a run records about itself: of the smoke run as it is, and of planned runs whose stored results are written by hand."""

import hashlib
import json
import subprocess

import pytest

from tests.checking.test_config import composed
from tests.conftest import ROOT, run_vpo
from tests.pipeline.test_pipeline import run_folder
from vpo import __version__, pipeline
from vpo.results.facts import Command, role_facts, run_facts
from vpo.results.schema import Results, RunFacts, problem_of
from vpo.runs import training_files
from vpo.stages.context import Context
from vpo.storage.code_hash import class_hash
from vpo.storage.store import Store

METHODS = "method=[original,sft,sft_more,sft_chosen,dpo_1,dpo_2,dpo]"


def done(folder, *overrides, **counts):
    """A config and its context, as if all stages were done: their manifests, the queries, a reward's card.

    `counts` are those of a stage's results.
    """
    config = composed(*overrides)
    context = Context(Store(folder / "store", dry=True))
    pipeline.run(context, config)
    for stage, entry in context.requested:
        entry.folder.mkdir(parents=True, exist_ok=True)
        inputs = {name: f"{one.stage}/{one.key}" for name, one in stage.inputs().items()}
        manifest = {
            "node": stage.node(), "inputs": inputs, "counts": counts.get(stage.name, {}), "code": "0" * 16, "seconds": 1.5,
            "created": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        (entry.folder / "manifest.json").write_text(json.dumps(manifest))
        for name in {"queries": ("sft", "dpo", "test"), "critique": ("verdicts",)}.get(stage.name, ()):
            (entry.folder / f"{name}.jsonl").write_text('{"id": "a"}\n{"id": "b", "judge": "rules 5"}\n')
        if stage.name == "score":
            (entry.folder / "card.json").write_text('{"questions": 3}')
    return config, context


def by_label(context, stage):
    """The keys of a stage's results, by label ("" is the stage's own)."""
    return {entry.label: f"{stage}/{entry.key}" for _, entry in context.requested if entry.stage == stage}


def test_every_row_names_its_policy_over_rounds_and_controls(tmp_path):
    config, context = done(tmp_path, METHODS, "rounds=2")
    facts = run_facts(config, context, Command())
    assert problem_of({"schema": 1, "methods": {name: {} for name in facts["rows"]}, "run": facts}) is None
    dpo, sft = by_label(context, "dpo"), by_label(context, "sft")
    assert set(dpo) == {"dpo_1", "dpo_2"}
    held = {name: row["entry"] for name, row in facts["rows"].items()}
    assert held == {
        "original": None,
        "sft": sft[""],
        "sft_more": sft["sft_more"],
        "sft_chosen": sft["sft_chosen"],
        "dpo_1": dpo["dpo_1"],
        "dpo_2": dpo["dpo_2"],
        "dpo": dpo["dpo_2"],
    }
    assert {name: row["policy"] for name, row in facts["rows"].items()} == {"original": None} | {
        name: name for name in held if name != "original"
    }
    training = {name: one["training"] for name, one in facts["policies"].items()}
    assert training["start"] == []
    assert training["sft"] == [sft[""]]
    assert training["dpo"] == training["dpo_2"] == [sft[""], dpo["dpo_1"], dpo["dpo_2"]]
    # Controls start from SFT. That they take as many updates as all rounds makes no round one of their trainings.
    assert training["sft_more"] == [sft[""], sft["sft_more"]]
    assert training["sft_chosen"] == [sft[""], sft["sft_chosen"]]
    taught = {name: one["taught_by"] for name, one in facts["policies"].items()}
    assert taught["sft_more"] == ["judge"]
    assert taught["sft_chosen"] == ["judge", "reward"]
    assert facts["policy"] == "dpo"


def test_rows_name_the_results_that_their_numbers_are_of(tmp_path):
    config, context = done(tmp_path, "method=[original,dpo]")
    rows = run_facts(config, context, Command())["rows"]
    renders, evaluations = by_label(context, "render"), by_label(context, "evaluate")
    assert {name: row["clips"] for name, row in rows.items()} == {name: renders[name] for name in ("original", "dpo")}
    for name, row in rows.items():
        assert row["evaluations"] == {one: evaluations[f"{name} {one}"] for one in config["evaluator"]}
    assert len({row["prompts"] for row in rows.values()}) == 2


def test_training_metrics_have_the_names_that_the_pipeline_gives(tmp_path):
    _, one = done(tmp_path, "method=[sft,dpo]")
    _, two = done(tmp_path, METHODS, "rounds=2")
    assert list(training_files(one)) == ["sft", "dpo"]
    assert list(training_files(two)) == ["sft", "dpo_1", "dpo_2", "sft_more", "sft_chosen"]
    # One result, under another name: the first round of two is the only one of one.
    assert training_files(one)["dpo"] == training_files(two)["dpo_1"]


def test_who_taught_a_policy_is_read_from_what_it_was_made_from(tmp_path):
    taught = {}
    for feedback in ("text", "video", "both"):
        config, context = done(tmp_path, f"feedback={feedback}", "method=[sft,dpo]")
        policies = run_facts(config, context, Command())["policies"]
        taught[feedback] = policies["dpo"]["taught_by"]
        assert policies["sft"]["taught_by"] == ["judge"]  # it refines the drafts
        assert policies["start"]["taught_by"] == []
    assert taught == {"text": ["judge"], "video": ["judge", "reward"], "both": ["judge", "reward"]}
    config, context = done(tmp_path, "objective=grpo", "feedback=video", "method=[grpo]")
    facts = run_facts(config, context, Command())
    assert facts["policies"]["grpo"]["taught_by"] == ["judge", "reward"]
    assert facts["policy"] == "grpo"


def test_a_run_is_about_sft_where_nothing_follows_it_and_about_no_policy_where_none_is_trained(tmp_path):
    for overrides, policy in (
        (["objective=none", "method=[original,sft]"], "sft"),
        (["method=[original,sft]"], "sft"),
        (["method=[original]"], None),
    ):
        config, context = done(tmp_path, *overrides)
        facts = run_facts(config, context, Command())
        assert facts["policy"] == policy
        assert (facts["base"] is None) == (policy is None)


def test_only_roles_that_did_work_are_named(tmp_path):
    config, context = done(tmp_path, "method=[original]", "evaluator=[safety]")
    facts = run_facts(config, context, Command())
    assert set(facts["roles"]) == {"dataset", "judge"}
    assert set(facts["evaluators"]) == {"safety"}
    assert facts["rows"]["original"]["clips"] is None


def test_versions_are_those_that_records_and_cards_say(tmp_path):
    config, context = done(tmp_path, "method=[original]")
    facts = run_facts(config, context, Command())
    assert facts["roles"]["judge"]["version"] == "rules 5"
    assert facts["roles"]["reward"]["card"] == {"questions": 3}
    assert facts["roles"]["generator"]["code"] == class_hash(config["generator"])


def test_the_data_are_named_by_hashes_and_counts(tmp_path):
    queries = tmp_path / "q.txt"
    queries.write_text("".join(f"a dog number {number}\n" for number in range(8)))
    config, context = done(
        tmp_path, "dataset=file", f"dataset.path={queries}", "method=[original]", "evaluator=[safety]"
    )
    data = run_facts(config, context, Command())["data"]
    assert data["fingerprint"] == hashlib.sha256(b".txt\0" + queries.read_bytes()).hexdigest()
    digest = hashlib.sha256(b'{"id": "a"}\n{"id": "b", "judge": "rules 5"}\n').hexdigest()
    assert data["splits"] == {name: {"rows": 2, "sha256": digest} for name in ("dpo", "sft", "test")}


def test_failures_are_counted_by_stage(tmp_path):
    config, context = done(tmp_path, "method=[original,dpo]", render={"clips": 5, "failed": 2}, critique={"failed": 0})
    renders = len(by_label(context, "render"))
    facts = run_facts(config, context, Command())
    assert facts["failed"] == {"render": 2 * renders}
    assert sum(one["entry"].startswith("render/") and one["counts"]["clips"] == 5 for one in facts["stages"]) == renders


def test_a_class_that_only_workers_can_import_has_no_version():
    facts = role_facts({"_target_": "vpo.judge.nowhere.Judge"})
    assert (facts["target"], facts["version"]) == ("vpo.judge.nowhere.Judge", None)


def test_the_schema_speaks_of_every_field():
    schema = Results.model_json_schema(by_alias=True)
    assert set(schema["required"]) == {"schema", "methods", "run"}
    for part in (Results, RunFacts):
        documented = part.__doc__
        fields = [name for name in part.model_fields if name not in ("schema_version", "methods", "evaluators", "run")]
        assert [name for name in fields if name not in documented] == []


@pytest.mark.slow
def test_the_smoke_run_fits_the_schema_and_names_its_commit(smoke):
    folder = run_folder(smoke)
    content = json.loads((folder / "results.json").read_text())
    assert problem_of(content) is None
    # Nothing is written that the schema does not declare.
    assert Results.model_validate(content).model_dump(mode="json", exclude_unset=True) == content
    assert "does not fit" not in (folder / "log.txt").read_text()
    run = content["run"]
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert run["code"]["commit"] == (git.stdout.strip() if git.returncode == 0 else None)
    assert run["versions"]["vpo"] == __version__
    queries = smoke / "store" / run["data"]["entry"] / "test.jsonl"
    assert run["data"]["splits"]["test"] == {"rows": 8, "sha256": hashlib.sha256(queries.read_bytes()).hexdigest()}
    for name, row in run["rows"].items():
        prompts = (smoke / "store" / row["prompts"] / "prompts.jsonl").read_text().splitlines()
        assert {json.loads(line)["method"] for line in prompts} == {name}
        assert (smoke / "store" / row["clips"] / "clips.jsonl").is_file()
        assert row["entry"] is None or (smoke / "store" / row["entry"] / "policy/template.txt").is_file()
    assert run["roles"]["reward"]["card"] == json.loads(next((smoke / "store/score").glob("*/card.json")).read_text())
    assert {f"{one.parent.parent.name}/{one.parent.name}" for one in (smoke / "store").glob("*/*/manifest.json")} == {
        one["entry"] for one in run["stages"]
    }


@pytest.mark.slow
def test_what_may_vary_stands_under_run_alone(smoke):
    """The same command again, on the same store: everything but `run` is the same to the byte."""
    path = run_folder(smoke) / "results.json"
    before = json.loads(path.read_text())
    done_again = run_vpo("run", "experiment=smoke", cwd=smoke)
    assert done_again.returncode == 0, done_again.stderr
    after = json.loads(path.read_text())
    assert {**after, "run": None} == {**before, "run": None}
    kept = ("rows", "policies", "policy", "data", "roles", "evaluators", "base", "stages", "entries", "code", "failed")
    assert {name: after["run"][name] for name in kept} == {name: before["run"][name] for name in kept}
