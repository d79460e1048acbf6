"""A checkpoint that lacks weights, or has others, is refused before any work; a wrapper's names are taken off."""

import importlib.util
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, MixtralConfig, MixtralForCausalLM

from tests.chat_models import edit_json, llama3_tokenizer, save_llama
from tests.conftest import run_vpo
from tests.language.folders import edit_weights, logits, prepare, quantise_to_fp8, renamed, without
from tests.training_jobs import job, train_here
from vpo.errors import UserError
from vpo.language.checkpoints.loading import load_pretrained
from vpo.stages.start import check_training
from vpo.storage.store import Entry
from vpo.training.policy_folder import PolicyWriter


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_llama(tmp_path_factory.mktemp("whole") / "model", llama3_tokenizer())


@pytest.fixture
def model(whole, tmp_path):
    """A copy to be spoilt: 21 weights, 9 of them in each of two layers."""
    return shutil.copytree(whole, tmp_path / "model")


@pytest.fixture(scope="module")
def four_bits(tmp_path_factory):
    """A checkpoint of 4-bit weights, as bitsandbytes saves them."""
    folder = tmp_path_factory.mktemp("four") / "model"
    wide = save_llama(folder.with_name("wide"), llama3_tokenizer(), hidden_size=64, intermediate_size=128)
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    AutoModelForCausalLM.from_pretrained(wide, quantization_config=config, device_map={"": "cpu"}).save_pretrained(
        folder
    )
    llama3_tokenizer().save_pretrained(folder)
    return folder


def tie_to_nothing(folder):
    edit_json(folder / "config.json", tie_word_embeddings=True)
    edit_weights(folder, without("lm_head", "embed_tokens"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: edit_weights(folder, without("lm_head")),
            "weights are missing from its files, 1 of 21: lm_head.weight; .* tie_word_embeddings: true",
        ),
        (
            lambda folder: edit_weights(folder, without("layers.1.")),
            r"missing from its files, 9 of 21: model.layers.1.input_layernorm.weight, .* and 5 more; copy all of its files",
        ),
        (lambda folder: edit_json(folder / "config.json", num_hidden_layers=3), r"9 of 30: model.layers.2.input_layernorm"),
        (tie_to_nothing, "2 of 21: lm_head.weight, model.embed_tokens.weight"),
        (
            lambda folder: edit_weights(folder, renamed(lambda name: name.replace("q_proj", "q_proj.base_layer"))),
            r"2 of 21: model.layers.0.self_attn.q_proj.weight.* with an adapter inside: call merge_and_unload\(\)",
        ),
        (
            lambda folder: edit_weights(folder, lambda weights: renamed("_orig_mod.{}".format)(without("norm")(weights))),
            "5 of 21: model.layers.0.input_layernorm.weight",  # what is missing, not what has another name
        ),
        (
            lambda folder: edit_json(folder / "config.json", vocab_size=700),
            r"another shape than .*, 2 of 21, such as lm_head.weight: \(582, 32\) in the files, \(700, 32\) in the model",
        ),
        (lambda folder: edit_json(folder / "config.json", hidden_act="no such"), "config.json describes no model that can be"),
        (lambda folder: edit_json(folder / "config.json", hidden_size="wide"), "config.json describes no model .*hidden_size"),
    ],
)  # fmt: skip
def test_what_a_checkpoint_lacks_is_one_line_at_the_start_and_on_loading(model, spoil, message):
    spoil(model)
    for load in (prepare, lambda folder: load_pretrained(folder, torch.float32)):
        with pytest.raises(UserError, match=message) as found:
            load(model)
        assert "\n" not in str(found.value)
        assert str(model) in str(found.value).split(": ")[0]


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_are_one_line_on_loading(model, value):
    def spoil(weights):
        weights["model.layers.1.mlp.up_proj.weight"][3, 5] = value
        return weights

    edit_weights(model, spoil)
    start = prepare(model)  # no values are read there
    message = f"{model}: weights hold NaN or infinity, 1 of 21: model.layers.1.mlp.up_proj.weight; copy the model again"
    with pytest.raises(UserError, match=message) as found:
        load_pretrained(start, torch.float32)
    assert "\n" not in str(found.value)


def test_weights_stored_as_integers_without_a_quantisation_are_one_line(model):
    edit_weights(model, lambda weights: {k: (v * 50).to(torch.int8) if v.ndim == 2 else v for k, v in weights.items()})
    message = r"stored as integers \(I8\), 16 of 21: .*config.json names no quantisation; give its own config.json"
    for load in (prepare, lambda folder: load_pretrained(folder, torch.float32)):
        with pytest.raises(UserError, match=message):
            load(model)


@pytest.mark.slow
def test_the_command_line_says_it_before_anything_is_drafted(model, tmp_path):
    edit_weights(model, without("lm_head"))
    done = run_vpo("run", "experiment=smoke", "backbone=hf", f"backbone.model={model}", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "lm_head.weight" in line]
    assert line.startswith(f"vpo: backbone.model={model}: weights are missing")
    assert "draft" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "rule",
    [
        "_orig_mod.{}".format,
        "module.{}".format,
        "module._orig_mod.{}".format,
        "model.{}".format,
        "base_model.model.{}".format,
        "base_model.model.base_model.model.{}".format,
        "some.wrapper.of.mine.{}".format,
        lambda name: name.replace("layers.0.", "layers.0._checkpoint_wrapped_module."),
        lambda name: "_fsdp_wrapped_module." + name.replace(".mlp.", ".mlp._fsdp_wrapped_module."),
    ],
)
def test_the_names_of_wrappers_are_taken_off_and_not_put_back(whole, model, tmp_path, rule):
    """Sampling, training, reference and export read through `load_pretrained`; what is trained is saved under plain names."""
    names = set(load_file(model / "model.safetensors"))
    edit_weights(model, renamed(rule))
    start = prepare(model)
    assert torch.equal(logits(start), logits(whole))
    trained, tokenizer = load_pretrained(start, torch.float32)
    PolicyWriter(trained, tokenizer, "{}", start, None).write(tmp_path / "policy")
    assert set(load_file(tmp_path / "policy/model.safetensors")) == names


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("experts.3.",), r"another shape than .* model.layers.0.mlp.experts.down_proj: \(3, 32, 64\) in the files, \(4, 32, 64\)"),
        (("1.block_sparse_moe.experts.3.w1",), "parts of weights are missing .*: model.layers.1.mlp.experts.gate_up_proj;"),
    ],
)  # fmt: skip
def test_experts_that_are_stacked_on_loading_must_all_be_there(tmp_path, parts, message):
    tokenizer, folder = llama3_tokenizer(), tmp_path / "mixtral"
    shape = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_local_experts": 4,
    }
    MixtralForCausalLM(MixtralConfig(vocab_size=len(tokenizer), num_key_value_heads=2, **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    edit_weights(folder, renamed("_orig_mod.{}".format))
    prepare(folder)
    edit_weights(folder, without(*parts))
    with pytest.raises(UserError, match=message):
        prepare(folder)


def test_what_is_no_part_of_the_model_is_told_in_one_line(model, caplog):
    edit_weights(model, lambda weights: weights | {"v_head.weight": torch.ones(1), "v_head.bias": torch.ones(1)})
    with caplog.at_level("INFO", logger="vpo"):
        prepare(model)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        f"backbone.model={model}: 2 weights in its files are no part of the model and are not read: v_head.bias, v_head.weight"
    )


@pytest.mark.parametrize(
    ("method", "package"),
    [
        ("gptq", "optimum"), ("awq", "gptqmodel"), ("compressed-tensors", "compressed_tensors"), ("hqq", "hqq"),
        ("quanto", "optimum.quanto"), ("aqlm", "aqlm"),
    ],
)  # fmt: skip
def test_a_quantisation_without_its_package_names_it(model, method, package):
    if importlib.util.find_spec(package.split(".")[0]):
        pytest.skip(f"{package} is installed")
    edit_json(model / "config.json", quantization_config={"quant_method": method, "bits": 4, "group_size": 128})
    with pytest.raises(UserError, match=f"quantised with {method}, which cannot be read here") as found:
        prepare(model)
    assert package.replace("_", "-").replace(".", "-") in str(found.value).lower()


@pytest.mark.parametrize(
    ("given", "message"), [({"quant_method": "exl2"}, "exl2, which transformers does not"), ({"bits": 4}, "None")]
)
def test_a_quantisation_that_nobody_knows_is_one_line(model, given, message):
    edit_json(model / "config.json", quantization_config=given)
    with pytest.raises(UserError, match=f"its weights are quantised with {message}"):
        prepare(model)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("layers.1.", "9 of 21: model.layers.1.input_layernorm.weight"),
        ("1.mlp.up_proj.weight.absmax", "1 of 21: model.layers.1.mlp.up_proj.weight.absmax;"),
        (
            "0.mlp.up_proj.weight.quant_state",
            "1 of 21: model.layers.0.mlp.up_proj.weight.quant_state.bitsandbytes__nf4;",
        ),
        ("lm_head", "1 of 21: lm_head.weight"),
    ],
)
def test_a_4_bit_checkpoint_is_read_and_must_be_whole(four_bits, tmp_path, part, message):
    prepare(four_bits)
    spoilt = edit_weights(shutil.copytree(four_bits, tmp_path / "model"), without(part))
    with pytest.raises(UserError, match=message):
        prepare(spoilt)


def test_float8_weights_need_their_scales(model):
    before = logits(model)
    start = prepare(quantise_to_fp8(model))
    assert (logits(start) - before).abs().max() < 0.1 * before.abs().max()
    edit_weights(model, without("1.mlp.up_proj.weight_scale_inv"))
    with pytest.raises(UserError, match=r"1 of 21: model.layers.1.mlp.up_proj.weight_scale_inv;"):
        prepare(model)


def test_4_bit_weights_are_trained_beside_an_adapter_only(four_bits, tmp_path):
    """Said at the start of a run, and by a training that meets them in another way."""
    shutil.copytree(prepare(four_bits), tmp_path / "entry/policy")
    start, node = Entry("start", "key", tmp_path / "entry"), {"model": str(four_bits)}
    check_training(start, node, {"adapter": {"bits": None}})
    check_training(start, node, {"adapter": {"bits": 4}})
    with pytest.raises(
        UserError, match=r"its weights are quantised \(bitsandbytes\) and cannot be trained .* sft=lora"
    ):
        check_training(start, node, {"adapter": None})
    assert train_here(job(tmp_path / "sft", four_bits)) == 2
    assert "its weights are quantised and cannot be trained themselves" in (tmp_path / "sft/error.txt").read_text()


def test_float8_weights_are_not_quantised_again(tmp_path):
    folder = tmp_path / "entry/policy"
    folder.mkdir(parents=True)
    limits = {"positions": 8, "template_tokens": 1, "quantised": "fp8"}
    (folder / "start.json").write_text(json.dumps({"model": "m", "revision": None, "limits": limits}))
    with pytest.raises(
        UserError, match=r"quantised \(fp8\), so sft.adapter.bits=4 cannot quantise them again; use sft=lora"
    ):
        check_training(Entry("start", "key", tmp_path / "entry"), {"model": "m"}, {"adapter": {"bits": 4}})
