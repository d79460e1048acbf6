"""Stages and methods over an engine: requests built, completions kept, cuts and failures counted, memory freed."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from tests.chat_models import edit_json, llama3_tokenizer, save_llama
from tests.conftest import run_vpo
from vpo.backbone.hf import HFBackbone
from vpo.build import build
from vpo.checking.rules import check
from vpo.errors import UserError
from vpo.language.hf import HFEngine
from vpo.method.llm import EngineMethod
from vpo.method.policy import PolicyMethod
from vpo.records import Completion, Failure, Prompt, Query
from vpo.seeding import seed_of
from vpo.stages.context import Context
from vpo.stages.draft import Draft, draft
from vpo.stages.optimize import Optimize, optimize
from vpo.stages.sample import Sample
from vpo.storage.rows import write_rows
from vpo.storage.store import Entry, Store

SAMPLING = {"k": 2, "temperature": 0.9, "top_p": 0.9, "max_new_tokens": 6, "batch_size": 3}
QUERIES = [Query("q0", "a dog"), Query("q1", "two cats on a roof"), Query("q2", "a boat")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model in Llama 3's chat format."""
    return save_llama(tmp_path_factory.mktemp("chat"), llama3_tokenizer())


@pytest.fixture
def context(tmp_path):
    return Context(Store(tmp_path / "store"))


def queries_in(context, queries=QUERIES) -> Entry:
    def work(folder: Path) -> dict[str, int]:
        for split in ("sft", "dpo", "test"):
            write_rows(folder / f"{split}.jsonl", queries)
        return {}

    return context.store.get("queries", {"n": len(queries)}, {}, work)


def policy_in(context, folder) -> tuple[dict, Entry]:
    """The backbone's node and its start."""
    node = {
        "_target_": "vpo.backbone.hf.HFBackbone", "model": str(folder), "revision": None, "template": "optimizer",
        "needs_chat_template": True, "dtype": "float32", "device": "cpu",
    }  # fmt: skip

    def work(entry: Path) -> dict[str, int]:
        (entry / "policy").mkdir()
        build(node).prepare(entry / "policy")
        return {}

    return node, context.store.get("start", {"backbone": node}, {}, work)


def llm(folder, **values) -> dict:
    """The node of `method=llm`, as it is composed."""
    with initialize_config_module("vpo.conf", version_base="1.3"):
        overrides = ["method=[llm]", f"engine.model={folder}", "sampling.max_new_tokens=6"]
        node = OmegaConf.to_container(compose("config", overrides=overrides), resolve=True)["method"]["llm"]
    return node | values


def counts_of(entry: Entry) -> dict:
    return json.loads((entry.folder / "manifest.json").read_text())["counts"]


def test_candidates_have_seeds_of_their_own_and_say_whether_they_were_cut(context, folder, monkeypatch):
    """Batches of three draws cut across the queries; each candidate is what its own seed gives alone."""
    closed = []
    close = HFEngine.close
    monkeypatch.setattr(HFEngine, "close", lambda engine: (closed.append(engine), close(engine)))
    node, start = policy_in(context, folder)
    entry = context.make(Sample(sampling=SAMPLING, backbone=node, queries=queries_in(context), policy=start, seed=0))
    prompts = entry.rows("prompts.jsonl", Prompt)
    assert [(one.id, one.index) for one in prompts] == [(f"q{n}-{k}", k) for n in range(3) for k in range(2)]
    policy = HFBackbone(str(folder), None, "optimizer", True, "float32", "cpu").load(folder)
    for prompt in prompts:
        query, k = QUERIES[int(prompt.query_id[1])], prompt.index
        alone = PolicyMethod(policy, 0.9, 0.9, 6)
        request = alone.policy.request(query.text, alone.sampling, seed_of("candidate", 0, query.id, k))
        (expected,) = policy.engine.generate([request])
        assert (prompt.text, prompt.cut) == (expected.text, expected.finish_reason == "length")
    assert len({one.text for one in prompts}) > 3
    assert counts_of(entry)["cut"] == sum(one.cut for one in prompts) > 0  # random weights seldom end within 6 tokens
    assert len(closed) == 1
    assert closed[0].model is None


def test_a_query_too_long_for_the_model_fails_alone(context, folder):
    """2048 positions, and letters that no merge of this tokenizer joins: the others have their prompts."""
    node, start = policy_in(context, folder)
    queries = queries_in(context, [*QUERIES, Query("long", "狗" * 2000)])
    method = {"_target_": "vpo.method.policy.PolicyMethod", "temperature": 0, "top_p": 1.0, "max_new_tokens": 4}
    entry = context.make(optimize("sft", method | {"policy": "sft"}, queries, 0, backbone=node, policy=start))
    assert [one.query_id for one in entry.rows("prompts.jsonl", Prompt)] == ["q0", "q1", "q2"]
    (failed,) = entry.failures("prompts.jsonl").items()
    assert failed[0] == "long"
    assert (failed[1].kind, failed[1].attempts) == ("too_long", 1)
    assert counts_of(entry)["failed"] == 1


def test_any_engine_is_a_method_and_a_drafter(context, folder):
    queries, node = queries_in(context), llm(folder)
    assert isinstance(build({key: node[key] for key in node if key not in ("batch_size", "label")}), EngineMethod)
    prompts = context.make(optimize("llm", node, queries, 0, backbone={}, policy=None)).rows("prompts.jsonl", Prompt)
    drafts = context.make(draft(node, queries, seed=0)).rows("prompts.jsonl", Prompt)
    assert [one.method for one in prompts] == ["llm"] * 3
    assert [one.text for one in prompts] == [one.text for one in drafts]  # the same queries and seeds
    backbone = HFBackbone(str(folder), None, "optimizer", True, "float32", "cpu")
    trained = PolicyMethod(backbone.load(folder), 0.7, 1.0, 6).optimize(QUERIES, 0)
    assert [one.text for one in prompts] == [
        one.text for one in trained
    ]  # same weights, template, seeds: another way there
    assert all(isinstance(one, Completion) for one in trained)


def test_the_files_of_an_engines_model_and_the_template_are_in_the_key(context, folder, tmp_path):
    copy = save_llama(tmp_path / "copy", llama3_tokenizer())
    queries = queries_in(context)

    def stage(**values) -> Optimize:
        return optimize("llm", llm(copy, **values), queries, 0, backbone={}, policy=None)

    def drafting() -> Draft:
        return draft(llm(copy), queries, seed=0)

    before, drafted = stage().node(), drafting().node()
    assert stage().node() == before
    assert stage(template="tiny").node()["method"]["template_content"] != before["method"]["template_content"]
    edit_json(copy / "config.json", rms_norm_eps=1e-3)
    assert stage().node() != before
    assert drafting().node() != drafted


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=[original,llm]", "engine=none"], "method.llm asks a language model, and engine=none; choose one, as in engine=hf"),
        (["method@drafter=llm", "engine=none"], "drafter asks a language model, and engine=none"),
        (["method=[original,llm]", "engine.model=/nowhere/at/all"], "engine.model=/nowhere/at/all: no such folder"),
        (["method=[original,llm]", "engine.model=a/b", "engine.bits=5"], "engine.bits=5"),
    ],
)  # fmt: skip
def test_an_engine_that_is_not_there_is_told_before_any_work(overrides, message):
    with initialize_config_module("vpo.conf", version_base="1.3"):
        config = OmegaConf.to_container(compose("config", overrides=overrides), resolve=True)
    with pytest.raises(UserError) as caught:
        check(config)
    assert message in str(caught.value)


def test_one_engine_serves_all_who_ask_and_one_of_them_may_have_its_own():
    overrides = [
        "method=[original,llm]",
        "method@drafter=llm",
        "engine.model=a",
        "method.llm.engine={_target_:vpo.x.Y,url:b}",
    ]
    with initialize_config_module("vpo.conf", version_base="1.3"):
        config = OmegaConf.to_container(compose("config", overrides=overrides), resolve=True)
    assert config["drafter"]["engine"] == config["engine"]
    assert config["engine"]["_target_"] == "vpo.language.hf.PretrainedEngine"
    assert config["method"]["llm"]["engine"] == {"_target_": "vpo.x.Y", "url": "b"}


def test_failures_pass_through_a_method():
    class Busy:
        def generate(self, requests):
            return [Failure("busy", "try later", retryable=True) for _ in requests]

        def close(self):
            """Nothing is held."""

    assert EngineMethod(Busy(), "tiny", 0, 1.0, 4).optimize(QUERIES[:1], 0) == [
        Failure("busy", "try later", retryable=True)
    ]


@pytest.mark.slow
def test_a_run_with_a_language_model_beside_the_query(folder, tmp_path):
    done = run_vpo(
        "run", "experiment=smoke", "method=[original,llm]", f"engine.model={folder}", "stop_after=optimize", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (prompts,) = (
        path for path in tmp_path.glob("store/optimize/*/prompts.jsonl") if '"method": "llm"' in path.read_text()
    )
    assert all(json.loads(line)["text"] for line in prompts.read_text().splitlines())
