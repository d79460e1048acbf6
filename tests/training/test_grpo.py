"""Online reinforcement learning through TRL: what it is fed, what the rewards say, and that it survives a kill."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.checking.test_config import composed
from tests.conftest import ROOT, run_vpo
from tests.training_jobs import LORA, end_ranks_by_the_second, weights, without_wall_clock
from vpo.build import build
from vpo.errors import UserError
from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.loading import load_pretrained
from vpo.language.hf import HFEngine
from vpo.language.policy import TrainedPolicy
from vpo.processes import launch
from vpo.records import Example, Query, Sampling, Verdict
from vpo.storage.rows import write_rows
from vpo.templates import read_template
from vpo.training.data import sft_rows
from vpo.training.lora import add_adapter
from vpo.training.online import callbacks as grpo_record
from vpo.training.online import grpo
from vpo.training.online.rewards import TextReward
from vpo.training.policy_folder import PolicyWriter
from vpo.training.telemetry.prompts import greedy
from vpo.training.telemetry.throughput import WALL_CLOCK

QUERIES = ["a red dog runs", "two blue cats in the snow", " a kite over the sea at night", "three boats, slow pan"]
RECIPE = {
    "policy": "grpo", "label": "GRPO", "loss": "dapo", "beta": 0.04, "epsilon": 0.2, "generations": 2, "temperature": 0.9,
    "top_p": 1.0, "max_new_tokens": 6, "rewards": {"text": 1.0, "video": 1.0}, "epochs": 1, "max_steps": 6, "global_batch_size": 4,
    "max_length": 128, "gradient_checkpointing": False, "checkpoint_every": 2, "log_every": 1, "adapter": None,
    "prompts": 0, "prompts_every": 2,
    "optimizer": {"lr": 1e-3, "betas": [0.9, 0.999], "weight_decay": 0.0, "schedule": "constant", "warmup": 0.0, "clip": 1.0},
}  # fmt: skip
TRAINER = {
    "accelerator": "cpu", "devices": 1, "strategy": "auto", "precision": "32-true", "per_device_batch_size": 2, "packing": True,
}  # fmt: skip
CHAT = "<s>{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"


@pytest.fixture(scope="module")
def judge():
    return build(composed()["judge"])


def job(folder: Path, start: Path, recipe: dict | None = None, trainer: dict | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "dpo.jsonl", [Query(f"dpo-{number}", text) for number, text in enumerate(QUERIES)])
    world = composed("reward=sketch")
    spec = {
        "label": "grpo", "seed": 0, "recipe": RECIPE | (recipe or {}), "trainer": TRAINER | (trainer or {}), "template": "tiny",
        "start": str(start), "rows": str(folder / "dpo.jsonl"), "out": str(folder), "allow": [],
        "judge": world["judge"], "generator": world["generator"] | {"frames": 4}, "reward": world["reward"],
    }  # fmt: skip
    (folder / "stage.yaml").write_text(yaml.safe_dump(spec))
    return folder / "stage.yaml"


def work(spec: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "vpo.training.online.grpo", str(spec)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]


def rows_of(spec: dict, renderer: Renderer) -> list[dict]:
    return grpo.training_rows(spec, renderer, *grpo.training_queries(spec, renderer))


def trainer_of(spec: Path, judge, model=None):
    """TRL's trainer of a job with the text reward alone, and its renderer; nothing is run yet."""
    job_of_file = yaml.safe_load(spec.read_text())
    loaded, tokenizer = load_pretrained(Path(job_of_file["start"]), torch.float32)
    renderer = Renderer(tokenizer, read_template("tiny"))
    rewards, rows = {"text": TextReward(judge, renderer.decode)}, rows_of(job_of_file, renderer)
    checkpoints = spec.with_name("checkpoints")
    return grpo.make_trainer(
        job_of_file, loaded if model is None else model, tokenizer, rows, rewards, checkpoints
    ), renderer


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(20)[None]).logits


@pytest.mark.parametrize("chat", [None, CHAT])
def test_trl_feeds_the_ids_that_sampling_and_training_feed(tmp_path, start, judge, monkeypatch, chat):
    """One update; what reaches `generate`, without its padding, is `Renderer.prompt_ids` of each query, k times.

    One query names control tokens and a turn of the chat format.
    """
    spec = yaml.safe_load(job(tmp_path, start, {"max_steps": 1, "global_batch_size": 8}).read_text())
    queries = [*QUERIES[:3], "a dog</s><s>[assistant] <pad>"]
    write_rows(tmp_path / "dpo.jsonl", [Query(f"dpo-{number}", text) for number, text in enumerate(queries)])
    model, tokenizer = load_pretrained(start, torch.float32)
    tokenizer.chat_template = chat
    renderer = Renderer(tokenizer, read_template("tiny"))
    fed: list[list[int]] = []
    generate = model.generate

    def watch(*, input_ids: torch.Tensor, attention_mask: torch.Tensor, **rest):
        fed.extend(ids[mask.bool()].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True))
        return generate(input_ids=input_ids, attention_mask=attention_mask, **rest)

    monkeypatch.setattr(model, "generate", watch)
    rewards = {"text": TextReward(judge, renderer.decode)}
    trainer = grpo.make_trainer(spec, model, tokenizer, rows_of(spec, renderer), rewards, tmp_path / "checkpoints")
    trainer.train()
    expected = [renderer.prompt_ids(query) for query in queries for _ in range(2)]
    assert sorted(fed) == sorted(expected)
    assert fed[0] == fed[1]
    assert all(ids.count(tokenizer.bos_token_id) == 1 for ids in fed)
    assert all(tokenizer.eos_token_id not in ids for ids in fed)
    assert any(queries[3] in tokenizer.decode(ids) for ids in fed)
    policy = TrainedPolicy(HFEngine(model, tokenizer), renderer)
    drawn = Sampling(temperature=0.9, top_p=1.0, max_new_tokens=2)
    asked = [list(policy.request(query, drawn, seed).prompt_ids) for seed, query in enumerate(queries)]
    assert asked == expected[::2]
    rows, _ = sft_rows([Example(str(number), one, "A dog.") for number, one in enumerate(queries)], renderer, 256)
    assert [list(row.prompt) for row in rows] == expected[::2]


def test_an_unread_verdict_teaches_nothing(tmp_path, start):
    """One completion of each group is unread, the others score alike: no advantage, so no weight moves.

    In a plain sum the unread one would count as 0 and the others would be pushed up.
    """
    model, _ = load_pretrained(start, torch.float32)
    before = {name: one.clone() for name, one in model.state_dict().items()}

    class HalfBlind:
        def critique(self, prompts):
            seen = [None if one.index % 2 else True for one in prompts]
            return [Verdict(one.id, known, known, known) for one, known in zip(prompts, seen, strict=True)]

    trainer, _ = trainer_of(job(tmp_path, start, {"max_steps": 1, "beta": 0.0}), HalfBlind(), model)
    trainer.train()
    assert trainer.state.log_history[0]["failed/text"] == 0.5
    assert trainer.state.log_history[0]["rewards/TextReward/mean"] == 1.0
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())


def test_the_reference_is_the_start_whatever_the_config_names(tmp_path, start, judge):
    model, _ = load_pretrained(start, torch.float32)
    with torch.no_grad():
        model.model.embed_tokens.weight.add_(0.5)  # what a merged adapter does: the folder holds other weights
    trainer, _ = trainer_of(job(tmp_path, start), judge, model)
    assert torch.equal(trainer.ref_model.model.embed_tokens.weight, model.model.embed_tokens.weight)
    assert trainer.ref_model is not model


class Picky:
    """Keeps every second completion, so that each group of two has something to learn."""

    def critique(self, prompts):
        return [Verdict(one.id, kept, kept, kept) for one in prompts for kept in [one.index % 2 == 0]]


def drifted_adapter(start: Path, folder: Path) -> Path:
    """The policy folder of an adapter on `start` that is far from changing nothing, as an SFT leaves it."""
    model, tokenizer = load_pretrained(start, torch.float32)
    model = add_adapter(model, LORA)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    PolicyWriter(model, tokenizer, "tiny", start, None).write(folder)
    return folder


def test_an_adapter_learns_against_the_merged_sft_policy_and_is_written_alone(tmp_path, start):
    """Its start is SFT's adapter, merged; that is also the reference, without a copy, and the base of what is written."""
    sft = drifted_adapter(start, tmp_path / "sft")
    merged = logits(load_pretrained(sft, torch.float32)[0])
    assert not torch.allclose(merged, logits(load_pretrained(start, torch.float32)[0]), atol=1e-2)
    trainer, renderer = trainer_of(job(tmp_path / "grpo", sft, {"max_steps": 2, "adapter": LORA}), Picky())
    assert trainer.ref_model is None
    assert sorted(trainer.model.peft_config) == ["default"]  # no second adapter as a reference
    trainer.train()
    first, second = trainer.state.log_history[:2]
    assert first["kl"] == 0.0 < second["kl"]
    with trainer.model.disable_adapter():
        assert torch.equal(logits(trainer.model), merged)
    learnt = logits(trainer.model)
    assert not torch.equal(learnt, merged)
    held = {path.name for path in (tmp_path / "grpo/checkpoints/checkpoint-2").iterdir()}
    assert "adapter_model.safetensors" in held
    assert "model.safetensors" not in held
    policy = tmp_path / "policy"
    PolicyWriter(trainer.model, trainer.processing_class, renderer.template, sft, None).write(policy)
    assert json.loads((policy / "base.json").read_text()) == {"folder": "../sft", "bits": None}
    torch.testing.assert_close(logits(load_pretrained(policy, torch.float32)[0]), learnt, rtol=1e-4, atol=1e-5)


def test_recomputing_activations_leaves_an_adapters_update_as_it_is(tmp_path, start):
    """Checkpointing of the wrong kind would cut its gradients off, because the frozen embeddings have none."""
    adapters = []
    for again in (False, True):
        recipe = {"max_steps": 2, "adapter": LORA, "gradient_checkpointing": again}
        trainer, _ = trainer_of(job(tmp_path / str(again), start, recipe), Picky())
        trainer.train()
        adapters.append({name: one for name, one in trainer.model.named_parameters() if one.requires_grad})
    assert all(one.any() for name, one in adapters[0].items() if "lora_B" in name)
    for name, one in adapters[0].items():
        torch.testing.assert_close(one, adapters[1][name])


def test_layers_that_the_model_lacks_are_one_line(tmp_path, start, judge):
    with pytest.raises(UserError, match=r"adapter.target_modules=\['query'\]: Target modules .*query"):
        trainer_of(job(tmp_path, start, {"adapter": LORA | {"target_modules": ["query"]}}), judge)


def recorded_training(folder: Path, start: Path, **recipe):
    """Three updates of the two queries that fit, with all that tells of them."""
    spec = job(folder, start, {"max_steps": 3, "max_length": 30, **recipe})
    trainer, renderer = trainer_of(spec, Picky())
    job_of_file = yaml.safe_load(spec.read_text())
    for callback in grpo.telemetry(job_of_file, renderer, *grpo.training_queries(job_of_file, renderer), done=0):
        trainer.add_callback(callback)
    trainer.train()
    return trainer, renderer


def test_speed_tables_and_warnings_tell_of_a_training_and_leave_it_alone(tmp_path, start):
    trainer, renderer = recorded_training(tmp_path / "recorded", start, prompts=2)
    fitting = [QUERIES[0], QUERIES[3]]
    prompts = 2 * sum(len(renderer.prompt_ids(query)) for query in fitting)  # each is sampled from twice an update
    first, *rest = metrics(tmp_path / "recorded")
    assert not set(WALL_CLOCK) & set(first)
    for line in rest:
        assert set(WALL_CLOCK) & set(line) == {"train/tokens_per_second", "train/completion_tokens_per_second"}
        sampled = 4 * line["train/completions/mean_length"]
        share = line["train/completion_tokens_per_second"] / line["train/tokens_per_second"]
        assert share == pytest.approx(sampled / (prompts + sampled), rel=1e-4)
    table = [json.loads(line) for line in (tmp_path / "recorded/prompts.jsonl").read_text().splitlines()]
    assert [(line["step"], line["query"]) for line in table] == [(n, query) for n in (0, 2, 3) for query in fitting]
    shown = [(line["prompt"], line["tokens"]) for line in table]
    assert shown[:2] == greedy(load_pretrained(start, torch.float32)[0], renderer, fitting, 6)
    assert shown[-2:] == greedy(trainer.model, renderer, fitting, 6)
    (warning,) = [json.loads(line) for line in (tmp_path / "recorded/warnings.jsonl").read_text().splitlines()]
    assert (warning["step"], warning["name"]) == (0, "rows cut")
    assert "2 of 4 rows (50.0%) are left out (2 over-long)" in warning["warning"]
    plain, _ = recorded_training(tmp_path / "plain", start, prompts=0)
    assert not (tmp_path / "plain/prompts.jsonl").exists()
    for name, one in plain.model.state_dict().items():
        assert torch.equal(one, trainer.model.state_dict()[name]), name


KILLED = """
import os, signal, sys
from pathlib import Path
from vpo.training.online import grpo
from vpo.training.online import callbacks as grpo_record

touch = Path.touch

def then_die(path):
    if path.name == grpo_record.WHOLE and path.parent.name == "checkpoint-4":
        os.kill(os.getpid(), signal.SIGKILL)
    touch(path)

Path.touch = then_die
sys.exit(grpo.main(Path(sys.argv[1]), grpo.train))
"""


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [None, LORA | {"dropout": 0.1}], ids=["whole", "lora"])
def test_a_kill_while_saving_and_the_rest_are_bit_identical_to_a_whole_training(tmp_path, start, adapter):
    """Killed when the checkpoint of step 4 is written but not yet marked: it goes on from step 2."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    recipe = {"adapter": adapter, "prompts": 2, "max_length": 30}  # two of the four queries do not fit
    assert work(job(whole, start, recipe)).wait() == 0
    spec = job(killed, start, recipe)
    dead = subprocess.run([sys.executable, "-c", KILLED, str(spec)], cwd=ROOT, check=False, stdin=subprocess.DEVNULL)
    assert dead.returncode == -signal.SIGKILL
    assert (killed / "checkpoints/checkpoint-4").exists()
    assert grpo_record.last_checkpoint(killed / "checkpoints").name == "checkpoint-2"
    assert work(spec).wait() == 0
    assert weights(killed) == weights(whole) != (start / "model.safetensors").read_bytes()
    assert [line["step"] for line in metrics(killed)] == list(range(6))
    assert without_wall_clock(killed) == without_wall_clock(whole)
    for name in ("prompts.jsonl", "warnings.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert metrics(whole)[0]["train/kl"] == 0.0  # policy and reference are the same before the first update
    assert metrics(whole)[-1]["train/kl"] > 0.0
    left = [
        "dpo.jsonl", "policy", "prompts.jsonl", "stage.yaml", "steps.txt", "training.jsonl", "warnings.jsonl",
    ]  # fmt: skip
    assert sorted(path.name for path in killed.iterdir()) == left
    assert (killed / "policy/template.txt").read_text() == read_template("tiny")
    again = work(spec)
    assert again.wait() == 0
    assert weights(killed) == weights(whole)


@pytest.mark.slow
def test_two_ranks_train_together_and_save_when_one_is_asked_to_end(tmp_path, start):
    trainer = {"devices": 2, "strategy": "ddp"}
    spec = job(tmp_path, start, {"max_steps": 200, "checkpoint_every": 1000}, trainer)
    port = launch._free_port()
    ranks = [launch._start(spec, rank, 2, port, "vpo.training.online.grpo") for rank in (0, 1)]
    end_ranks_by_the_second(ranks, lambda: (tmp_path / "training.jsonl").exists() and len(metrics(tmp_path)) >= 3)
    done = int(grpo_record.last_checkpoint(tmp_path / "checkpoints").name.rpartition("-")[2])
    assert [line["step"] for line in metrics(tmp_path)] == list(range(done))


@pytest.mark.slow
def test_divergence_is_one_line(tmp_path, start):
    spec = job(tmp_path, start, {"optimizer": RECIPE["optimizer"] | {"lr": 1e30}})
    assert work(spec).wait() == 2
    assert "training diverged at step" in (tmp_path / "error.txt").read_text()


@pytest.mark.slow
def test_a_run_with_grpo_goes_from_queries_to_its_row(smoke, tmp_path):
    shutil.copytree(smoke / "store", tmp_path / "store")
    done = run_vpo("run", "experiment=smoke", "objective=grpo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "GRPO" in done.stderr
    (results,) = (tmp_path / "runs").rglob("results.json")
    assert list(json.loads(results.read_text())["methods"]) == ["original", "fewshot", "sft", "grpo"]
    lines = [json.loads(line) for line in (results.parent / "training/grpo.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert {"train/loss", "train/kl", "train/lr", "train/reward/text", "train/reward/video"} <= lines[0].keys()
    assert len(list((tmp_path / "store/sft").glob("*/manifest.json"))) == 1  # SFT was shared


def test_queries_that_do_not_fit_are_left_out_and_too_few_are_refused(tmp_path, start):
    spec = yaml.safe_load(job(tmp_path, start).read_text())
    renderer = Renderer(load_pretrained(start, torch.float32)[1], read_template("tiny"))
    rows = rows_of(spec, renderer)
    assert len(rows) == 6 * 2  # updates x queries an update
    assert {row["query"] for row in rows[:4]} == set(QUERIES)  # an epoch is a permutation
    lengths = sorted(len(renderer.prompt_ids(query)) for query in QUERIES)
    spec["recipe"]["max_length"] = lengths[0] + spec["recipe"]["max_new_tokens"]
    assert {row["query"] for row in rows_of(spec, renderer)} == {"a red dog runs"}
    spec["recipe"] |= {"max_steps": None, "epochs": 1}
    with pytest.raises(UserError, match=r"grpo: 1 of 4 queries fit into max_length=\d+, and an update needs 2"):
        rows_of(spec, renderer)
