"""`vpo export template=inside`: any chat client sends the bare query and gets what our own renderer and engine give."""

import json
import re
import shlex
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from tests.chat_models import chatml_tokenizer, gemma_tokenizer, llama3_tokenizer, save_llama
from tests.export.test_weights import add_adapter
from tests.language.test_inside import QUERIES
from tests.trained import entry_of, run_of
from vpo import compose
from vpo.backbone.hf import HFBackbone
from vpo.build import build
from vpo.cli.export import export_command
from vpo.errors import UserError
from vpo.language.chat.inside import MARK, own_part
from vpo.language.chat.rendering import Renderer
from vpo.language.hf import PretrainedEngine
from vpo.method.llm import EngineMethod
from vpo.records import Message, Query, Request, Sampling
from vpo.templates import read_template

INSTRUCTION = read_template("optimizer")
MADE = {
    "chatml": chatml_tokenizer,
    "llama3": lambda: llama3_tokenizer(eos="<|end_of_text|>"),
    "gemma": gemma_tokenizer,
    "plain": lambda: llama3_tokenizer(chat=None),
}


def trained(home, tokenizer, template=INSTRUCTION):
    """The run's DPO policy becomes one with this tokenizer and instruction; returns its folder."""
    folder = entry_of(home, "dpo").folder / "policy"
    shutil.rmtree(folder)
    save_llama(folder, tokenizer, initializer_range=0.3)
    (folder / "template.txt").write_bytes(template.encode())
    return folder


def policy_of(folder, home):
    """The exported folder as a user of ours loads it: through the checks of a backbone."""
    backbone = HFBackbone(str(folder), None, "optimizer", not is_plain(folder), "float32", "cpu")
    start = home / f"start-of-{folder.name}"
    start.mkdir()
    backbone.prepare(start)
    return backbone.load(start)


def written_by(policy, query):
    """What it writes, greedily, in at most six tokens."""
    return policy.engine.generate([policy.request(query, Sampling(0.0, 1.0, 6), seed=0)])[0]


def is_plain(folder):
    path = folder / "chat_template.jinja"
    return not path.is_file() or own_part(path.read_text(encoding="utf-8")) is None


def code_of(folder, number=0):
    """A block of Python on the card, about this folder."""
    code = (folder / "README.md").read_text(encoding="utf-8").split("```python\n")[number + 1].split("```")[0]
    return code.replace(f'"{folder.name}"', repr(str(folder)))


@pytest.mark.parametrize("kind", MADE)
def test_the_bare_query_has_the_same_ids_for_a_plain_client_and_for_us(home, kind):
    renderer = Renderer(MADE[kind](), INSTRUCTION)
    trained(home, MADE[kind]())
    assert export_command([run_of(home), "template=inside", "to=made"]) == 0
    client, ours = AutoTokenizer.from_pretrained(home / "made"), policy_of(home / "made", home)
    for query in QUERIES:
        ids = client.apply_chat_template(
            [{"role": "user", "content": query}], add_generation_prompt=True, return_dict=False
        )
        assert list(ids) == renderer.prompt_ids(query), query
        assert list(ours.request(query, Sampling(0.0, 1.0, 6), 0).prompt_ids) == list(ids), query
    assert (home / "made/template.txt").read_bytes() == INSTRUCTION.encode()


def test_an_engine_with_a_template_of_its_own_wraps_once(home):
    """`method=llm engine=hf` and the drafters of a run: the user's turn holds the instruction already."""
    trained(home, chatml_tokenizer())
    export_command([run_of(home), "template=inside", "to=made"])
    due = written_by(policy_of(home / "made", home), "a dog")
    engine = PretrainedEngine(str(home / "made"), None, "float32", "cpu", None, 1)
    (given,) = EngineMethod(engine, "optimizer", 0.0, 1.0, 6).optimize([Query("q", "a dog")], seed=0)
    assert given == due
    (other,) = engine.generate([Request(messages=(Message("user", "a dog"),), sampling=Sampling(0.0, 1.0, 6), seed=0)])
    assert other.usage.tokens_in < due.usage.tokens_in / 4  # a judge's words are not put into the instruction


@pytest.mark.parametrize("kind", MADE)
def test_a_plain_pipeline_writes_what_we_write(home, kind):
    """The code on the card, greedily as the run measured; no setting of the pipeline's own."""
    trained(home, MADE[kind]())
    export_command([run_of(home), "template=inside", "to=made"])
    ours = written_by(policy_of(home / "made", home), "a dog on a beach")
    names = {}
    exec(code_of(home / "made"), names)
    assert names["prompt"] == ours.text
    assert len(ours.text) > 5  # random, but something


def test_a_plain_pipeline_stops_where_the_turn_ends(home):
    """Llama 3's EOS ends the whole text, its turns end with <|eot_id|>: generation_config.json has both."""
    folder = trained(home, llama3_tokenizer(eos="<|end_of_text|>"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids("<|eot_id|>")
    ids = Renderer(tokenizer, INSTRUCTION).prompt_ids("a dog")
    with torch.no_grad():  # after this prompt the likeliest token is the end of the turn
        model.lm_head.weight[end] = 100 * model.model(torch.tensor([ids])).last_hidden_state[0, -1]
    model.save_pretrained(folder)
    export_command([run_of(home), "template=inside", "to=made"])
    made = json.loads((home / "made/generation_config.json").read_text())
    assert made["eos_token_id"] == sorted([end, tokenizer.eos_token_id])
    assert (made["do_sample"], made["max_new_tokens"]) == (False, 6)
    plain = pipeline("text-generation", model=str(home / "made"))
    (written,) = plain([{"role": "user", "content": "a dog"}], return_tensors=True)
    assert written["generated_token_ids"][len(ids) :] == [end]


def test_a_plain_pipeline_samples_as_the_run_did(home):
    """Not as a pipeline does by itself (0.7, top_k 50): with these settings the likeliest token is nearly never written."""
    import yaml

    path = home / run_of(home) / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["method"]["dpo"] |= {"temperature": 50.0, "top_p": 1.0, "max_new_tokens": 64}
    path.write_text(yaml.safe_dump(config))
    trained(home, chatml_tokenizer())
    export_command([run_of(home), "template=inside", "to=made"])
    plain = pipeline("text-generation", model=str(home / "made"))
    torch.manual_seed(0)
    (written,) = plain([{"role": "user", "content": "a dog"}], return_tensors=True)
    ids = plain.tokenizer.apply_chat_template(
        [{"role": "user", "content": "a dog"}], add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    tokens = torch.tensor([written["generated_token_ids"]])
    assert tokens.shape[1] == ids.shape[1] + 64
    with torch.no_grad():
        logits = plain.model(tokens).logits[0, ids.shape[1] - 1 : -1]
    ranks = (logits > logits.gather(1, tokens[0, ids.shape[1] :, None])).sum(1)
    assert (ranks >= 50).float().mean() > 0.5  # of 607 tokens, nearly alike at this temperature


@pytest.mark.parametrize("template", ["inside", "outside"])
@pytest.mark.parametrize("kind", ["chatml", "plain"])
def test_the_overrides_that_are_shown_make_it_a_backbone(home, capsys, kind, template):
    """A model without a chat format is one with the instruction inside, too."""
    trained(home, MADE[kind]())
    export_command([run_of(home), f"template={template}", "to=made"])
    overrides = shlex.split(re.search(r"vpo run (.*)", capsys.readouterr().out)[1])
    backbone = build(compose(*overrides).config["backbone"])
    (home / "start").mkdir()
    backbone.prepare(home / "start")
    assert backbone.load(home / "start").renderer.prompt_ids("a dog") == Renderer(MADE[kind](), INSTRUCTION).prompt_ids(
        "a dog"
    )


def test_by_default_the_chat_template_stays_as_it_is(home):
    folder = trained(home, chatml_tokenizer())
    export_command([run_of(home), "to=made"])
    assert (home / "made/chat_template.jinja").read_bytes() == (folder / "chat_template.jinja").read_bytes()
    card = (home / "made/README.md").read_text()
    assert "a client of a server has to put the query into that text itself" in card
    assert "Send the bare query" not in card


def test_the_card_says_that_the_instruction_is_inside_and_how_each_client_is_used(home):
    trained(home, chatml_tokenizer())
    export_command([run_of(home), "template=inside", "to=made"])
    card = (home / "made/README.md").read_text()
    use = card.split("## Use")[1].split("## Data")[0]
    for words in (
        "**Send the bare query.**",
        "pipeline(",
        "vllm serve made",
        "transformers serve",
        "OpenAI(",
        "ollama create",
    ):
        assert words in use
    assert "policy=dpo template=inside" in card.split("## How it was made")[1]
    compile(code_of(home / "made", 1), "card", "exec")
    assert "max_tokens=6, temperature=0.0" in use
    modelfile = use.split("FROM ./optimizer.gguf\n")[1].split("```")[0]
    template = re.search(r'TEMPLATE """(.*?)"""', modelfile, re.DOTALL)[1]
    due = Renderer(chatml_tokenizer(), INSTRUCTION).text("a dog")
    assert template.replace("{{ .Prompt }}", "a dog") == due
    assert 'PARAMETER stop "<|im_end|>"' in modelfile
    assert "PARAMETER temperature 0.0" in modelfile


def test_ollamas_template_leaves_bos_to_llama_cpp_and_keeps_braces(home):
    trained(home, llama3_tokenizer(), template="Write {{ this }}: {}")
    export_command([run_of(home), "template=inside", "to=made"])
    card = (home / "made/README.md").read_text()
    template = re.search(r'TEMPLATE """(.*?)"""', card, re.DOTALL)[1]
    assert template.startswith(
        '<|start_header_id|>user<|end_header_id|>\n\nWrite {{ "{{" }} this }}: {{ .Prompt }}<|eot_id|>'
    )


def test_a_chat_template_of_the_tokenizers_config_moves_to_its_own_file(home):
    """Where older versions of transformers keep it; two of them would be a guess of each client."""
    folder = trained(home, chatml_tokenizer())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = (folder / "chat_template.jinja").read_text()
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").unlink()
    export_command([run_of(home), "template=inside", "to=made"])
    assert "chat_template" not in json.loads((home / "made/tokenizer_config.json").read_text())
    assert (home / "made/chat_template.jinja").read_text().startswith(MARK)
    assert AutoTokenizer.from_pretrained(home / "made").chat_template.startswith(MARK)


def test_what_is_trained_further_has_its_own_chat_template_and_can_be_exported_again(home):
    own = chatml_tokenizer().chat_template
    trained(home, chatml_tokenizer())
    export_command([run_of(home), "template=inside", "to=made"])
    ours = policy_of(home / "made", home)
    assert ours.renderer.tokenizer.chat_template == own  # what a training saves beside its weights
    again = entry_of(home, "dpo").folder / "policy"
    shutil.rmtree(again)
    shutil.copytree(home / "made", again)  # even a policy folder that holds it
    export_command([run_of(home), "template=inside", "to=again"])
    assert (home / "again/chat_template.jinja").read_bytes() == (home / "made/chat_template.jinja").read_bytes()


def test_an_export_whose_ids_would_differ_is_refused_and_leaves_nothing(home):
    from tokenizers import processors

    tokenizer = llama3_tokenizer(chat=None)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A <|eot_id|>", special_tokens=[("<|begin_of_text|>", 0), ("<|eot_id|>", 4)]
    )
    trained(home, tokenizer)
    with pytest.raises(UserError, match="puts more around a text than BOS; set template=outside"):
        export_command([run_of(home), "template=inside"])
    oddities = {
        "X": "gets other tokens than in training",
        "{{ raise_exception('no') }}": r"fails with the instruction in it \(no\)",
    }
    for odd, message in oddities.items():
        tokenizer = chatml_tokenizer()  # which looks at a variable of ours
        tokenizer.chat_template = "{% if vpo_before is defined %}" + odd + "{% endif %}" + tokenizer.chat_template
        trained(home, tokenizer)
        with pytest.raises(UserError, match=message):
            export_command([run_of(home), "template=inside"])
    assert list((home / "exported").iterdir()) == []
    with pytest.raises(UserError, match="invalid choice: 'middle'"):
        export_command([run_of(home), "template=middle"])


# Adapters


def with_adapter(home, tokenizer):
    """The run's DPO policy becomes a LoRA adapter, as PEFT saves it, over a model in `home/base`; returns the unmerged model."""
    folder = trained(home, tokenizer)
    shutil.copytree(folder, home / "base")
    (home / "base/template.txt").unlink()
    shutil.rmtree(folder)
    expected = add_adapter(folder, home / "base", seed=7)
    tokenizer.save_pretrained(folder)
    (folder / "template.txt").write_bytes(INSTRUCTION.encode())
    return expected


@pytest.mark.parametrize("template", ["inside", "outside"])
@pytest.mark.parametrize("weights", ["merged", "adapter"])
def test_an_adapter_is_exported_merged_or_alone_and_writes_the_same(home, template, weights):
    expected = with_adapter(home, chatml_tokenizer())
    assert export_command([run_of(home), f"template={template}", f"weights={weights}", "to=made"]) == 0
    made = home / "made"
    names = {path.name for path in made.glob("*.safetensors")}
    assert names == {"adapter_model.safetensors" if weights == "adapter" else "model.safetensors"}
    assert (made / "config.json").exists() is (weights == "merged")
    ours = written_by(policy_of(made, home), "a dog on a beach")
    found = {}
    exec(code_of(made), found)
    ids = Renderer(chatml_tokenizer(), INSTRUCTION).prompt_ids("a dog on a beach")
    with torch.no_grad():
        written = list(ids)
        for _ in range(6):
            written.append(int(expected.eval()(torch.tensor([written])).logits[0, -1].argmax()))
    assert found["prompt"] == ours.text == Renderer(chatml_tokenizer(), INSTRUCTION).decode(written[len(ids) :])


def test_an_adapter_alone_names_its_base_and_no_place_of_this_machine(home):
    with_adapter(home, chatml_tokenizer())
    export_command([run_of(home), "weights=adapter", "template=inside", "to=made"])
    config = json.loads((home / "made/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "base"
    text = "".join(path.read_text() for path in (home / "made").iterdir() if path.suffix != ".safetensors")
    assert str(home) not in text
    card = (home / "made/README.md").read_text()
    assert "library_name: peft\n" in card
    assert "put one called base where the model is loaded from" in card
    assert "ADAPTER ./optimizer.gguf" in card
    assert "--lora-modules optimizer=made" in card
    with pytest.raises(UserError, match="made is there already"):
        export_command([run_of(home), "weights=adapter", "to=made"])
    assert export_command([run_of(home), "weights=adapter", "to=made", "force=true"]) == 0


def test_a_base_of_the_hub_is_named_by_its_commit(home):
    with_adapter(home, chatml_tokenizer())
    folder, start = entry_of(home, "dpo").folder / "policy", entry_of(home, "start").folder / "policy"
    shutil.rmtree(start)
    start.mkdir()
    (start / "start.json").write_text(json.dumps({"model": "someone/base", "revision": "0" * 40}))
    (folder / "base.json").write_text(json.dumps({"folder": str(start), "bits": 4}))
    export_command([run_of(home), "weights=adapter", "to=made"])
    config = json.loads((home / "made/adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("someone/base", "0" * 40)
    assert not (home / "made/base.json").exists()
    assert "trained on that base quantised to 4 bits" in (home / "made/README.md").read_text()


def test_an_adapter_that_others_could_not_load_is_refused(home):
    with pytest.raises(
        UserError, match="all its weights were trained and there is no adapter; export it with weights=merged"
    ):
        export_command([run_of(home), "weights=adapter"])
    with_adapter(home, chatml_tokenizer())
    folder, first = entry_of(home, "dpo").folder / "policy", entry_of(home, "sft").folder / "policy"
    (folder / "base.json").write_text(json.dumps({"folder": str(first), "bits": None}))
    with pytest.raises(UserError, match="stands on weights that a run of yours made"):
        export_command([run_of(home), "weights=adapter"])
    (first / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="stands on another adapter"):
        export_command([run_of(home), "weights=adapter"])
    with pytest.raises(UserError, match="dtype is of merged weights"):
        export_command([run_of(home), "weights=adapter", "dtype=bfloat16"])
