"""Packed rows against the padded path: layout, log-probabilities, gradients, and the models that cannot take them."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Gemma2Config, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

from tests.tiny_models import assert_gradients_equal, build, gradients, one_by_one, packed, rows
from vpo.training.logprobs import completion_logprobs
from vpo.training.losses import PairObjective, dpo_loss
from vpo.training.packing import rows as packing
from vpo.training.packing.attention import BLOCK, dense_mask, enable_packing
from vpo.training.packing.rows import build_trees, common_prefix, pack, packed_logprobs, packing_problem, pad_right

MODELS = [
    (LlamaConfig, {}),
    (LlamaConfig, {"num_key_value_heads": 4}),
    (Qwen2Config, {"tie_word_embeddings": True}),
    (MistralConfig, {"sliding_window": None}),
]


def test_common_prefix():
    assert common_prefix([]) == 0
    assert common_prefix([[1, 2, 3]]) == 3
    assert common_prefix([[1, 2, 3], [1, 2], [1, 2, 4]]) == 2
    assert common_prefix([[1], [2]]) == 0


def test_plant_finds_the_template_and_keeps_the_order():
    prompts = [[1, 2, 3, 9], [1, 2, 4, 9], [1, 2, 5]]
    completions = [[[10], [11]], [[12]], [[13, 14]]]
    (tree,) = build_trees(prompts, completions, items_per_row=8)
    assert tree.prefix == (1, 2)
    assert [item.query for item in tree.items] == [(3, 9), (4, 9), (5,)]
    assert [item.completions for item in tree.items] == [((10,), (11,)), ((12,),), ((13, 14),)]
    assert tree.tokens == 2 + (2 + 2) + (2 + 1) + (1 + 2) == 12
    assert [len(tree.items) for tree in build_trees(prompts, completions, items_per_row=2)] == [2, 1]
    assert build_trees([], [], items_per_row=8) == []


@pytest.mark.parametrize(("prompt", "branches"), [([], [[1]]), ([1], []), ([1], [[]])])
def test_plant_refuses_what_has_no_source_or_target(prompt, branches):
    with pytest.raises(ValueError, match="at least one token"):
        build_trees([prompt], [branches], items_per_row=1)


def test_pack_by_hand():
    """Template 1 2; query 3 with completions 5 6 and 7; query 4 with completion 8."""
    (tree,) = build_trees([[1, 2, 3], [1, 2, 4]], [[[5, 6], [7]], [[8]]], items_per_row=2)
    row = pack(tree, pad_to=10)
    assert row.input_ids.tolist() == [[1, 2, 3, 5, 6, 7, 4, 8, 0, 0]]
    assert row.position_ids.tolist() == [[0, 1, 2, 3, 4, 3, 2, 3, 0, 1]]
    # The first token of both completions of query 3 is predicted from the query's token, at index 2.
    assert row.sources.tolist() == [2, 3, 2, 6]
    assert row.targets.tolist() == [5, 6, 7, 8]
    assert row.owners.tolist() == [0, 0, 1, 2]
    visible = [
        "1.........",
        "11........",
        "111.......",
        "1111......",
        "11111.....",
        "111..1....",  # the second completion does not see the first
        "11....1...",  # the second query sees the template only
        "11....11..",
        "11......1.",  # padding is seen by padding only
        "11......11",
    ]
    mask = dense_mask(row.layout.item, row.layout.branch)[0, 0]
    assert ["".join("1" if one else "." for one in line) for line in mask] == visible


@pytest.mark.parametrize("branches", [1, 2])
@pytest.mark.parametrize("items_per_row", [1, 4, 16])
@pytest.mark.parametrize(("config", "options"), MODELS)
def test_packed_equals_one_by_one(config, options, items_per_row, branches):
    """Log-probabilities to 1e-5 and the gradients of all parameters to 1e-4, relative, in fp32."""
    model, data = build(config, **options), rows(13, branches)
    expected = one_by_one(model, *data)
    weights = torch.linspace(-1, 2, expected.numel())  # unequal and of both signs, as in a DPO batch
    one = gradients(model, (expected * weights).sum())
    padded = completion_logprobs(model, *pad_right(*data)).sums
    enable_packing(model)
    result = packed(model, *data, items_per_row=items_per_row)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(result, padded, rtol=1e-5, atol=0)
    assert_gradients_equal(one, gradients(model, (result * weights).sum()))


@pytest.mark.parametrize(
    ("prompts", "completions"),
    [
        ([[5, 6, 7]], [[[8, 9]]]),  # one item: its whole prompt is the template, its query is empty
        ([[5, 6], [5, 6, 7]], [[[8, 9], [8, 9, 3]], [[1], [2]]]),  # one prompt is the beginning of another
        ([[5, 6], [5, 6]], [[[8, 9]], [[8, 9]]]),  # the same item twice
        ([[5, 6], [7, 6]], [[[8, 9]], [[8, 9]]]),  # nothing in common
    ],
)
def test_degenerate_trees(prompts, completions):
    model = build()
    expected = one_by_one(model, prompts, completions)
    enable_packing(model)
    torch.testing.assert_close(packed(model, prompts, completions), expected, rtol=1e-5, atol=0)


def test_counts_are_completion_tokens():
    prompts, completions = rows(5)
    model = build()
    enable_packing(model)
    (tree,) = build_trees(prompts, completions, items_per_row=8)
    assert packed_logprobs(model, pack(tree)).counts.tolist() == [len(ids) for both in completions for ids in both]


def test_row_padding_changes_nothing():
    model, data = build(), rows(5)
    enable_packing(model)
    (tree,) = build_trees(*data, items_per_row=8)
    plain, padded = (packed_logprobs(model, pack(tree, pad_to=n, pad_id=96)).sums for n in (1, BLOCK))
    torch.testing.assert_close(plain, padded, rtol=1e-5, atol=0)
    torch.testing.assert_close(*(gradients(model, packed_logprobs(model, pack(tree, pad_to=n)).sums.sum())
                                 for n in (1, BLOCK)), rtol=1e-4, atol=1e-5)  # fmt: skip


def test_ordinary_calls_stay_as_they_were():
    """Sampling and evaluation with a packing-enabled model: padded batches and generation through the cache."""
    model, data = build(), rows(4)
    ids, attention_mask, completion = pad_right(*data)
    before = completion_logprobs(model, ids, attention_mask, completion).sums
    text = model.generate(ids[:1, :8], max_new_tokens=6, do_sample=False, pad_token_id=0)
    enable_packing(model)
    assert torch.equal(completion_logprobs(model, ids, attention_mask, completion).sums, before)
    assert torch.equal(model.generate(ids[:1, :8], max_new_tokens=6, do_sample=False, pad_token_id=0), text)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing(use_reentrant):
    """Layers run again in backward, outside any context: the layout must reach them there too."""
    model, data = build(), rows(6)
    enable_packing(model)
    one = gradients(model, packed(model, *data).sum())
    model.train().gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    calls = []
    handle = model.model.layers[0].self_attn.register_forward_pre_hook(lambda *_: calls.append(1))
    other = gradients(model, packed(model, *data).sum())
    handle.remove()
    assert len(calls) == 2
    assert_gradients_equal(one, other, 1e-6)


def test_lora():
    """Adapters act in packed rows, get their gradients, and can be switched off for the reference."""
    data, base = rows(6), build()
    torch.manual_seed(1)
    config = LoraConfig(r=4, task_type="CAUSAL_LM", init_lora_weights=False, target_modules="all-linear")
    plain = one_by_one(base, *data)
    model = get_peft_model(base, config).eval()
    expected = one_by_one(model, *data)
    one = gradients(model, expected.sum())
    assert packing_problem(model) is None
    enable_packing(model)
    result = packed(model, *data)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=0)
    assert_gradients_equal(one, gradients(model, result.sum()))
    with model.disable_adapter():
        torch.testing.assert_close(packed(model, *data), plain, rtol=1e-5, atol=0)


@pytest.mark.parametrize("lora", [False, True])
def test_step_0_loss_is_ln_2(lora):
    """The policy packed, the reference padded and computed before: the difference is rounding only."""
    model, data = build(), rows(8)
    with torch.no_grad():
        reference = completion_logprobs(model, *pad_right(*data)).sums.view(-1, 2).T
    if lora:  # a fresh adapter changes nothing
        model = get_peft_model(model, LoraConfig(r=4, task_type="CAUSAL_LM", target_modules="all-linear"))
    enable_packing(model)
    chosen, rejected = packed(model, *data).view(-1, 2).T
    losses = dpo_loss(chosen, rejected, *reference, PairObjective(beta=0.1)).losses
    torch.testing.assert_close(losses, torch.full_like(losses, 0.6931472), rtol=0, atol=1e-5)


def test_packing_problem():
    assert packing_problem(build()) is None
    assert packing_problem(build(GPT2Config, attn_pdrop=0.0)) is None  # learned positions follow position_ids
    assert "attn_pdrop" in packing_problem(build(GPT2Config))
    assert "attention_dropout" in packing_problem(build(attention_dropout=0.1))
    assert "attention function" in packing_problem(build(Gemma2Config, head_dim=8, attn_implementation="eager"))
    mistral = build(MistralConfig, sliding_window=64)
    assert "window of 64 tokens" in packing_problem(mistral)
    assert "window of 64 tokens" in packing_problem(mistral, longest=65)
    assert packing_problem(mistral, longest=64) is None
    assert packing_problem(build(Qwen2Config, sliding_window=64, use_sliding_window=False)) is None


def test_packing_problem_leaves_the_model_as_it_was():
    model = build().train()
    assert packing_problem(model) is None
    assert model.training
    assert model.config._attn_implementation == "sdpa"


def test_packing_problem_compares_numbers(monkeypatch):
    """A model whose layers lose the layout, or a wrong mask, is found by comparison with the padded path."""
    model = build(initializer_range=0.02)
    monkeypatch.setattr(packing, "branch_mask", lambda p, w: torch.ones(1, 1, w, p + w, dtype=torch.bool))
    assert "differ" in packing_problem(model)
