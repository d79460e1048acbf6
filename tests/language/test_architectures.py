"""Models of many kinds, tiny and random: checked at the start, loaded, sampled from, and trained beside an adapter."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.chat_models import llama3_tokenizer
from tests.language.folders import edit_weights, prepare, without
from tests.training_jobs import LORA, job, train_here
from vpo.backbone.hf import HFBackbone
from vpo.errors import UserError
from vpo.language.checkpoints.limits import Limits
from vpo.language.checkpoints.loading import load_pretrained
from vpo.records import Sampling
from vpo.training.lora import add_adapter
from vpo.training.policy_folder import PolicyWriter

PLAIN = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}  # fmt: skip
HEADS = {"head_dim": 8}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LINEAR = {"linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
SCAN = {"hidden_size": 32, "state_size": 4, "num_hidden_layers": 2}
KINDS = {
    "gpt2": GPT2,
    "opt": {**PLAIN, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "falcon": PLAIN,
    "gpt_neox": PLAIN,
    "phi3": PLAIN,
    "llama": PLAIN,
    "qwen3": PLAIN | HEADS,
    "gemma2": PLAIN | HEADS,
    "gemma3_text": PLAIN | HEADS,
    "mistral": PLAIN,
    "mixtral": PLAIN | {"num_local_experts": 4},
    "qwen3_moe": PLAIN | HEADS | EXPERTS,
    "olmo2": PLAIN,
    "gpt_oss": PLAIN | HEADS | {"num_local_experts": 4, "max_position_embeddings": 131072},
    "smollm3": PLAIN,
    "qwen3_next": PLAIN | {"num_hidden_layers": 4} | HEADS | EXPERTS | LINEAR | {"shared_expert_intermediate_size": 16},
    "mamba": SCAN,
    "mamba2": SCAN | {"num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8},
    "falcon_mamba": SCAN,
    "rwkv": {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32, "context_length": 512},
}
UNBOUNDED = ("bloom", "mamba", "mamba2", "falcon_mamba")
RECURRENT = ("mamba", "mamba2", "falcon_mamba", "rwkv")
SAMPLED = Sampling(temperature=0.9, top_p=0.9, max_new_tokens=3)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def model(kind, tmp_path):
    return save(kind, tmp_path / "model")


def save(kind, folder):
    tokenizer = llama3_tokenizer()
    ids = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 4, "pad_token_id": 1}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **ids | KINDS[kind])).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_model_is_checked_loaded_and_sampled_from(kind, model):
    """A sample does not depend on its neighbours, whose prompts have other lengths."""
    start = prepare(model)
    assert (Limits.read(start).positions is None) == (kind in UNBOUNDED)
    loaded = HFBackbone(str(model), None, "optimizer", True, "float32", "cpu").load(start)
    requests = [
        loaded.request(query, SAMPLED, seed)
        for seed, query in enumerate(("a dog", "two cats that run over a wide field"))
    ]
    together = loaded.engine.generate(requests)
    assert together == [loaded.engine.generate([one])[0] for one in requests]
    assert all(1 <= one.usage.tokens_out <= 3 for one in together)


def test_a_layer_that_is_missing_is_found(model):
    edit_weights(model, without(".1."))
    with pytest.raises(UserError, match="weights are missing from its files"):
        prepare(model)


@pytest.mark.slow
def test_an_adapter_on_all_linear_layers_comes_back_merged(kind, model, tmp_path):
    start = prepare(model)
    base, tokenizer = load_pretrained(start, torch.float32)
    adapted = add_adapter(base, LORA)
    torch.manual_seed(1)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    PolicyWriter(adapted, tokenizer, "{}", start, None).write(tmp_path / "policy")
    merged, _ = load_pretrained(tmp_path / "policy", torch.float32)
    ids = torch.arange(12)[None]
    with torch.no_grad():
        found, expected = (one.eval()(input_ids=ids, use_cache=False).logits for one in (merged, adapted))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    prepare(tmp_path / "policy")  # as a model of its own, its files pass the check


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])
def test_a_model_of_any_kind_is_trained(model, tmp_path, adapter):
    start = prepare(model)
    assert train_here(job(tmp_path / "sft", start, recipe={"max_steps": 2, "prompts": 1, "adapter": adapter})) == 0
    load_pretrained(tmp_path / "sft/policy", torch.float32)


@pytest.mark.parametrize("kind", ["mamba"])
def test_a_model_without_attention_is_trained_and_measured_but_for_mfu(kind, tmp_path):
    start = prepare(save(kind, tmp_path / "model"))
    trainer = {"peak_tflops": 1.0}
    assert train_here(job(tmp_path / "sft", start, recipe={"max_steps": 3, "prompts": 1}, trainer=trainer)) == 0
    told = (tmp_path / "sft/training.jsonl").read_text()
    assert "train/tokens_per_second" in told
    assert "train/mfu" not in told
    assert (tmp_path / "sft/prompts.jsonl").read_text().count("\n") == 2  # before the first update, and after the last


@pytest.mark.parametrize("kind", ["gpt_oss"])
def test_an_adapter_says_what_it_cannot_reach(kind, tmp_path, caplog):
    """In gpt_oss a layer's experts are two tensors of 4 x 32 x 128 and 4 x 64 x 32, its router one of 4 x 32."""
    base, _ = load_pretrained(save(kind, tmp_path / "model"), torch.float32)
    share = 100 * 2 * (4 * 32 * 128 + 4 * 64 * 32 + 4 * 32) / sum(one.numel() for one in base.parameters())
    with caplog.at_level("WARNING", logger="vpo"):
        add_adapter(base, LORA)
    assert caplog.messages == [
        "  the adapter is on k_proj, o_proj, q_proj, v_proj; experts.down_proj, experts.gate_up_proj, router.weight "
        f"({share:.0f} % of the weights) cannot have one and stay as they are"
    ]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral"])
def test_an_adapter_that_reaches_all_says_nothing(kind, tmp_path, caplog):
    """PEFT adapts Mixtral's stacked experts as well."""
    base, _ = load_pretrained(save(kind, tmp_path / "model"), torch.float32)
    with caplog.at_level("WARNING", logger="vpo"):
        adapted = add_adapter(base, LORA)
    assert not caplog.messages
    if kind == "mixtral":
        assert any("experts" in name for name, one in adapted.named_parameters() if one.requires_grad)


@pytest.mark.parametrize("kind", ["mamba", "falcon_mamba"])
def test_gradients_reach_every_adapter_of_a_mamba(kind, tmp_path, caplog):
    base, _ = load_pretrained(save(kind, tmp_path / "model"), torch.float32)
    with caplog.at_level("WARNING", logger="vpo"):
        adapted = add_adapter(base, LORA)
    adapted(input_ids=torch.arange(12)[None], use_cache=False).logits.logsumexp(-1).sum().backward()
    assert all(one.grad.abs().sum() > 0 for name, one in adapted.named_parameters() if "lora_B" in name)
    assert "the adapter is on in_proj, x_proj; dt_proj.weight, mixer.A_log, out_proj.weight" in caplog.text
