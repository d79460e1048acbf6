"""LoRA policies: what their folder holds, how they become a model again, and where DPO on them starts."""

import json
import math
import shutil

import pytest
import torch
from peft import PeftModel

from tests.training_jobs import LORA, WORDS, job, losses, train_here, write_reference
from vpo.backbone.tiny import TinyBackbone
from vpo.errors import UserError
from vpo.language.checkpoints.loading import load_pretrained
from vpo.language.checkpoints.merging import read_base
from vpo.training.checkpoints import steps_done
from vpo.training.forward import Reader
from vpo.training.lora import add_adapter, enable_adapter_dropout
from vpo.training.modules import SFTModule
from vpo.training.policy_folder import PolicyWriter

IDS = torch.arange(20)[None]


def trained(start, seed=0, bits=None):
    """A policy in training from `start`: an adapter whose factors are both random, as if it had learnt something."""
    model, tokenizer = load_pretrained(start, torch.float32, bits)
    torch.manual_seed(seed)
    model = add_adapter(model, LORA | {"bits": bits})
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval(), PolicyWriter(model, tokenizer, "Query: {}", start, bits)


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_a_lora_policy_is_its_adapter_with_tokenizer_and_templates(start, tmp_path):
    model, writer = trained(start)
    writer.tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    folder = tmp_path / "policy"
    writer.write(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "base.json", "chat_template.jinja", "template.txt",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert (folder / "template.txt").read_text() == "Query: {}"
    loaded, tokenizer = load_pretrained(folder, torch.float32)
    assert tokenizer.chat_template == writer.tokenizer.chat_template
    assert not any("lora" in name for name, _ in loaded.named_parameters())
    torch.testing.assert_close(logits(loaded), logits(model), rtol=1e-4, atol=1e-5)
    # PEFT's own tools find the base and read the same policy.
    base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    plain = PeftModel.from_pretrained(load_pretrained(base, torch.float32)[0], folder)
    torch.testing.assert_close(logits(plain), logits(model), rtol=1e-4, atol=1e-5)


def test_an_adapter_on_an_adapter_is_read_through_the_chain_and_moves_with_the_store(start, tmp_path):
    """DPO's adapter stands on the merged SFT policy, which stands on the start."""
    shutil.copytree(start, tmp_path / "a/start/policy")
    sft, writer = trained(tmp_path / "a/start/policy")
    writer.write(tmp_path / "a/sft/policy")
    dpo, writer = trained(tmp_path / "a/sft/policy", seed=1)
    with dpo.disable_adapter():
        torch.testing.assert_close(logits(dpo), logits(sft), rtol=1e-4, atol=1e-5)
    writer.write(tmp_path / "a/dpo/policy")
    shutil.move(tmp_path / "a", tmp_path / "b")
    loaded, _ = load_pretrained(tmp_path / "b/dpo/policy", torch.float32)
    torch.testing.assert_close(logits(loaded), logits(dpo), rtol=1e-4, atol=1e-5)
    shutil.rmtree(tmp_path / "b/start")
    with pytest.raises(UserError, match=r"base .*b/start/policy is not there; put it back"):
        load_pretrained(tmp_path / "b/dpo/policy", torch.float32)


def test_the_base_of_a_released_model_is_its_hub_id(start, tmp_path):
    (tmp_path / "start").mkdir()
    (tmp_path / "start/start.json").write_text(json.dumps({"model": str(start), "revision": None}))
    model, writer = trained(tmp_path / "start")
    writer.write(tmp_path / "policy")
    assert json.loads((tmp_path / "policy/adapter_config.json").read_text())["base_model_name_or_path"] == str(start)
    torch.testing.assert_close(
        logits(load_pretrained(tmp_path / "policy", torch.float32)[0]), logits(model), rtol=1e-4, atol=1e-5
    )


def test_an_adapter_that_peft_saved_is_a_policy_too(start, tmp_path):
    model, _ = trained(start)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    assert read_base(str(tmp_path)).source == str(start)
    loaded, tokenizer = load_pretrained(tmp_path, torch.float32)
    torch.testing.assert_close(logits(loaded), logits(model), rtol=1e-4, atol=1e-5)
    assert tokenizer.eos_token == "</s>"  # the base's, as the folder has none


def test_equal_adapters_give_equal_files(start, tmp_path):
    for name in ("a", "b"):
        trained(start)[1].write(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    targets = json.loads((tmp_path / "a/adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(targets)


def test_an_adapter_of_another_model_is_one_line(start, tmp_path):
    trained(start)[1].write(tmp_path / "policy")
    other = tmp_path / "other"
    TinyBackbone(WORDS, 0, 300, 48, 64, 2, 2, 0.09, 512, "tiny").prepare(other)
    (tmp_path / "policy/base.json").write_text(json.dumps({"folder": "../other", "bits": None}))
    with pytest.raises(UserError, match=r"policy: the adapter does not fit its base .*other") as raised:
        load_pretrained(tmp_path / "policy", torch.float32)
    assert "\n" not in str(raised.value)


def test_layers_that_a_model_lacks_are_one_line(start):
    with pytest.raises(UserError, match=r"adapter.target_modules=\['query'\]: Target modules .*query"):
        add_adapter(load_pretrained(start, torch.float32)[0], LORA | {"target_modules": ["query"]})


def test_only_the_adapters_dropout_is_on(start):
    model = add_adapter(load_pretrained(start, torch.float32)[0], LORA | {"dropout": 0.5})
    Reader.of(model, packing=True, longest=128)
    enable_adapter_dropout(model)
    on = {name for name, module in model.named_modules() if module.training and not list(module.children())}
    assert on
    assert all(".lora_dropout." in name for name in on)


def test_a_checkpoint_of_an_adapter_lacks_the_base_and_fits_no_other_model(start, tmp_path):
    model, _ = trained(start)
    module = SFTModule(Reader(model, packing=False, own_logits=False), {}, 1)
    checkpoint = {"state_dict": module.state_dict(), "global_step": 3}
    module.on_save_checkpoint(checkpoint)
    assert checkpoint["state_dict"]
    assert all(".lora_" in name for name in checkpoint["state_dict"])
    module.load_state_dict(checkpoint["state_dict"], strict=module.strict_loading)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    assert steps_done(tmp_path / "last.ckpt", module.trained_state()) == 3
    whole = SFTModule(Reader(load_pretrained(start, torch.float32)[0], packing=False, own_logits=False), {}, 1)
    assert whole.strict_loading
    assert whole.trained_state().keys() == whole.state_dict().keys()
    with pytest.raises(UserError, match=r"last.ckpt: a checkpoint of another model \(\d+ weights differ"):
        steps_done(tmp_path / "last.ckpt", whole.trained_state())


@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])
def test_dpo_on_a_merged_sft_adapter_starts_at_ln_2(tmp_path, start, renderer, adapter):
    """The reference is the merged policy. Against the base, as where an adapter is merely switched off, it is refused."""
    trained(start)[1].write(tmp_path / "sft")
    spec = job(tmp_path / "dpo", tmp_path / "sft", "dpo", recipe={"adapter": adapter, "max_steps": 2})
    write_reference(tmp_path / "dpo", start, renderer)
    assert train_here(spec) == 2
    assert "not those of the starting policy" in (tmp_path / "dpo/error.txt").read_text()
    write_reference(tmp_path / "dpo", tmp_path / "sft", renderer)
    assert train_here(spec) == 0
    assert losses(tmp_path / "dpo")[0] == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.parametrize("adapter", [None, LORA | {"dropout": 0.3}], ids=["full", "lora with dropout"])
def test_dpo_on_whole_weights_starts_at_ln_2(tmp_path, start, renderer, adapter):
    spec = job(tmp_path, start, "dpo", recipe={"adapter": adapter, "max_steps": 2})
    write_reference(tmp_path, start, renderer)
    assert train_here(spec) == 0
    assert losses(tmp_path)[0] == pytest.approx(math.log(2), abs=1e-5)
