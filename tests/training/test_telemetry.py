"""Throughput, greedy prompts and warnings: arithmetic by hand, and what a real training of a tiny model leaves behind."""

import json
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning_fabric.utilities.throughput import get_available_flops
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    RecurrentGemmaConfig,
)

from tests.training_jobs import RECIPE, WORDS, job, train_here, write_reference
from vpo.errors import UserError
from vpo.language.checkpoints.loading import load_pretrained
from vpo.results.pictures import read_curves, training_curves
from vpo.training.data import Batch, Collator, TrainingRow
from vpo.training.forward import Reader
from vpo.training.telemetry.prompts import PromptTables, greedy, length_limit, queries_to_show
from vpo.training.telemetry.throughput import (
    PEAK_TFLOPS,
    WALL_CLOCK,
    ModelShape,
    Stopwatch,
    Throughput,
    peak_of,
    training_flops,
    work_of,
)  # fmt: skip
from vpo.training.telemetry.watch import chosen_falls, completions_grow, prompts_grow, rows_cut


def llama(**changes) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, tie_word_embeddings=True, attn_implementation="eager",
        bos_token_id=0, eos_token_id=1, **changes,
    )  # fmt: skip
    return LlamaForCausalLM(config)


# Of a layer: q 16 x 32, k and v 16 x 16 (two heads of 8), o 32 x 16, and three matrices of 16 x 24.
LAYER = 512 + 256 + 256 + 512 + 3 * 384


def test_completions_that_grow_are_reported():
    """Five and five metrics: from 100 on to 149 is a growth of 49 %, to 151 of 51 %; 190 of 200 is 95 % of the limit."""
    warn = partial(completions_grow, limit=200)
    assert warn([100] * 9) is None
    assert warn([100] * 5 + [149] * 5) is None
    assert "grew from 100 to 151 tokens, 200 being the limit" in warn([100] * 5 + [151] * 5)
    assert warn([150] * 5 + [189] * 5) is None
    assert "from 150 to 190" in warn([150] * 5 + [190] * 5)
    assert warn([195] * 5 + [190] * 5) is None


def test_the_shape_of_a_model_is_its_matrices():
    expected = ModelShape(body=2 * LAYER, trained=2 * LAYER, head=800, trained_head=800, layers=2, width=32)
    assert ModelShape.of(llama()) == expected


@pytest.mark.parametrize(
    "config",
    [
        MambaConfig(vocab_size=50, hidden_size=16, state_size=4, num_hidden_layers=2),
        RecurrentGemmaConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=3,
            num_attention_heads=2,
            lru_width=16,
        ),
    ],
    ids=["mamba", "recurrent_gemma"],
)
def test_a_model_with_layers_that_do_not_attend_has_no_shape(config):
    assert ModelShape.of(AutoModelForCausalLM.from_config(config)) is None


def test_a_policy_that_cannot_be_sampled_from_is_trained_without_tables(tmp_path, start, renderer, caplog):
    """Greedy prompts of a GPT-2 that embeds fewer tokens than its tokenizer knows: an IndexError in the embedding."""
    model = GPT2LMHeadModel(GPT2Config(vocab_size=4, n_embd=16, n_layer=1, n_head=2, n_positions=64))
    tables = PromptTables(tmp_path / "prompts.jsonl", renderer, ["a red dog runs"], 5, 8, Stopwatch())
    with caplog.at_level("WARNING", logger="vpo"):
        tables.write(model, 0)
    assert "no greedy prompts after update 0: IndexError" in caplog.text
    assert not (tmp_path / "prompts.jsonl").exists()


def test_adapters_are_weights_that_are_trained_over_weights_that_are_not():
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(llama(), LoraConfig(r=2, target_modules=["q_proj"]))
    lora = 2 * 2 * (16 + 32)  # two layers, rank 2, from 16 to 32
    expected = ModelShape(body=2 * LAYER + lora, trained=lora, head=800, trained_head=0, layers=2, width=32)
    assert ModelShape.of(adapted) == expected
    assert training_flops(expected, tokens=10, completions=3, keys=0) == 10 * (4 * 2 * LAYER + 6 * lora) + 3 * 4 * 800


def test_flops_by_hand():
    shape = ModelShape(body=100, trained=100, head=7, trained_head=7, layers=2, width=5)
    # PaLM: 6 N tokens + 12 L H Q keys; the head for 3 of the 4 tokens
    assert training_flops(shape, tokens=4, completions=3, keys=10) == 6 * 100 * 4 + 6 * 7 * 3 + 12 * 2 * 5 * 10


def test_flops_agree_with_torchs_own_counter():
    """Two sequences of 6 tokens: eager attention multiplies all 6 x 6 scores, and the plain model heads every token."""
    model, ids = llama(), torch.arange(12).view(2, 6)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    expected = training_flops(ModelShape.of(model), tokens=12, completions=12, keys=2 * 6 * 6)
    # torch also multiplies for the rotary angles: 8 / 2 frequencies x 6 positions, forward only, once a row or shared
    assert counter.get_total_flops() == pytest.approx(expected, rel=1e-3)


def test_a_mixture_of_experts_has_no_shape():
    model = llama()
    model.config.num_local_experts = 8
    assert ModelShape.of(model) is None


ROWS = [TrainingRow("a", (1, 2, 3), ((7, 8), (9,))), TrainingRow("b", (1, 2, 4, 5), ((6, 7), (7, 6, 6)))]


@pytest.mark.parametrize("pad_to", [1, 32])
def test_work_of_a_packed_tree_counts_shared_tokens_once(pad_to):
    """[1 2] [3 (7 8) (9)] [4 5 (6 7) (7 6 6)]: 12 + 0 padding tokens, each seeing its depth + 1."""
    batch = Batch(Collator(packing=True, pad_id=0, pad_to=pad_to)(ROWS), torch.ones(2), torch.zeros(2, 0), 2.0)
    keys = (1 + 2) + 3 + (4 + 5) + 4 + (3 + 4) + (5 + 6) + (5 + 6 + 7)
    assert work_of(batch).tolist() == [13, 8, keys, 2]


def test_work_of_padded_sequences_counts_them_one_by_one():
    batch = Batch(Collator(packing=False, pad_id=0)(ROWS), torch.tensor([1.0, 0.0]), torch.zeros(2, 0), 2.0)
    lengths = [5, 4, 6, 7]
    keys = 15 + 10 + 21 + 28  # 1 + 2 + ... + length
    assert work_of(batch).tolist() == [sum(lengths), 8, keys, 1]  # the second row only evens out ranks


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4), ("NVIDIA H100 PCIe", 756.0), ("NVIDIA H100 NVL", 835.5), ("NVIDIA H200", 989.5),
        ("NVIDIA A100-SXM4-40GB", 312.0), ("NVIDIA A100 80GB PCIe", 312.0), ("NVIDIA L4", 121.0), ("NVIDIA L40S", 362.0),
        ("NVIDIA GeForce RTX 4090", 165.2), ("NVIDIA GeForce RTX 4090 Laptop GPU", None), ("NVIDIA RTX A6000", 154.8),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None), ("NVIDIA B200", 2250.0), ("NVIDIA T400", None), ("Some accelerator", None),
        ("NVIDIA RTX A4000", None), ("NVIDIA GeForce RTX 3080", None),
    ],
)  # fmt: skip
def test_peaks_are_found_by_the_words_of_the_device(name, tflops, monkeypatch):
    """The name is what a machine without this GPU lacks; the tables and the rules are the real ones."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: name)
    assert peak_of(torch.device("cuda"), torch.bfloat16) == tflops


def test_a_t4_has_a_peak_for_float16_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Tesla T4")
    assert peak_of(torch.device("cuda"), torch.float16) == 65.0  # NVIDIA's data sheet of the T4
    assert peak_of(torch.device("cuda"), torch.bfloat16) is None


@pytest.mark.parametrize(
    ("name", "lightning"),
    [
        ("B200", None), ("H200", None), ("H200 NVL", None), ("H100 NVL", 1978.8), ("L40S", 121.0), ("L40", 121.0),
        ("A10", None), ("RTX A6000", 38.7), ("GeForce RTX 4090", 82.6), ("GeForce RTX 4080", 48.7), ("GeForce RTX 3090", 35.6),
    ],
)  # fmt: skip
def test_our_table_holds_only_what_lightning_lacks_or_has_wrong(name, lightning, monkeypatch):
    """Fails where a new version of Lightning has another peak: it may be right now, and the entry superfluous."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"NVIDIA {name}")
    found = get_available_flops(torch.device("cuda"), torch.bfloat16)
    assert found == (None if lightning is None else pytest.approx(lightning * 1e12))
    assert PEAK_TFLOPS[name.removeprefix("GeForce ")] != lightning


def test_every_entry_of_our_table_is_compared_with_lightning():
    (mark,) = test_our_table_holds_only_what_lightning_lacks_or_has_wrong.pytestmark
    assert {name.removeprefix("GeForce ") for name, _ in mark.args[1]} == set(PEAK_TFLOPS)


def test_the_stopwatch_leaves_pauses_out():
    times = iter([0.0, 2.0, 10.0, 14.0, 15.0, 18.5])
    clock = Stopwatch(lambda: next(times))
    assert clock.restart() == 2
    clock.pause()  # at 10
    clock.resume()  # at 14
    assert clock.restart() == (10 - 2) + (15 - 14)
    assert clock.restart() == 18.5 - 15


def test_rates_and_utilisation_by_hand():
    shape = ModelShape(body=10**9, trained=10**9, head=0, trained_head=0, layers=1, width=1)
    throughput = Throughput(Stopwatch(), "pairs", shape, peak=100.0)
    rates = throughput.metrics(tokens=40_000, completions=10_000, keys=0, rows=100, seconds=2.0, devices=2)
    assert rates == {
        "train/tokens_per_second": 20_000,
        "train/completion_tokens_per_second": 5_000,
        "train/pairs_per_second": 50,
        "train/mfu": 6e9 * 40_000 / (2.0 * 2 * 100e12),  # 60 %
    }
    assert "train/mfu" not in Throughput(Stopwatch(), "rows", shape, peak=None).metrics(
        1, 1, 1, 1, seconds=1, devices=1
    )
    with pytest.raises(UserError, match=r"trainer\.peak_tflops=0 must be above 0"):
        Throughput(Stopwatch(), "rows", shape, peak=0)


def test_falling_chosen_log_probs_are_reported_when_margins_rise():
    logps, margins = [-100.0] * 10, [0.0] * 5 + [1.0] * 5
    rewards = [0.0] * 5 + [-0.6] * 5  # at beta 0.1: 6 nats of 100
    warning = chosen_falls(logps, rewards, margins, beta=0.1)
    assert "fell by 6.0 nats from -100.0 while margins rose from 0.00 to 1.00" in warning
    assert chosen_falls(logps, rewards, margins[::-1], beta=0.1) is None  # margins fall too: not displacement
    assert chosen_falls(logps, [0.0] * 5 + [-0.4] * 5, margins, beta=0.1) is None  # 4 nats of 100
    assert chosen_falls([-79.0] * 10, [0.0] * 5 + [-0.4] * 5, margins, beta=0.1) is not None  # 4 of 79
    assert chosen_falls(logps[:9], rewards[:9], margins[:9], beta=0.1) is None  # two windows would overlap
    assert chosen_falls([], [], [], beta=0.1) is None


def test_windows_are_means_so_that_one_odd_batch_gives_no_warning():
    logps, margins = [-100.0] * 10, list(range(10))
    assert chosen_falls(logps, [0.0] * 9 + [-2.0], margins, beta=0.1) is None  # 20 nats once: 4 in the mean
    assert chosen_falls(logps, [0.0] * 9 + [-3.0], margins, beta=0.1) is not None  # 30 nats once: 6 in the mean


def test_growing_prompts_are_reported():
    assert "grew from 100 to 180 tokens" in prompts_grow([100, 120, 180], typical=110, limit=400)
    assert prompts_grow([100, 180, 120], typical=110, limit=400) is None  # it is the last that counts
    assert prompts_grow([100, 160], typical=110, limit=400) is None  # below 1.5 x 110
    assert prompts_grow([20, 160], typical=110, limit=400) is None  # it learns to write what it is shown
    assert prompts_grow([400, 400], typical=110, limit=400) is None  # it has not yet learnt to end
    assert prompts_grow([300, 400], typical=110, limit=400) is not None  # none ends any more
    assert prompts_grow([500], typical=110, limit=500) is None


def test_rows_cut_counts_from_one_percent():
    assert rows_cut(Counter(empty=1), 100) is None
    assert rows_cut(Counter(), 0) is None
    said = rows_cut(Counter({"over-long": 3, "empty": 1}), 100)
    assert "4 of 100 rows (4.0%) are left out (3 over-long, 1 empty)" in said
    assert "raise max_length" in said
    assert "raise max_length" not in rows_cut(Counter(equal=3), 100)


def test_the_same_few_queries_are_shown_each_once():
    rows = [TrainingRow(name, (1, 2, 3), ((2,), (2, 3))) for name in "aabc"]
    assert queries_to_show(rows, {"a": "A", "b": "B", "c": "C"}, 2) == ["A", "B"]
    assert length_limit(rows, None) == 3  # 2 and half of it
    assert length_limit(rows, 5) == 2  # what room the prompt of 3 leaves


def test_greedy_prompts_touch_no_random_state_and_no_mode(start, renderer):
    """With a model that reads packed rows: in `generate` its attention must be the ordinary one."""
    model, _ = load_pretrained(start, torch.float32)
    expected = greedy(model, renderer, WORDS, 12)
    Reader.of(model, packing=True, longest=128)
    model.train()
    model.model.layers[0].eval()
    state = torch.get_rng_state()
    assert greedy(model, renderer, WORDS, 12) == expected
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert [layer.training for layer in model.model.layers] == [False, True]
    alone = [greedy(model, renderer, [words], 12)[0] for words in WORDS]
    assert alone == expected
    assert all(1 <= tokens <= 12 for _, tokens in expected)


@pytest.fixture(scope="module")
def preferences(tmp_path_factory, start, renderer) -> Path:
    """A preference training of 24 steps, with validation, of a policy that is driven away from everything."""
    folder = tmp_path_factory.mktemp("dpo")
    recipe = {
        "max_steps": 24, "validation": 0.2, "validate_every": 8, "prompts": 2,
        "optimizer": RECIPE["optimizer"] | {"lr": 3e-2},
    }  # fmt: skip
    spec = job(folder, start, "dpo", recipe=recipe, trainer={"peak_tflops": 0.01})
    write_reference(folder, start, renderer)  # of the pairs that can be used
    rows = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
    same = json.loads(rows[-1]) | {"query_id": "same", "rejected": "A fine day.", "chosen": "A fine day."}
    (folder / "rows.jsonl").write_text("".join(rows) + json.dumps(same) + "\n")
    assert train_here(spec) == 0
    return folder


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_preference_training_logs_what_a_user_looks_for(preferences):
    metrics = lines(preferences / "training.jsonl")
    pair = {
        "loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracy", "logps/chosen", "logps/rejected",
        "pairs",
    }  # fmt: skip
    trained = [line for line in metrics if "train/loss" in line]
    assert all({f"train/{name}" for name in pair | {"grad_norm", "lr"}} <= set(line) for line in trained)
    assert [line["step"] for line in metrics if {f"val/{name}" for name in pair} <= set(line)] == [7, 15, 23]
    first, *rest = trained
    assert not set(WALL_CLOCK) & set(first)  # the first step of a process warms up
    for line in rest:
        assert set(WALL_CLOCK) - set(line) == {"train/rows_per_second"}
        per_pair = line["train/completion_tokens_per_second"] / line["train/pairs_per_second"]
        assert 10 < per_pair < 60  # two short sentences of a few words
        assert line["train/tokens_per_second"] > line["train/completion_tokens_per_second"]
        assert 0 < line["train/mfu"] < 10


def test_tables_of_greedy_prompts_frame_the_training(preferences, start, renderer):
    table = lines(preferences / "prompts.jsonl")
    assert [line["step"] for line in table] == [0, 0, 8, 8, 16, 16, 24, 24]
    held_out = [line["query"] for line in lines(preferences / "rows.jsonl")][:2]
    assert [line["query"] for line in table] == held_out * 4
    limit = max(line["tokens"] for line in table)
    before = greedy(load_pretrained(start, torch.float32)[0], renderer, held_out, limit)
    after = greedy(load_pretrained(preferences / "policy", torch.float32)[0], renderer, held_out, limit)
    shown = [(line["prompt"], line["tokens"]) for line in table]
    assert shown[:2] == before
    assert shown[-2:] == after != before


def test_warnings_are_reported_once_each(preferences):
    written = lines(preferences / "warnings.jsonl")
    names = [line["name"] for line in written]
    assert names.count("chosen falls") == names.count("rows cut") == 1
    (cut,) = [line for line in written if line["name"] == "rows cut"]
    assert cut["step"] == 0
    assert cut["warning"].startswith("1 of 25 rows (4.0%)")
    assert len(names) == len(set(names))


def test_curves_show_the_speed(preferences, tmp_path):
    assert len(read_curves(preferences / "training.jsonl")["train/tokens_per_second"].values) == 23
    (tmp_path / "training").mkdir()
    (tmp_path / "training/dpo.jsonl").write_bytes((preferences / "training.jsonl").read_bytes())
    assert training_curves(tmp_path / "training", tmp_path / "curves.png")


def test_a_run_folder_keeps_the_tables_and_no_wall_clock_in_its_results(smoke):
    """The smoke run validates SFT, on 3 rows, every 2 steps, and takes fewer DPO steps than its next table is due."""
    (folder,) = (path.parent for path in (smoke / "runs").rglob("results.json"))
    for policy, queries in (("sft", 3), ("dpo", 3)):
        table, metrics = (lines(folder / "training" / name) for name in (f"prompts/{policy}.jsonl", f"{policy}.jsonl"))
        last = max(line["step"] for line in metrics) + 1
        assert {line["step"] for line in table} == {0, *(range(2, last, 2) if policy == "sft" else ()), last}
        assert len({line["query"] for line in table}) == queries
        assert any("train/tokens_per_second" in line for line in metrics)
    assert "per_second" not in (folder / "results.json").read_text()
