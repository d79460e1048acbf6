"""What a pair says of the roles that stand behind it: versions and hashes, however deep they stand in a config."""

import pytest

from vpo.records import Prompt
from vpo.stages.critique import Critique
from vpo.stages.origins import versions
from vpo.stages.refine import Refine
from vpo.storage.rows import write_rows
from vpo.storage.store import Store, read_manifest
from vpo.templates import template_hash

ENGINE = {"_target_": "vpo.language.server.ServerEngine", "base_url": "http://localhost:1/v1", "model": "org/judge",
          "endpoint": "tests", "concurrency": 8}  # fmt: skip
LLM = {"_target_": "vpo.judge.llm.LLMJudge", "engine": ENGINE, "critique_template": "critique", "refine_template": "refine",
       "temperature": 0.0}  # fmt: skip
PANEL = {"_target_": "vpo.judge.panel.PanelJudge", "rule": "unanimous",
         "judges": {"rules": {"_target_": "vpo.judge.rules.judge.RulesJudge", "min_words": 3}, "llm": LLM}}  # fmt: skip
CRITIQUE = {"name": "critique", "version": 1, "sha256": template_hash("critique")}
REFINE = {"name": "refine", "version": 1, "sha256": template_hash("refine")}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def kept(store, stage):
    """An entry with the stage's own node, without its work."""
    return store.get(stage.name, stage.node(), stage.inputs(), lambda folder: {})


@pytest.fixture
def candidates(store):
    node = {
        "backbone": {
            "_target_": "vpo.backbone.hf.HFBackbone",
            "model": "org/name",
            "revision": "0" * 40,
            "template": "tiny",
        }
    }
    prompts = [Prompt("a-0", "a", "query", "text", "candidate", 0)]
    return store.get("sample", node, {}, lambda folder: write_rows(folder / "prompts.jsonl", prompts) or {})


def test_the_judges_of_a_panel_are_named_with_their_templates_and_engines(store, candidates):
    verdicts = kept(store, Critique(judge=PANEL, prompts=candidates))
    found = versions(candidates=candidates, verdicts=verdicts)
    engine = {"class": "vpo.language.server.ServerEngine", "model": "org/judge", "endpoint": "tests"}
    assert found["judge"] == {
        "class": "vpo.judge.panel.PanelJudge", "rule": "unanimous",
        "judges": {
            "rules": {"class": "vpo.judge.rules.judge.RulesJudge"},
            "llm": {"class": "vpo.judge.llm.LLMJudge", "engine": engine, "critique_template": CRITIQUE, "refine_template": REFINE},
        },
        "result": f"critique/{verdicts.key}", "code": read_manifest(verdicts.folder)["code"],
    }  # fmt: skip
    assert found["template"] == {"name": "tiny", "version": 1, "sha256": template_hash("tiny")}
    assert found["policy"] == {
        "policy": None, "class": "vpo.backbone.hf.HFBackbone", "model": "org/name", "revision": "0" * 40,
        "result": f"sample/{candidates.key}", "code": read_manifest(candidates.folder)["code"],
    }  # fmt: skip


def test_a_refinement_has_versions_of_its_own(store, candidates):
    """It was asked for with another template, maybe by other code, than the verdict."""
    verdicts = kept(store, Critique(judge=LLM, prompts=candidates))
    refinements = kept(store, Refine(judge=LLM, prompts=candidates, verdicts=verdicts))
    found = versions(candidates=candidates, verdicts=verdicts, refinements=refinements)
    assert found["refiner"]["result"] == f"refine/{refinements.key}"
    assert found["refiner"]["refine_template"] == REFINE
    assert found["refiner"]["code"] == read_manifest(refinements.folder)["code"]
    assert "refiner" not in versions(candidates=candidates, verdicts=verdicts)


def test_parts_of_a_reward_are_named_with_what_stands_in_their_files(store, candidates, tmp_path):
    (tmp_path / "head.json").write_text("[1]")
    aesthetic = {"_target_": "vpo.reward.aesthetic.AestheticReward", "path": "org/clip", "revision": "1" * 40,
                 "head": str(tmp_path / "head.json"), "head_content": "abc", "frames": "all"}  # fmt: skip
    node = {
        "reward": {
            "_target_": "vpo.reward.ensemble.EnsembleReward",
            "parts": {"AES": aesthetic},
            "weights": {"AES": 1.0},
        }
    }
    scores = store.get("score", node, {}, lambda folder: {})
    found = versions(candidates=candidates, scores=scores)["reward"]
    assert found["parts"] == {
        "AES": {"class": "vpo.reward.aesthetic.AestheticReward", "path": "org/clip", "revision": "1" * 40,
                "head": str(tmp_path / "head.json"), "head_content": "abc"},
    }  # fmt: skip
    assert "weights" not in found


def test_manifests_name_the_versions_of_templates(store, candidates):
    manifest = read_manifest(kept(store, Critique(judge=LLM, prompts=candidates)).folder)
    for name in ("critique", "refine"):
        assert manifest["templates"][name] == {"version": 1, "sha256": template_hash(name)}


def test_a_result_that_names_no_templates_still_gives_the_hash_in_its_node(store, candidates):
    """One that was stored before manifests named them."""
    node = {"judge": {**LLM, "critique_template": "gone", "critique_template_content": "abc"}}
    found = versions(candidates=candidates, verdicts=store.get("critique", node, {}, lambda folder: {}))
    assert found["judge"]["critique_template"] == {"name": "gone", "sha256": "abc"}
