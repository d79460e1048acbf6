"""The configs of judges that ask language models: what they compose to, what their results depend on, what is refused."""

import pytest

from tests.checking.test_config import CHOOSES, changed, composed, keys_of, leaves, with_value
from vpo import templates
from vpo.checking.rules import check
from vpo.errors import UserError
from vpo.judge.llm import LLMJudge
from vpo.judge.panel import PanelJudge
from vpo.judge.rules.judge import RulesJudge
from vpo.judge.vpo_released import ReleasedJudge
from vpo.optimize.choices import build_judge
from vpo.stages.critique import Critique
from vpo.storage.code_hash import templates_of
from vpo.storage.store import Entry, stage_key
from vpo.targets import target_class

pytest.importorskip("openai", reason="the extra `server` is not installed")
SERVER = ("engine=server", "engine.base_url=http://localhost:8000/v1", "engine.model=m")
TEMPLATES = {
    "llm": ["critique", "refine"],
    "vpo_released": ["released_critique", "released_refine"],
    "panel": ["critique", "refine"],
}


@pytest.mark.parametrize(("name", "kind"), [("llm", LLMJudge), ("vpo_released", ReleasedJudge), ("panel", PanelJudge)])
def test_a_judge_composes_with_the_engine_of_the_run(name, kind):
    config = composed(f"judge={name}", *SERVER)
    check(config)
    assert target_class(config["judge"]) is kind
    node = config["judge"]["judges"]["llm"] if name == "panel" else config["judge"]
    assert node["engine"] == config["engine"]
    if name == "panel":
        assert target_class(config["judge"]["judges"]["rules"]) is RulesJudge


@pytest.mark.parametrize(("name", "role"), [("llm", "judge"), ("vpo_released", "judge"), ("panel", "judge.judges.llm")])
def test_without_an_engine_it_is_one_line(name, role):
    with pytest.raises(UserError, match=f"config: {role} asks a language model, and engine=none; choose one"):
        check(composed(f"judge={name}"))


@pytest.mark.parametrize("name", ["llm", "vpo_released", "panel"])
def test_every_value_changes_a_key_but_how_the_server_is_asked(name):
    base = composed(f"judge={name}", *SERVER)
    known = keys_of(base)
    idle = set()
    for path, value in leaves(base["judge"]):
        if path[-1] in CHOOSES or path[-1].endswith("_file"):
            continue
        other = "optimizer" if path[-1].endswith("_template") else changed(value) if value is not None else 1
        if keys_of(with_value(base, ("judge", *path), other)) == known:
            idle.add(path[-1])
    assert idle == {
        "base_url", "api_key_env", "concurrency", "timeout", "max_retries", "requests_per_minute", "tokens_per_minute", "price_in",
        "price_out", "max_cost", "cache",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["llm", "vpo_released", "panel"])
def test_the_templates_are_code_of_critique_and_refine(name):
    node = {"judge": composed(f"judge={name}", *SERVER)["judge"]}
    for stage in ("critique", "refine", "grpo"):
        assert {file.stem for file in templates_of(stage, node)} - {"optimizer", "tiny"} == set(TEMPLATES[name])


def test_the_text_of_a_template_is_in_the_manifest_and_in_the_key(tmp_path, monkeypatch):
    judge = composed("judge=llm", *SERVER)["judge"]

    def node_and_key():
        stage = Critique(judge=judge, prompts=Entry("draft", "k", tmp_path))
        return stage.node()["judge"], stage_key(stage.name, stage.node(), stage.inputs(), stage.exempt_paths())

    node, key = node_and_key()
    assert node["critique_template_content"] == templates.template_hash("critique")
    assert node["refine_template_content"] == templates.template_hash("refine")
    for name in ("critique", "refine"):
        (tmp_path / f"{name}.txt").write_text(templates.read_template(name) + "Hurry.\n")
    monkeypatch.setattr(templates, "FOLDER", tmp_path)
    assert node_and_key()[1] != key


def test_the_content_of_a_file_with_the_released_text_is_in_the_key(tmp_path):
    file = tmp_path / "critique.txt"
    config = composed("judge=vpo_released", f"judge.critique_file={file}", *SERVER)
    keys = []
    for text in ("Judge {} {}", "Judge well {} {}"):
        file.write_text(text)
        keys.append(keys_of(config))
    assert keys[0] != keys[1]


def test_optimize_asks_the_optimizers_own_model():
    from tests.judge.asking import Scripted, fenced, prompts

    engine = Scripted(lambda request: fenced())
    assert build_judge("llm", engine).critique(prompts("A dog."))[0].fine is True
    assert build_judge("vpo_released", engine).engine is engine
    with pytest.raises(UserError, match="judge=panel reads values of a run"):
        build_judge("panel", engine)
