import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import run_vpo
from tests.trained import entry_of, make_policy, make_run, policy
from vpo.backbone.hf import HFBackbone, load_pretrained
from vpo.backbone.rendering import Renderer
from vpo.errors import UserError
from vpo.export import export_command, new_folder
from vpo.export_card import public
from vpo.export_source import find_source, policies_of
from vpo.store import Store

IDS = torch.arange(3, 23).reshape(2, 10)
LLAMA3 = (
    "{% for one in messages %}<s>[{{ one['role'] }}]{{ one['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The working folder of a user who has a finished run."""
    make_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_of(home):
    return str((home / "runs/default/seed=1-1234abcd").relative_to(home))


def logits(model):
    with torch.inference_mode():
        return model.eval()(IDS).logits


def front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_plain_transformers_loads_it_and_gives_the_logits_of_the_policy(home, capsys):
    assert export_command([run_of(home)]) == 0
    made = home / "exported/default-dpo-1234abcd"  # the policy that came last, under a name that needs no quotes
    told = AutoModelForCausalLM.from_pretrained(made)
    trained, tokenizer = load_pretrained(entry_of(home, "dpo").folder / "policy", torch.float32)
    assert torch.equal(logits(told), logits(trained))
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
    loaded = backbone.load(home / "start").model
    assert torch.equal(
        logits(loaded), logits(load_pretrained(entry_of(home, "sft").folder / "policy", torch.float32)[0])
    )


def test_the_told_overrides_name_the_folder_whatever_it_is_called(home, capsys):
    export_command([run_of(home), "to=lr=1e-5, again"])
    command = shlex.split(re.search(r"vpo (run .*)", capsys.readouterr().out)[1])
    done = run_vpo(*command, "--cfg", "job", cwd=home)
    assert yaml.safe_load(done.stdout)["backbone"]["model"] == "lr=1e-5, again", done.stderr


def test_the_card_holds_the_numbers_of_the_results(home):
    export_command([run_of(home)])
    card = (home / "exported/default-dpo-1234abcd/README.md").read_text()
    lines = card.split("## Results")[1].splitlines()
    rows = {row.split("|")[1].strip(): row for row in lines if row.startswith("| ")}
    assert "**91.0 ± 4.0**" in rows["original"]  # 0.91 and 0.0397, as percentages; the best of its column
    assert "65.5 ± 6.6" in rows["sft"]
    assert "68.0 ± 6.5" in rows["dpo (this model)"]
    assert "5.19 ± 0.17" in rows["dpo (this model)"]
    assert "n = 198-200" in card
    assert "Aligned of dpo (this model) 2." in card  # what failed is told


def test_the_card_tells_data_recipe_and_command(home):
    export_command([run_of(home)])
    card = (home / "exported/default-dpo-1234abcd/README.md").read_text()
    pairs = entry_of(home, "pair")
    digest = hashlib.sha256((pairs.folder / "pairs.jsonl").read_bytes()).hexdigest()[:16]
    assert f"| pair | `{pairs.key}` | rows 2 | pairs.jsonl `{digest}` |" in card
    assert f"| queries | `{entry_of(home, 'queries').key}` | rows 3 |" in card
    recipe = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert list(recipe) == ["start", "sft", "pair", "dpo"]
    assert recipe["dpo"]["objective"] == {"beta": 0.1, "epochs": 3, "optimizer": {"lr": 5.0e-5}}
    commands = card.split("```sh\n")[1].split("```")[0].splitlines()
    assert commands == ["vpo run seed=1", "vpo export runs/default/seed=1-1234abcd policy=dpo"]
    assert "vpo 0.1.0, torch 2.13.0" in card


def test_the_card_of_the_sketch_world_says_that_its_numbers_mean_nothing_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cards = {}
    for kind, settings in {"sketch": {}, "real": {"dataset": "file", "base": "meta-llama/Llama-3.1-8B"}}.items():
        run = make_run(tmp_path / kind, **settings)
        export_command([str(run), f"to={kind}-model"])
        cards[kind] = (tmp_path / f"{kind}-model/README.md").read_text()
    assert "mean nothing for a real video model" in cards["sketch"]
    assert front_matter(cards["sketch"])["license"] == "apache-2.0"
    assert "base_model" not in front_matter(cards["sketch"])
    assert "sketch" not in cards["real"].replace("vpo.sketch", "")
    front = front_matter(cards["real"])
    assert (front["base_model"], front["license"]) == ("meta-llama/Llama-3.1-8B", "other")


def test_nothing_secret_and_no_local_path_is_published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = ("judge.api_key=sk-1", "judge={api_key: sk-2, model: m}", "dataset.path=/home/me/q.json", "paths.store=/x/s")
    run = make_run(tmp_path / "deep", overrides=told)
    export_command([str(run), "to=out"])
    text = "".join(path.read_text() for path in (tmp_path / "out").iterdir() if path.suffix != ".safetensors")
    assert "sk-1" not in text
    assert "sk-2" not in text
    assert "dataset.path=q.json" in text
    for place in ("/home", str(tmp_path), "/x/s", "paths.store"):
        assert place not in text, place


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dataset.path=/home/me/my.json", "dataset.path=my.json"),
        ("~/data/q.json", "q.json"),
        ("file:///home/me/conf", "conf"),
        (r"C:\Users\me\q.json", "q.json"),
        ("[/a/b.json,/c.json]", "[b.json,c.json]"),
        ("../elsewhere/q.json", "q.json"),
        ("https://example.org/v1/x", "https://example.org/v1/x"),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("~dataset.sft", "~dataset.sft"),
        ("runs/default/as-is", "runs/default/as-is"),
        ("and/or", "and/or"),
    ],
)
def test_local_paths_are_cut_to_their_last_part(text, shown):
    assert public({"a": [text]}) == {"a": [shown]}


@pytest.mark.parametrize("chat", [False, True])
def test_the_code_on_the_card_prompts_as_training_did(home, capsys, chat):
    trained = entry_of(home, "dpo").folder / "policy"
    if chat:
        tokenizer = AutoTokenizer.from_pretrained(trained)
        tokenizer.chat_template = LLAMA3
        tokenizer.save_pretrained(trained)
    export_command([run_of(home)])
    made = home / "exported/default-dpo-1234abcd"
    code = (made / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert ("apply_chat_template" in code) is chat
    told = {}
    exec(code.replace('"default-dpo-1234abcd"', repr(str(made))), told)
    model, tokenizer = load_pretrained(trained, torch.float32)
    renderer = Renderer(tokenizer, "Query: {}\nPrompt:")
    rendered = renderer.prompt_ids("a dog on a beach")
    assert told["ids"]["input_ids"].tolist() == [rendered]
    # The run samples greedily, at most 6 tokens, and so does the exported model's own generate(): by hand here.
    ids = list(rendered)
    for _ in range(6):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert told["prompt"] == renderer.decode(ids[len(rendered) :])


def test_sampling_of_the_run_goes_into_the_generation_config(home):
    run = home / run_of(home)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["method"]["dpo"] |= {"temperature": 0.7, "top_p": 0.95}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    export_command([run_of(home)])
    model = AutoModelForCausalLM.from_pretrained("exported/default-dpo-1234abcd")
    told = model.generation_config
    assert (told.do_sample, told.temperature, told.top_p, told.max_new_tokens) == (True, 0.7, 0.95, 6)
    assert not told.top_k  # transformers would cut at 50
    assert told.eos_token_id == [1]


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
    told = json.loads((trained / "adapter_config.json").read_text())
    (trained / "adapter_config.json").write_text(json.dumps(told | {"base_model_name_or_path": str(wrong)}))
    with pytest.raises(UserError, match="the adapter does not fit its base"):
        export_command([run_of(home)])
    assert list((home / "exported").iterdir()) == []


def test_a_result_of_the_store_is_exported_without_measurements(home):
    entry = entry_of(home, "sft")
    export_command([f"store/sft/{entry.key}"])
    card = (home / f"exported/sft-{entry.key[:8]}/README.md").read_text()
    assert "no measurement comes with it" in card
    assert "vpo run" not in card.split("## How it was made")[1]


def test_of_several_rounds_the_last_policy_is_meant(home):
    store, first = Store(home / "store"), entry_of(home, "dpo")
    second = store.get("dpo", {"round": 2}, {"start": first}, policy(9, "dpo"))
    path = home / run_of(home) / "results.json"
    for order in ([first, second], [second, first]):
        results = json.loads(path.read_text())
        results["run"]["entries"] = [f"dpo/{one.key}" for one in order]
        path.write_text(json.dumps(results))
        assert find_source(path.parent, None, None).entry.folder == second.folder
        assert find_source(path.parent, "dpo_1", None).entry.folder == first.folder


def test_the_second_round_is_called_dpo_whatever_the_pipeline_labelled_it(home):
    """The pipeline labels the rounds dpo and dpo_2; what `dpo` was sampled from, and measured as, is the last."""
    store, first = Store(home / "store"), entry_of(home, "dpo")
    second = store.get("dpo", {"round": 2}, {"start": first}, policy(9, "dpo_2"))
    found = policies_of([f"dpo/{second.key}", f"dpo/{first.key}"], home / "store")
    assert {name: one.key for name, one in found.items()} == {
        "dpo_1": first.key,
        "dpo_2": second.key,
        "dpo": second.key,
    }


def test_what_is_there_is_replaced_only_on_request_and_only_if_it_is_a_model(home):
    export_command([run_of(home), "policy=sft", "to=mine"])
    with pytest.raises(UserError, match="mine is there already; set to="):
        export_command([run_of(home), "to=mine"])
    export_command([run_of(home), "to=mine", "force=true"])
    assert "policy `dpo`" in (home / "mine/README.md").read_text()
    assert not list(home.glob("mine.*"))
    (home / "thesis").mkdir()
    (home / "thesis/chapter.tex").write_text("all of it")
    with pytest.raises(UserError, match="thesis holds no model, so force=true does not replace it"):
        export_command([run_of(home), "to=thesis", "force=true"])
    assert (home / "thesis/chapter.tex").exists()


def test_a_failure_midway_keeps_what_was_there(home):
    export_command([run_of(home), "to=mine"])
    before = (home / "mine/README.md").read_bytes()

    def stopped():
        with new_folder(home / "mine", "export", force=True) as out:
            (out / "half.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert (home / "mine/README.md").read_bytes() == before
    assert not list(home.glob("mine.*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["runs/default/none"],
            r"runs/default/none: no such folder; finished runs in runs/default: runs/default/seed=1-1234abcd",
        ),
        (["runs"], r"runs: is no run folder; finished runs in runs: runs/default/seed=1-1234abcd"),
        (["RUN", "policy=grpo"], r"no policy is called grpo; choose one of dpo, sft"),
        (["RUN", "polcy=sft"], r"polcy is unknown, did you mean policy\?"),
        (["RUN", "dtype=int8"], r"dtype=int8 is not one of float32"),
        (["RUN", "force=1"], r"force=1 must be true or false"),
        (["RUN", "paths.store=gone"], r"its store gone is gone; set paths.store"),
        (["RUN", "to=/proc/nowhere"], r"/proc/nowhere: no such file or directory; set to="),
        (["RUN", "RUN"], r"1 name is due, 2 given; use `vpo export <run folder>"),
        (["PAIR"], r"holds no trained policy"),
        (["START"], r"holds no trained policy"),
    ],
)
def test_bad_input_is_one_line(home, arguments, message):
    names = {"RUN": run_of(home)}
    names |= {stage.upper(): str(entry_of(home, stage).folder) for stage in ("pair", "start")}
    with pytest.raises(UserError, match=message) as told:
        export_command([names.get(one, one) for one in arguments])
    assert "\n" not in str(told.value)


def test_an_unfinished_run_is_told_with_what_it_has_trained(home):
    (home / run_of(home) / "results.json").unlink()
    with pytest.raises(UserError, match=r"the run is not finished .*sft is .*store/sft/\w{16}\)") as told:
        export_command([run_of(home)])
    place = re.search(r"dpo is (\S+?),", str(told.value))[1]
    assert export_command([place]) == 0


def test_the_command_line_says_it_in_one_line_with_exit_code_2(home):
    done = run_vpo("export", run_of(home), "policy=none", cwd=home)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("vpo: ")


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_no_half_model(home, small_disk):
    big = entry_of(home, "dpo").folder / "policy"
    (big / "tokenizer.json").write_text("x" * 2**20)
    with pytest.raises(UserError, match=r"model: no space left on device; make room"):
        export_command([run_of(home), f"to={small_disk}/model"])
    assert list(small_disk.iterdir()) == []


@pytest.mark.slow
def test_a_real_run_is_exported_and_told_as_it_is(smoke, tmp_path):
    (run,) = (path.parent for path in (smoke / "runs").rglob("results.json"))
    done = run_vpo("export", str(run.relative_to(smoke)), f"to={tmp_path}/model", cwd=smoke)
    assert done.returncode == 0, done.stderr
    (trained,) = (smoke / "store/dpo").glob("*/policy")
    mine = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.equal(logits(mine), logits(load_pretrained(trained, torch.float32)[0]))
    card = (tmp_path / "model/README.md").read_text()
    results = json.loads((run / "results.json").read_text())["methods"]
    lines = card.split("## Results")[1].splitlines()
    for method in ("original", "fewshot", "sft", "dpo"):
        label = method if method != "dpo" else "dpo (this model)"
        row = next(line for line in lines if line.startswith(f"| {label} "))
        reward = results[method]["reward"]
        assert f"{reward['mean']:.2f} ± {reward['ci95']:.2f}" in row
    assert f"n = {results['dpo']['reward']['n']}." in card
    assert str(smoke) not in card
    code = card.split("```python\n")[1].split("```")[0].replace('"model"', f'"{tmp_path}/model"')
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(len(prompt))"], cwd=tmp_path, capture_output=True, text=True
    )
    assert int(told.stdout) >= 0, told.stderr
