"""Every place that a language model may come from: folders, runs, adapters, assets."""

import json
import shutil

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tests.chat_models import llama3_tokenizer, save_llama
from tests.trained import make_policy, make_run
from vpo.assets.folder import Record
from vpo.assets.manifest import read_manifest
from vpo.cli.export import export_command
from vpo.errors import UserError
from vpo.language.policy import TrainedPolicy
from vpo.optimize.options import Options
from vpo.optimize.source import default_source, open_source
from vpo.records import Sampling
from vpo.templates import read_template

TINY, VPO = read_template("tiny"), read_template("optimizer")


def opened(source, **options):
    found = open_source(str(source), Options(**options))
    assert isinstance(found.policy, TrainedPolicy)
    (answer,) = found.policy.engine.generate([found.policy.request("a dog", Sampling(0.0, 1.0, 4), 0)])
    found.policy.close()
    assert answer.usage.tokens_out > 0
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_llama(tmp_path_factory.mktemp("model"), llama3_tokenizer())


def test_a_model_of_others_is_asked_with_vpos_template_and_sampling(model):
    found = opened(model)
    assert (found.template, found.sampling) == (VPO, Sampling(0.7, 1.0, 256))
    assert opened(model, template="tiny", temperature=0.2, top_p=0.5, max_new_tokens=9).sampling == Sampling(
        0.2, 0.5, 9
    )
    assert opened(model, template="none").template == "{}"


def test_a_run_is_opened_by_its_last_policy_and_sampled_as_its_method_was(tmp_path):
    run = make_run(tmp_path)
    found = opened(run)
    assert (found.template, found.sampling) == (TINY, Sampling(0.0, 1.0, 6))
    assert opened(run, policy="sft", temperature=0.5).sampling == Sampling(0.5, 1.0, 6)
    with pytest.raises(UserError, match="no policy is called grpo; choose one of dpo, sft"):
        opened(run, policy="grpo")


def test_a_result_of_the_store_is_opened(tmp_path):
    make_run(tmp_path)
    (result,) = (path.parent for path in (tmp_path / "store/dpo").glob("*/manifest.json"))
    assert opened(result).template == TINY


def test_an_exported_folder_says_how_it_is_asked_and_sampled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path)
    assert export_command([str(run), "to=exported"]) == 0
    found = opened(tmp_path / "exported")
    assert (found.template, found.sampling) == (TINY, Sampling(0.0, 1.0, 6))


def test_an_adapter_is_opened_on_the_base_that_it_names(tmp_path, model):
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == str(model)
    assert opened(tmp_path).template == VPO
    (tmp_path / "template.txt").write_bytes(TINY.encode())
    assert opened(tmp_path).template == TINY


def test_the_small_model_of_the_assets_is_the_default_where_it_is(tmp_path, model, monkeypatch):
    monkeypatch.setenv("VPO_ASSETS", str(tmp_path))
    with pytest.raises(UserError, match="no model is at hand; get one by `vpo assets get smollm2-135m-instruct`"):
        default_source()
    folder = tmp_path / "smollm2-135m-instruct"
    shutil.copytree(model, folder)
    origin = read_manifest()["smollm2-135m-instruct"].origin
    Record("smollm2-135m-instruct", origin.wheel, origin.sha256, {}, {}).write(folder)
    assert default_source() == "asset:smollm2-135m-instruct"
    assert opened(default_source()).template == VPO


def test_a_template_without_its_slot_is_one_line(tmp_path):
    make_policy(tmp_path / "policy", 0)
    (tmp_path / "policy/template.txt").write_text("Rewrite this.")
    with pytest.raises(UserError, match=r"template.txt: must hold the slot \{\} for the query exactly once"):
        opened(tmp_path / "policy")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"policy": "sft"}, "policy=sft is one of a run's, and model=.* is no run folder; leave it out"),
        ({"device": "tpu"}, "device=tpu does not exist; choose one of cpu, cuda, auto"),
        ({"engine": {"timeout": 5}}, "engine.timeout is a server's setting, and model=.* is no server; leave it out"),
    ],
)
def test_an_option_of_another_kind_of_source_is_one_line(model, options, words):
    with pytest.raises(UserError, match=words):
        opened(model, **options)
    with pytest.raises(
        UserError, match="bits=4 is of a model in this process, and http://x/v1 is a server; leave it out"
    ):
        open_source("http://x/v1", Options(bits=4))
