"""The memory estimate: parameter counts against real models, the peak against a real training."""

import json
import subprocess
import sys

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

from tests.conftest import ROOT, run_vpo
from tests.training_jobs import RECIPE, TRAINER
from vpo.backbone.tiny import TinyBackbone
from vpo.checking.memory_plan import LORA, changes, memory_lines, shape_of
from vpo.errors import UserError
from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.loading import load_pretrained
from vpo.records import Pair
from vpo.storage.rows import write_rows
from vpo.templates import read_template
from vpo.training import memory
from vpo.training.data import pair_rows
from vpo.training.forward import Reader
from vpo.training.logprobs import CHUNK_ELEMENTS, decoder_of
from vpo.training.lora import add_adapter
from vpo.training.memory import BatchShape, DecoderShape, estimate, fixed_memory
from vpo.training.packing.rows import common_prefix
from vpo.training.reference import reference_logprobs

LLAMA3_8B = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": False,
}  # fmt: skip
QWEN_05B = {
    "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip
QWEN_7B = QWEN_05B | {
    "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "tie_word_embeddings": False,
}  # fmt: skip
GPU = TRAINER | {
    "accelerator": "gpu",
    "precision": "bf16-mixed",
    "activation_checkpointing": False,
    "strategy_options": {},
}


@pytest.mark.parametrize(
    ("config", "count"), [(LLAMA3_8B, 8_030_261_248), (QWEN_05B, 494_032_768), (QWEN_7B, 7_615_616_512)]
)
def test_parameters_of_models_whose_count_is_published(config, count):
    assert DecoderShape.of(config).parameters == count


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("odd", [{}, {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}])
def test_parameters_of_real_models(kind, odd):
    given = {
        "vocab_size": 97, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 6,
    }  # fmt: skip
    config = AutoConfig.for_model(kind, **given | odd)
    model = AutoModelForCausalLM.from_config(config)
    written = json.loads(config.to_json_string())
    if kind == "mistral":
        written.pop("attention_bias", None)
        written.pop("mlp_bias", None)
    if kind in ("qwen2", "qwen3"):
        written.pop("mlp_bias", None)  # these have none, whatever the config says
    assert DecoderShape.of(written).parameters == sum(parameter.numel() for parameter in model.parameters())


def test_adapters_by_hand():
    """Rank 8 on q_proj (4096 to 4096) and v_proj (4096 to 1024): 8 (8192 + 5120) a layer, 32 layers."""
    shape = DecoderShape.of(LLAMA3_8B)
    assert shape.adapter_parameters({"r": 8, "target_modules": ["q_proj", "v_proj"]}) == 32 * 8 * (8192 + 5120)
    assert (
        shape.adapter_parameters({"r": 16, "target_modules": "all-linear"}) == 41_943_040
    )  # as PEFT counts for Llama-3-8B


def test_tokens_of_a_row_by_hand():
    """Two pairs behind a template of 100 tokens, queries of 10, completions of 50."""
    row = BatchShape(items=2, completions=2, template=100, query=10, completion=50, packing=True)
    assert (row.tokens, row.unpacked, row.below_template, row.targets) == (100 + 2 * 110, 4 * 160, 4 * 60, 200)
    assert BatchShape(2, 2, 100, 10, 50, packing=False).tokens == 640


def test_what_is_shared_over_devices_and_what_is_not():
    """16 bytes a parameter are split: fp32 weights, gradients and two moments. Everything else stays."""
    shape, row = DecoderShape.of(LLAMA3_8B), BatchShape(2, 2, 170, 30, 150, packing=True)
    for devices in (4, 8):
        sharded = estimate(shape, row, GPU | {"strategy": "fsdp", "devices": devices}, None)
        whole = sharded.weights - 2 * (shape.outside + 2 * shape.layer)
        assert whole + sharded.gradients + sharded.optimizer == pytest.approx(16 * shape.parameters / devices)
        assert sharded.copies == 0
    one, two = (estimate(shape, row, GPU | {"strategy": "ddp", "devices": n}, None) for n in (1, 2))
    assert one == two


def test_quantised_weights_by_hand():
    """7 maps a layer of 218,103,808 elements in all at 0.516 bytes; embeddings, head and norms as the trainer computes."""
    shape = DecoderShape.of(LLAMA3_8B)
    adapter = {"r": 8, "target_modules": ["q_proj"], "bits": 4}
    maps = 32 * 218_103_808
    for precision, size in (("bf16-mixed", 2), ("32-true", 4)):
        weights = estimate(shape, BatchShape(1, 1, 10, 10, 10, True), GPU | {"precision": precision}, adapter).weights
        assert weights == pytest.approx(0.516 * maps + size * (8_030_261_248 - maps) + 4 * 32 * 8 * 8192)


def test_lora_on_a_narrow_base_by_hand():
    """Rank 64: T = 167,772,160. Frozen weights of 2 bytes, of the adapter 4, 8 for AdamW, 4 of gradients, 2 of autocast's copy."""
    shape, row = DecoderShape.of(LLAMA3_8B), BatchShape(1, 1, 10, 10, 10, True)
    found = estimate(shape, row, GPU, LORA)
    assert found.weights == 2 * 8_030_261_248 + 4 * 167_772_160
    assert (found.optimizer, found.gradients, found.copies) == (8 * 167_772_160, 4 * 167_772_160, 2 * 167_772_160)
    assert found.weights + found.optimizer + found.gradients + found.scratch + found.process == pytest.approx(
        20.0e9, rel=1e-2
    )
    # float16 is not what bfloat16 weights are in: autocast copies them.
    halved = estimate(shape, row, GPU | {"precision": "16-mixed"}, LORA)
    assert halved.weights == found.weights
    assert halved.copies == 2 * (8_030_261_248 + 167_772_160)
    # FSDP shards 32 bits.
    sharded = estimate(shape, row, GPU | {"strategy": "fsdp", "devices": 8}, LORA)
    assert sharded.weights == pytest.approx(
        (4 * 8_030_261_248 + 4 * 167_772_160) / 8 + 2 * (shape.outside + 2 * shape.layer)
    )


@pytest.mark.parametrize(
    ("dtype", "trainer", "adapter"),
    [
        (torch.float32, TRAINER, None),
        (torch.float32, TRAINER | {"precision": "bf16-mixed"}, None),
        (torch.bfloat16, TRAINER | {"precision": "bf16-mixed"}, LORA | {"r": 1, "alpha": 1, "dropout": 0.0}),
    ],
    ids=["fp32", "bf16", "narrow base"],
)
def test_what_autograd_keeps_of_a_layer(dtype, trainer, adapter):
    """Bytes a token of one layer more, against the tensors that autograd really saves; scales of norms and scores are left out."""
    sizes = {
        "vocab_size": 50,
        "hidden_size": 64,
        "intermediate_size": 224,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    trainer = trainer | {"activation_checkpointing": False, "strategy_options": {}}
    tokens, kept, guessed = 512, [], []
    for layers in (2, 3):
        config = AutoConfig.for_model("llama", **sizes, num_hidden_layers=layers)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
        if adapter is not None:
            model = add_adapter(model, adapter)
        weights = {one.untyped_storage().data_ptr() for one in model.parameters()}
        saved = []
        with (
            torch.autograd.graph.saved_tensors_hooks(
                lambda one, saved=saved: saved.append(one) or one, lambda one: one
            ),
            torch.autocast("cpu", torch.bfloat16, enabled="16" in trainer["precision"]),
        ):
            decoder_of(model)(input_ids=torch.arange(tokens)[None] % 50, use_cache=False)
        rooms = {
            one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in saved if tokens in one.shape
        }
        kept.append(sum(size for place, size in rooms.items() if place not in weights))
        shape = DecoderShape.of(sizes | {"model_type": "llama", "num_hidden_layers": layers})
        guessed.append(estimate(shape, BatchShape(1, 1, 0, 0, tokens, False), trainer, adapter).activations)
    assert guessed[1] - guessed[0] == pytest.approx(kept[1] - kept[0], rel=0.02)


def test_online_training_by_hand():
    """P of 8,030,261,248: 4 bytes each of weights, gradients and reference and 8 of moments; DDP keeps gradients twice."""
    shape = DecoderShape.of(LLAMA3_8B)
    for strategy, reference, due in (("auto", False, 16), ("auto", True, 20), ("ddp", True, 24)):
        found = fixed_memory(shape, GPU | {"strategy": strategy}, reference=reference)
        assert found == 0.55e9 + due * 8_030_261_248


def test_the_chunk_is_that_of_the_logits():
    assert memory.CHUNK == CHUNK_ELEMENTS


def test_every_change_that_is_offered_takes_less_than_before():
    shape, row = DecoderShape.of(LLAMA3_8B), BatchShape(16, 2, 170, 30, 150, packing=True)
    before = estimate(shape, row, GPU, None).peak
    for text, trainer, adapter in changes(GPU | {"per_device_batch_size": 16}, None):
        items = trainer["per_device_batch_size"]
        after = estimate(shape, BatchShape(items, 2, 170, 30, 150, packing=True), trainer, adapter).peak
        assert after <= before, text


def test_sizes_that_are_not_known_are_not_guessed(tmp_path):
    assert shape_of({"model": "nobody/nothing"}) is None
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "n_embd": 8}')
    assert shape_of({"model": str(tmp_path)}) is None
    assert shape_of({"_target_": "mine.Backbone"}) is None


def test_the_plan_says_why_it_does_not_estimate(tmp_path):
    config = {"backbone": {"_target_": "vpo.backbone.hf.HFBackbone", "model": str(tmp_path)}, "trainer": {}}
    assert memory_lines(config, {"sft"}) == [f"memory: not estimated, {tmp_path} has no config.json with its sizes"]
    (tmp_path / "config.json").write_text('{"model_type": "mamba", "hidden_size": 8}')
    unknown = f"memory: not estimated, the arithmetic of {tmp_path} (model_type mamba) is not known here"
    assert memory_lines(config, {"sft"}) == [unknown]
    (tmp_path / "config.json").write_bytes(b'\xef\xbb\xbf{"model_type": "llama"}')
    with pytest.raises(UserError, match=f"backbone.model={tmp_path}: config.json begins with a byte order mark"):
        memory_lines(config, {"sft"})


@pytest.mark.slow
def test_the_plan_says_whether_it_fits_and_what_would_fit(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA3_8B))
    backbone = ["backbone=vpo_2b", f"backbone.model={tmp_path}"]
    small = run_vpo("plan", *backbone, "trainer=gpu", "trainer.memory_gb=24", cwd=tmp_path)
    assert small.returncode == 0, small.stderr
    (sft,) = [line for line in small.stdout.splitlines() if line.startswith("sft: ")]
    assert "a process of 24.0 GB: does not fit; sft=lora trainer.per_device_batch_size=1" in sft
    assert sft.endswith("; with an adapter also set sft.optimizer.lr=2.0e-04, for all weights it is 4.0e-03")
    large = run_vpo("plan", *backbone, "trainer=fsdp", "trainer.memory_gb=80", "plan.costs=false", cwd=tmp_path)
    assert [line.rpartition(": ")[2] for line in large.stdout.splitlines()[-2:]] == ["fits", "fits"]
    # Eight ranks with the 32.1 GB of 8,030,261,248 parameters each.
    assert "host: 8 ranks load the whole model on the CPU first, 32.1 GB each, 257.0 GB together" in large.stdout
    # One packed pair is 171 + 30 + 2 x 150 = 501 tokens, of which 32 layers keep 8 h + 2 (8 h + 2 k + 4 i) = 217,088 bytes: 3.48
    # GB, with 0.27 of a chunk of logits and a slack of 1.35 5.06; weights 16.73, moments 1.34, copies 0.34, the process 0.55.
    lora = ["sft=lora", "trainer=gpu", "trainer.per_device_batch_size=1", "trainer.memory_gb=80"]
    narrow = run_vpo("plan", *backbone, *lora, cwd=tmp_path)
    assert "dpo: about 24.0 GB a process of 80.0 GB: fits" in narrow.stdout
    assert "host:" not in narrow.stdout
    unknown = run_vpo("plan", "backbone=vpo_2b", cwd=tmp_path, HF_HOME=str(tmp_path / "empty"))
    assert "memory: not estimated, for want of the sizes of CCCCCC/VPO-2B; `hf download" in unknown.stdout
    embedded = run_vpo("plan", "stop_after=pair", cwd=tmp_path)
    assert "sft: about" in embedded.stdout
    assert "dpo: about" not in embedded.stdout  # the run stops before it


def test_the_plan_of_online_training_says_what_it_leaves_out(tmp_path):
    """16 bytes a parameter are 129.0 GB with the process, of the reference 4 more."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA3_8B))
    choice = ["backbone=vpo_2b", f"backbone.model={tmp_path}", "objective=grpo", "trainer=gpu"]
    lines = run_vpo("plan", *choice, "trainer.memory_gb=141", "plan.costs=false", cwd=tmp_path).stdout.splitlines()
    assert lines[-1] == (
        "grpo: at least 161.2 GB a process in weights, gradients, optimizer states and the reference's weights; activations, "
        "sampling and rewards are not estimated; of 141.0 GB: does not fit; objective.beta=0 would take at least 129.0 GB"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("packing", "items"), [(True, 16), (False, 8)])
def test_the_estimate_is_within_thirty_percent_of_a_real_peak(tmp_path, packing, items):
    """DPO of 14 M parameters on rows of VPO's lengths, on CPU."""
    start = tmp_path / "start"
    start.mkdir()
    letters = "abcdefghijklmnop"
    words = [letters[i % 16] + letters[i // 16 % 16] + letters[i // 7 % 16] + letters[i // 3 % 16] for i in range(4096)]
    corpus = [" ".join(words[i : i + 40]) for i in range(0, 4096, 8)] + [read_template("optimizer")] * 50
    TinyBackbone(corpus, 0, 8192, 384, 1024, 6, 6, 0.05, 4096, "optimizer").prepare(start)
    pairs = [
        Pair(
            str(i),
            " ".join(words[i : i + 14]),
            " ".join(words[i + 20 : i + 120]),
            " ".join(words[i + 130 : i + 230]),
            "text",
        )
        for i in range(0, items * 24, 8)
    ]
    write_rows(tmp_path / "rows.jsonl", pairs)
    renderer = Renderer(load_pretrained(start, torch.float32)[1], read_template("optimizer"))
    rows, left_out = pair_rows(pairs, renderer, 2048)
    assert not left_out
    reader = Reader.of(load_pretrained(start, torch.float32)[0].eval(), packing=False, longest=2048)
    sums = [
        pair for i in range(0, len(rows), 8) for pair in reference_logprobs(reader, rows[i : i + 8], renderer.pad_id)
    ]
    known = [{"query_id": row.query_id, "chosen": c, "rejected": r} for row, (c, r) in zip(rows, sums, strict=True)]
    (tmp_path / "reference.jsonl").write_text("".join(json.dumps(one) + "\n" for one in known))
    trainer = TRAINER | {"packing": packing, "per_device_batch_size": items, "activation_checkpointing": False}
    trainer |= {"strategy_options": {}}
    spec = {
        "task": "dpo", "label": "dpo", "seed": 0, "trainer": trainer, "template": "optimizer", "start": str(start),
        "recipe": RECIPE | {"max_steps": 2, "global_batch_size": items, "max_length": 2048, "loss": "hinge"},
        "rows": str(tmp_path / "rows.jsonl"), "out": str(tmp_path), "reference": str(tmp_path / "reference.jsonl"),
    }  # fmt: skip
    (tmp_path / "stage.yaml").write_text(yaml.safe_dump(spec))
    code = "import resource, sys; from pathlib import Path; from vpo.training.worker import main; "
    code += "code = main(Path(sys.argv[1])); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    command = [sys.executable, "-c", code, str(tmp_path / "stage.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    measured = int(done.stdout.split()[-1]) * 1024
    prefix = common_prefix([row.prompt for row in rows])
    query = sum(len(row.prompt) - prefix for row in rows) // len(rows)
    completion = sum(row.completion_tokens for row in rows) // (2 * len(rows))
    shape = DecoderShape.of(json.loads((start / "config.json").read_text()))
    guessed = estimate(shape, BatchShape(items, 2, prefix, query, completion, packing), trainer, None).peak
    assert guessed == pytest.approx(measured, rel=0.3), (
        f"estimated {guessed / 1e9:.2f} GB, measured {measured / 1e9:.2f} GB"
    )
