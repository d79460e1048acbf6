"""An adapter must fit its base weight by weight, be one that can be merged, and have a base that is found."""

import json
import shutil

import pytest
import torch
from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model

from tests.chat_models import edit_json, llama3_tokenizer, save_llama
from tests.language.folders import LFS_POINTER, edit_weights, logits, prepare, renamed, without
from vpo.errors import UserError
from vpo.language.checkpoints.loading import load_pretrained
from vpo.stages.start import base_folder

FILE = "adapter_model.safetensors"
ATTENTION = ["q_proj", "v_proj"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """`base`, and `adapter` with a LoRA adapter on it that matters: 2 layers, 2 modules, 2 factors, so 8 weights."""
    folder = tmp_path_factory.mktemp("home")
    save_llama(folder / "base", llama3_tokenizer())
    save_adapter(
        folder / "base",
        folder / "adapter",
        LoraConfig(r=4, lora_alpha=8, target_modules=ATTENTION, task_type="CAUSAL_LM"),
    )
    return folder


@pytest.fixture
def copied(home, tmp_path):
    """A copy of both, in which the adapter names its base by an absolute path."""
    shutil.copytree(home, tmp_path / "home")
    edit_json(tmp_path / "home/adapter/adapter_config.json", base_model_name_or_path=str(tmp_path / "home/base"))
    return tmp_path / "home"


def save_adapter(base, folder, config):
    model, tokenizer = load_pretrained(base, torch.float32)
    torch.manual_seed(1)
    adapted = get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, mean=float("ia3" in name), std=0.3)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    tokenizer.save_pretrained(folder)
    return adapted.eval()


def name_base(folder, name):
    edit_json(folder / "adapter_config.json", base_model_name_or_path=name)


def test_a_lora_adapter_is_merged(copied, recwarn):
    plain, merged = logits(copied / "base"), logits(prepare(copied / "adapter"))
    assert (plain - merged).abs().max() > 0.1
    assert not [str(one.message) for one in recwarn if one.category is FutureWarning]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed(lambda name: name.replace("self_attn", "attention")), "8 of its 8 weights belong to no module there, such as"),
        (renamed(lambda name: name.replace("layers.1.", "layers.7.")), "4 of its 8 weights belong to no module there"),
        (without("layers.1."), r"lacks 4 weights that adapter_config.json asks for: .*layers.1.self_attn.q_proj.lora_A"),
        (without("lora_B"), "lacks 4 weights that adapter_config.json asks for"),
        (lambda weights: {name: one[:, :3] if "lora_A" in name else one for name, one in weights.items()}, "size mismatch"),
        (lambda weights: {name: one.repeat(2, 1) if "lora_B" in name else one for name, one in weights.items()}, "size mismatch"),
    ],
)  # fmt: skip
def test_an_adapter_that_does_not_fit_is_one_line_at_the_start_and_on_loading(copied, change, message):
    edit_weights(copied / "adapter", change, FILE)
    for load in (prepare, lambda folder: load_pretrained(folder, torch.float32)):
        with pytest.raises(UserError, match=message) as found:
            load(copied / "adapter")
        assert "\n" not in str(found.value)
        assert "backbone.base=<folder or hub id>" in str(found.value)


@pytest.mark.parametrize("rule", ["_orig_mod.{}".format, lambda name: name.replace("layers.0.", "layers.0._orig_mod.")])
def test_the_names_of_wrappers_are_taken_off_an_adapter_too(copied, rule):
    expected = logits(copied / "adapter")
    edit_weights(copied / "adapter", renamed(rule), FILE)
    assert torch.equal(logits(prepare(copied / "adapter")), expected)


def zero(part):
    return lambda weights: {name: one * (part not in name) for name, one in weights.items()}


@pytest.mark.parametrize(
    ("change", "alpha", "message"),
    [
        (zero("lora_B"), 8, "the adapter changes nothing: all its B are zero in"),
        (zero("layers.0"), 0, "the adapter changes nothing: lora_alpha is 0 in"),
        (lambda weights: {name: one * float("nan") for name, one in weights.items()}, 8, f"{FILE} holds NaN or infinity in base"),
    ],
)  # fmt: skip
def test_an_adapter_whose_values_change_nothing_is_one_line(copied, change, alpha, message):
    edit_weights(copied / "adapter", change, FILE)
    edit_json(copied / "adapter/adapter_config.json", lora_alpha=alpha)
    with pytest.raises(UserError, match=f"^backbone.model={copied / 'adapter'}: {message}"):
        prepare(copied / "adapter")


def test_an_adapter_of_which_one_layer_is_zero_is_merged(copied):
    edit_weights(copied / "adapter", zero("layers.0"), FILE)
    assert (logits(copied / "base") - logits(prepare(copied / "adapter"))).abs().max() > 0.1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LFS_POINTER.encode(), f"{FILE} is a Git LFS pointer"),
        (b"", f"{FILE} is empty"),
        (None, rf"{FILE} is cut off, \d+ of \d+ bytes"),
    ],
)
def test_a_damaged_adapter_is_one_line_at_the_start_and_on_loading(copied, content, message):
    start, path = prepare(copied / "adapter"), copied / "adapter" / FILE
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    for load in (lambda: load_pretrained(start, torch.float32), lambda: prepare(copied / "adapter")):
        with pytest.raises(UserError, match=message):
            load()


@pytest.mark.parametrize(
    "config",
    [
        PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    ],
    ids=lambda one: str(one.peft_type.value),
)
def test_adapters_that_change_no_weight_are_one_line(copied, config):
    model, tokenizer = load_pretrained(copied / "base", torch.float32)
    get_peft_model(model, config).save_pretrained(copied / "prompts")
    tokenizer.save_pretrained(copied / "prompts")
    name_base(copied / "prompts", str(copied / "base"))
    for load in (prepare, lambda folder: load_pretrained(folder, torch.float32)):
        with pytest.raises(
            UserError, match=f"a {config.peft_type.value} adapter .* cannot be merged .*; use a LoRA adapter, or"
        ):
            load(copied / "prompts")


def test_an_unknown_kind_of_adapter_is_one_line(copied):
    edit_json(copied / "adapter/adapter_config.json", peft_type="NEXT_YEARS")
    with pytest.raises(UserError, match="peft_type NEXT_YEARS, which this version of PEFT does not know"):
        prepare(copied / "adapter")


def test_an_ia3_adapter_is_merged(copied):
    config = IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])
    adapted = save_adapter(copied / "base", copied / "ia3", config)
    name_base(copied / "ia3", str(copied / "base"))
    with torch.no_grad():
        expected = adapted(input_ids=torch.arange(12)[None]).logits
    torch.testing.assert_close(logits(prepare(copied / "ia3")), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["../base", "./../base", "base", "/home/somebody/else/base", r"C:\models\base", None])
def test_the_base_is_found_beside_the_adapter(copied, monkeypatch, tmp_path, name, caplog):
    """Relative to the adapter's folder; under its last name where the path is another machine's; else the only model there."""
    expected = logits(copied / "adapter")
    name_base(copied / "adapter", name)
    monkeypatch.chdir(tmp_path)
    with caplog.at_level("WARNING", logger="vpo"):
        start = prepare(copied / "adapter")
        shutil.rmtree(start)
        start = prepare(copied / "adapter")
    pointer = json.loads((start / "start.json").read_text())
    assert pointer["base"] == {"model": str(copied / "base"), "revision": None}
    assert torch.equal(logits(start), expected)
    assert base_folder({"model": str(copied / "adapter")}) == copied / "base"  # its content is in the key of `start`
    told = [one for one in caplog.messages if "names no base" in one]
    assert bool(told) == (name is None)


def test_a_base_relative_to_where_we_work_comes_first_as_peft_reads_it(copied, monkeypatch):
    save_llama(copied / "adapter/base", llama3_tokenizer(), num_hidden_layers=3)
    name_base(copied / "adapter", "base")
    monkeypatch.chdir(copied)
    start = prepare(copied / "adapter")
    assert json.loads((start / "start.json").read_text())["base"]["model"] == str(copied / "base")


def test_the_base_can_be_named(copied, tmp_path):
    expected = logits(copied / "adapter")
    shutil.move(copied / "base", tmp_path / "elsewhere")
    message = (
        r"backbone.model=.*adapter: the adapter's base .* is not there, neither from here nor .*backbone.base=<folder"
    )
    with pytest.raises(UserError, match=message):
        prepare(copied / "adapter")
    start = prepare(copied / "adapter", base=tmp_path / "elsewhere")
    assert torch.equal(logits(start), expected)
    with pytest.raises(UserError, match=r"backbone\.base=/nowhere: no such folder"):
        prepare(copied / "adapter", base="/nowhere")
    with pytest.raises(UserError, match=r"is no adapter, so backbone\.base=x has no meaning; leave it out"):
        prepare(tmp_path / "elsewhere", base="x")


@pytest.mark.parametrize("name", [5, ["base"], {"path": "base"}])
def test_a_base_that_is_no_text_is_one_line(copied, name):
    name_base(copied / "adapter", name)
    with pytest.raises(UserError, match=r"that is no text; name it: backbone\.base=<folder or hub id>"):
        prepare(copied / "adapter")


def test_without_a_name_and_with_two_models_beside_it_the_base_must_be_named(copied):
    save_llama(copied / "other", llama3_tokenizer())
    name_base(copied / "adapter", None)
    with pytest.raises(
        UserError, match=r"its adapter_config\.json names no base; name it: backbone\.base=<folder or hub id>"
    ):
        prepare(copied / "adapter")


def test_faults_of_the_base_are_found_at_the_start_too(copied):
    edit_weights(copied / "base", without("lm_head"))
    with pytest.raises(
        UserError, match=r"backbone.model=.*adapter: its base=.*base: weights are missing .*lm_head.weight"
    ):
        prepare(copied / "adapter")


def test_an_adapter_on_an_adapter_is_checked_to_the_bottom(copied):
    config = LoraConfig(r=2, target_modules=["o_proj"], task_type="CAUSAL_LM")
    adapted = save_adapter(copied / "adapter", copied / "second", config)
    name_base(copied / "second", "../adapter")
    with torch.no_grad():
        expected = adapted(input_ids=torch.arange(12)[None]).logits
    torch.testing.assert_close(logits(prepare(copied / "second")), expected, rtol=1e-4, atol=1e-5)
    edit_weights(copied / "adapter", without("layers.1."), FILE)
    with pytest.raises(UserError, match="lacks 4 weights"):
        prepare(copied / "second")
