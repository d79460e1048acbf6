"""The model card: true, complete, without secrets, and with code that runs."""

import hashlib
import json
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import run_vpo
from tests.trained import COMMIT, entry_of, logits, make_run, run_of
from vpo.cli.export import export_command
from vpo.export.card import public
from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.loading import load_pretrained

LLAMA3 = (
    "{% for one in messages %}<s>[{{ one['role'] }}]{{ one['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


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
    assert "Aligned of dpo (this model) 2." in card  # what failed is listed


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


def test_the_card_says_by_which_judge_data_and_code_as_the_run_recorded_it(home):
    run = home / run_of(home)
    shutil.rmtree(entry_of(home, "queries").folder)  # pruned since: the run still knows
    shutil.rmtree(entry_of(home, "start").folder)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["judge"] = {"_target_": "vpo.judge.another.Judge"}  # no part of what was recorded
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    export_command([run_of(home), "to=mine"])
    card = (home / "mine/README.md").read_text()
    assert "| judge | `vpo.judge.rules.judge.RulesJudge` | rules 7 | `fedcba9876543210` |" in card
    assert "| evaluator alignment | `vpo.evaluator.alignment.Alignment` | 3 |" in card
    assert "judged by rules over words" in card
    assert "Queries, with the sha256 of their file: sft 3 (`aaaaaaaaaaaaaaaa`), test 200 (`bbbbbbbbbbbbbbbb`)." in card
    assert f"at commit `{COMMIT}` has the sha256 `5555555555555555`" in card
    assert "trained from random weights (`vpo.backbone.tiny.TinyBackbone`) by SFT then DPO" in card
    assert "is also what training learnt from" not in card  # a judge taught it, no reward


def test_the_card_warns_where_the_reward_taught_the_policy(home):
    path = home / run_of(home) / "results.json"
    results = json.loads(path.read_text())
    results["run"]["policies"]["dpo"]["taught_by"] = ["reward"]
    path.write_text(json.dumps(results))
    for policy in ("sft", "dpo"):
        export_command([run_of(home), f"policy={policy}", f"to={policy}"])
        card = (home / policy / "README.md").read_text()
        assert ("is also what training learnt from" in card) is (policy == "dpo")


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
    overrides = (
        "judge.api_key=sk-1",
        "judge={api_key: sk-2, model: m}",
        "dataset.path=/home/me/q.json",
        "paths.store=/x/s",
    )
    run = make_run(tmp_path / "deep", overrides=overrides)
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
    names = {}
    exec(code.replace('"default-dpo-1234abcd"', repr(str(made))), names)
    model, tokenizer = load_pretrained(trained, torch.float32)
    renderer = Renderer(tokenizer, "Query: {}\nPrompt:")
    rendered = renderer.prompt_ids("a dog on a beach")
    assert names["ids"]["input_ids"].tolist() == [rendered]
    # The run samples greedily, at most 6 tokens, and so does the exported model's own generate(): by hand here.
    ids = list(rendered)
    for _ in range(6):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert names["prompt"] == renderer.decode(ids[len(rendered) :])


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
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(len(prompt))"], cwd=tmp_path, capture_output=True, text=True
    )
    assert int(done.stdout) >= 0, done.stderr
