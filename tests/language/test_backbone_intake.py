"""What a model must bring, and what is said when it does not; how chat formats become token ids."""

import hashlib
import json
import shutil

import pytest
import torch

from tests.chat_models import LLAMA3_CHAT, LLAMA3_SPECIAL, edit_json, llama3_tokenizer, save_llama
from tests.conftest import run_vpo
from vpo.backbone.hf import HFBackbone
from vpo.errors import UserError
from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.intake import fetch_and_check
from vpo.templates import read_template

BOS, END_OF_TEXT, START, END, EOT = range(5)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A tiny model in the place of the released one: its class, its chat format, its special tokens."""
    return save_llama(tmp_path_factory.mktemp("released"), llama3_tokenizer())


@pytest.fixture
def broken(tmp_path, released):
    """A copy to be spoilt."""
    return shutil.copytree(released, tmp_path / "broken")


def prepare(model, **named) -> None:
    options = {
        "revision": None,
        "template": "optimizer",
        "needs_chat_template": True,
        "dtype": "float32",
        "device": "cpu",
    }
    HFBackbone(str(model), **options | named).prepare(model if model.is_dir() else model.parent)


def test_a_query_is_rendered_in_llama_3s_chat_format_id_by_id():
    """The format is the model card's: BOS once, a header per turn, two newlines, the end-of-turn token."""
    tokenizer = llama3_tokenizer()
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3, 4]) == LLAMA3_SPECIAL
    template = read_template("optimizer")
    assert (
        hashlib.sha256(template.encode()).hexdigest()
        == "d8f31468644532ef4ffda2bbd0e0ddd2a7cc27a5fd56d441ea17bc384fe6d24f"
    )

    def plain(text):
        return tokenizer(text, add_special_tokens=False).input_ids

    ids = Renderer(tokenizer, template).prompt_ids("  a red dog runs \n")
    text = template.replace("{}", "a red dog runs")
    turn = [BOS, START, *plain("user"), END, *plain("\n\n" + text), EOT]
    assert ids == [*turn, START, *plain("assistant"), END, *plain("\n\n")]
    assert ids.count(BOS) == 1
    assert text in tokenizer.decode(ids)  # byte for byte, the trailing spaces included


def test_a_completion_ends_with_the_token_that_ends_a_turn():
    """Also for a tokenizer whose EOS ends the whole text: Llama 3's first release, Qwen's base models, Gemma."""
    for eos in ("<|eot_id|>", "<|end_of_text|>"):
        renderer = Renderer(llama3_tokenizer(eos=eos), read_template("optimizer"))
        ids = renderer.completion_ids(" A dog. ")
        assert ids[-1] == EOT
        assert renderer.decode([*ids, 9, 9]) == "A dog."
        assert renderer.decode([*ids[:-1], END_OF_TEXT if eos == "<|end_of_text|>" else EOT, 9]) == "A dog."
    assert Renderer(llama3_tokenizer(eos="<|end_of_text|>"), "{}").stop_ids == [END_OF_TEXT, EOT]
    plain = Renderer(llama3_tokenizer(eos="<|end_of_text|>", chat=None), "{}")
    assert plain.completion_ids("x")[-1] == END_OF_TEXT
    assert plain.prompt_ids("x")[0] == BOS


def test_the_pointer_names_the_folder_whatever_the_working_directory(released, monkeypatch):
    monkeypatch.chdir(released.parent)
    HFBackbone(released.name, None, "optimizer", True, "float32", "cpu").prepare(released)
    pointer = json.loads((released / "start.json").read_text())
    assert (pointer["model"], pointer["revision"]) == (str(released), None)


def without_weights(folder):
    (folder / "model.safetensors").unlink()


def with_a_pickle_only(folder):
    without_weights(folder)
    torch.save({}, folder / "pytorch_model.bin")


def with_a_missing_shard(folder):
    index = {"metadata": {}, "weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def without_tokenizer(folder):
    for path in folder.glob("token*"):
        path.unlink()
    (folder / "chat_template.jinja").unlink()


def with_chat(chat):
    def save(folder):
        (folder / "chat_template.jinja").unlink()
        llama3_tokenizer(chat=chat).save_pretrained(folder)

    return save


def with_a_larger_vocabulary(folder):
    tokenizer = llama3_tokenizer()
    tokenizer.add_tokens(["<one more>"])
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_weights, "no weights; save the model as safetensors"),
        (with_a_pickle_only, "only pytorch_model.bin, a pickle, which can run code; save the model as safetensors"),
        (with_a_missing_shard, "1 of 2 weight files are missing, such as model-00002.safetensors"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (
            lambda folder: edit_json(
                folder / "config.json", architectures=["T5ForConditionalGeneration"], model_type="t5"
            ),
            "T5ForConditionalGeneration is no causal language model; use one that is",
        ),
        (
            lambda folder: edit_json(folder / "config.json", architectures=["BertForMaskedLM"], model_type="bert"),
            "BertForMaskedLM is no causal language model",
        ),
        (
            lambda folder: edit_json(folder / "config.json", model_type="mystery", auto_map={"AutoConfig": "a.B"}),
            "model_type mystery needs code from the model's folder, which is never run",
        ),
        (without_tokenizer, "its tokenizer cannot be read"),
        (with_a_larger_vocabulary, "ids and the model embeds"),
        (with_chat(None), "the tokenizer has no chat template, .* backbone.needs_chat_template=false for plain text"),
        (with_chat("{{ raise_exception('no user here') }}"), "its chat template fails on one user turn .no user here"),
        (with_chat("{{ bos_token }}" + LLAMA3_CHAT), "begins with BOS twice"),
        (
            with_chat("{% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}"),
            r"ends with <\|eot_id\|>, after which nothing",
        ),
    ],
)
def test_what_a_folder_lacks_is_one_line(broken, spoil, message):
    spoil(broken)
    with pytest.raises(UserError, match=message) as found:
        prepare(broken)
    assert str(found.value).startswith(f"backbone.model={broken}: ")
    assert "\n" not in str(found.value)


def test_plain_text_is_allowed_where_it_is_asked_for(broken):
    with_chat(None)(broken)
    prepare(broken, needs_chat_template=False)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("/nowhere/at/all", "backbone.model=/nowhere/at/all: no such folder; give the folder of a model, or a hub id"),
        ("models/that/are/not", "no such folder; give the folder of a model"),
        ("nobody/nothing", "no such folder, it is not in the hub's cache and the hub cannot be reached"),
    ],
)
def test_a_model_that_is_not_there_is_one_line(model, message):
    with pytest.raises(UserError, match=message):
        fetch_and_check(model, None, "{}", needs_chat_template=True)


@pytest.mark.slow
def test_a_missing_model_is_met_before_any_draft(tmp_path):
    small = ["dataset.sft=8", "dataset.dpo=2", "dataset.test=2"]
    done = run_vpo("run", *small, "backbone=vpo_2b", cwd=tmp_path, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("vpo: ")]
    assert "backbone.model=CCCCCC/VPO-2B: no such folder, it is not in the hub's cache" in line
    assert "draft" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_released_model_is_measured_as_it_is_and_trained_further(tmp_path, released):
    """`backbone=vpo_2b` on a tiny model of its class: sampling from the start, and SFT from it, with the true template."""
    small = [
        "backbone=vpo_2b", f"backbone.model={released}", "backbone.dtype=float32", "sampling.k=2", "sampling.max_new_tokens=6",
        "dataset.sft=8", "dataset.dpo=2", "dataset.test=3", "sft.max_steps=1", "sft.global_batch_size=4",
        "evaluator=[alignment]", "logger=[csv]",
    ]  # fmt: skip
    done = run_vpo("run", *small, "method=[original,released]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("store/sft/*"))  # nothing is trained
    (results,) = tmp_path.glob("runs/*/*/results.json")
    assert json.loads(results.read_text())["methods"]["released"]["refusal"]["n"] == 3
    done = run_vpo("run", *small, "stop_after=sample", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sample: candidates 4" in done.stderr
    (policy,) = tmp_path.glob("store/sft/*/policy")
    assert (policy / "template.txt").read_bytes() == read_template("optimizer").encode()
    assert (policy / "chat_template.jinja").read_text() == LLAMA3_CHAT
