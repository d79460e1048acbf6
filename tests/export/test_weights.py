"""What an export holds: the weights of the policy, merged and converted, as others read them."""

import json
import os
import shutil

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.trained import entry_of, logits, make_policy, run_of
from vpo.backbone.hf import HFBackbone
from vpo.cli.export import export_command
from vpo.errors import UserError
from vpo.language.checkpoints.loading import load_pretrained


def test_plain_transformers_loads_it_and_gives_the_logits_of_the_policy(home, capsys):
    assert export_command([run_of(home)]) == 0
    made = home / "exported/default-dpo-1234abcd"  # the policy that came last, under a name that needs no quotes
    exported = AutoModelForCausalLM.from_pretrained(made)
    trained, tokenizer = load_pretrained(entry_of(home, "dpo").folder / "policy", torch.float32)
    assert torch.equal(logits(exported), logits(trained))
    text = "a dog runs, naïvely"
    assert AutoTokenizer.from_pretrained(made)(text).input_ids == tokenizer(text).input_ids
    assert (made / "template.txt").read_bytes() == b"Query: {}\nPrompt:"
    shown = capsys.readouterr().out
    assert "backbone=hf backbone.model=exported/default-dpo-1234abcd backbone.template=tiny" in shown


def test_it_is_a_backbone(home):
    export_command([run_of(home), "policy=sft", "to=mine"])
    backbone = HFBackbone("mine", None, "tiny", False, "float32", "cpu")
    (home / "start").mkdir()
    backbone.prepare(home / "start")
    loaded = backbone.load(home / "start").engine.model
    assert torch.equal(
        logits(loaded), logits(load_pretrained(entry_of(home, "sft").folder / "policy", torch.float32)[0])
    )


def test_sampling_of_the_run_goes_into_the_generation_config(home):
    run = home / run_of(home)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["method"]["dpo"] |= {"temperature": 0.7, "top_p": 0.95}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    export_command([run_of(home)])
    model = AutoModelForCausalLM.from_pretrained("exported/default-dpo-1234abcd")
    generation = model.generation_config
    assert (generation.do_sample, generation.temperature, generation.top_p, generation.max_new_tokens) == (
        True,
        0.7,
        0.95,
        6,
    )
    assert not generation.top_k  # transformers would cut at 50
    assert generation.eos_token_id == [1]


def test_of_the_bases_generation_config_only_token_ids_are_kept(home):
    """Beams, penalties, suppressed tokens and lengths of the base would make `generate()` write what was never measured."""
    path = entry_of(home, "dpo").folder / "policy/generation_config.json"
    base = {
        "num_beams": 4, "suppress_tokens": [5, 6], "bad_words_ids": [[7]], "min_new_tokens": 9, "length_penalty": 2.0,
        "max_length": 33,
        "repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "forced_eos_token_id": 3, "begin_suppress_tokens": [1],
        "top_k": 7, "min_p": 0.1, "epsilon_cutoff": 0.2, "num_return_sequences": 3, "penalty_alpha": 0.5, "guidance_scale": 3.0,
        "bos_token_id": 0, "pad_token_id": 2, "eos_token_id": 9,
    }  # fmt: skip
    path.write_text(json.dumps(base))
    export_command([run_of(home)])
    generation = json.loads((home / "exported/default-dpo-1234abcd/generation_config.json").read_text())
    method = yaml.safe_load((home / run_of(home) / "config.yaml").read_text())["method"]["dpo"]
    assert generation.pop("do_sample") == (method["temperature"] > 0)
    sampled = {"temperature", "top_p", "top_k"} if method["temperature"] > 0 else set()
    assert {name: value for name, value in generation.items() if name not in sampled} == {
        "bos_token_id": 0, "pad_token_id": 2, "eos_token_id": [1], "max_new_tokens": method["max_new_tokens"],
    }  # fmt: skip


def test_without_a_run_the_bases_temperature_is_kept_and_no_penalty(home):
    policy = entry_of(home, "dpo").folder
    base = {
        "temperature": 0.6,
        "top_p": 0.9,
        "do_sample": True,
        "repetition_penalty": 1.3,
        "num_beams": 4,
        "max_length": 20,
    }
    (policy / "policy/generation_config.json").write_text(json.dumps(base))
    export_command([str(policy), "to=mine"])
    generation = json.loads((home / "mine/generation_config.json").read_text())
    assert generation == {"temperature": 0.6, "top_p": 0.9, "do_sample": True, "eos_token_id": [1]}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes for groups")
@pytest.mark.parametrize("dtype", [[], ["dtype=bfloat16"]], ids=["copied", "converted"])
def test_an_export_can_be_read_by_others_as_the_umask_says(home, dtype):
    before = os.umask(0o022)
    try:
        export_command([run_of(home), *dtype])
    finally:
        os.umask(before)
    files = [path for path in (home / "exported/default-dpo-1234abcd").iterdir() if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o644}
    assert any(path.suffix == ".safetensors" for path in files)


def test_dtype_is_converted_on_request(home):
    export_command([run_of(home), "dtype=bfloat16"])
    made = home / "exported/default-dpo-1234abcd"
    model = AutoModelForCausalLM.from_pretrained(made)
    trained, _ = load_pretrained(entry_of(home, "dpo").folder / "policy", torch.float32)
    assert all(one.dtype == torch.bfloat16 for one in model.parameters())
    for mine, theirs in zip(model.parameters(), trained.parameters(), strict=True):
        assert torch.equal(mine, theirs.bfloat16())
    assert "rounded to bfloat16" in (made / "README.md").read_text()


def add_adapter(folder, base, seed):
    """A LoRA adapter with weights that matter, saved as PEFT saves it; returns the unmerged model."""
    from peft import LoraConfig, PeftModel, get_peft_model

    inner = AutoModelForCausalLM.from_pretrained(base)
    if (
        base / "adapter_config.json"
    ).exists():  # transformers has put the adapter in; PEFT does it again on the bare base
        bare = AutoModelForCausalLM.from_pretrained(
            json.loads((base / "adapter_config.json").read_text())["base_model_name_or_path"]
        )
        inner = PeftModel.from_pretrained(bare, base).merge_and_unload()
        inner.config._name_or_path = inner.name_or_path = str(base)
    model = get_peft_model(inner, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("layers", [1, 2])
def test_adapters_are_merged_into_their_base(home, layers):
    """One adapter over whole weights, and a DPO adapter over an SFT adapter."""
    base, trained = home / "base", entry_of(home, "dpo").folder / "policy"
    make_policy(base, seed=5)
    shutil.rmtree(trained)
    if layers == 2:
        add_adapter(home / "first", base, seed=6)
        base = home / "first"
    expected = add_adapter(trained, base, seed=7)
    shutil.copy(home / "base/template.txt", trained)
    export_command([run_of(home)])
    made = home / "exported/default-dpo-1234abcd"
    assert {path.name for path in made.glob("*.safetensors")} == {"model.safetensors"}
    assert not list(made.glob("adapter*"))
    plain = AutoModelForCausalLM.from_pretrained(made)
    assert not any("lora" in name for name, _ in plain.named_parameters())
    torch.testing.assert_close(logits(plain), logits(expected), atol=1e-5, rtol=0)
    untouched = AutoModelForCausalLM.from_pretrained(home / "base")
    assert (logits(plain) - logits(untouched)).abs().max() > 0.01  # the adapter does something
    assert (
        AutoTokenizer.from_pretrained(made)("a dog").input_ids
        == AutoTokenizer.from_pretrained(home / "base")("a dog").input_ids
    )
    assert "merged into their base" in (made / "README.md").read_text()


def test_an_adapter_of_another_base_leaves_nothing_behind(home):
    trained = entry_of(home, "dpo").folder / "policy"
    add_adapter(home / "adapter", trained, seed=1)
    shutil.rmtree(trained)
    shutil.copytree(home / "adapter", trained)
    (trained / "template.txt").write_text("{}")
    wrong = home / "wrong"
    make_policy(wrong, seed=3, hidden_size=8)
    config = json.loads((trained / "adapter_config.json").read_text())
    (trained / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(wrong)}))
    with pytest.raises(UserError, match="the adapter does not fit its base"):
        export_command([run_of(home)])
    assert list((home / "exported").iterdir()) == []
