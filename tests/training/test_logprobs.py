"""Completion log-probabilities against the naive full-logits computation: values, gradients, layouts, wrappers."""

from functools import partial

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import CohereConfig, Gemma2Config, GraniteConfig, LlamaConfig, Qwen2Config

from tests import tiny_models
from vpo.training.logprobs import (
    Head,
    LogitForm,
    completion_logprobs,
    completion_token_logprobs,
    head_of,
    head_problem,
    token_logprobs,
)

build = partial(tiny_models.build, initializer_range=0.02)


def example(lengths=((3, 4), (5, 2), (2, 7)), pad=0):
    """Random prompts and completions of these lengths, right-padded by at least `pad`."""
    generator = torch.Generator().manual_seed(1)
    width = max(map(sum, lengths)) + pad
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    attention, completion = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(lengths):
        ids[row, : prompt + answer] = torch.randint(1, 97, (prompt + answer,), generator=generator)
        attention[row, : prompt + answer] = 1
        completion[row, prompt : prompt + answer] = 1
    return ids, attention, completion


def naive(model, ids, attention, completion):
    """log_softmax over all logits, one row at a time and without padding."""
    sums = []
    for row, length in enumerate(attention.sum(1).tolist()):
        logps = model(input_ids=ids[row : row + 1, :length]).logits[0, :-1].log_softmax(-1)
        picked = logps.gather(-1, ids[row, 1:length, None]).squeeze(-1)
        sums.append(picked[completion[row, 1:length].bool()].sum())
    return torch.stack(sums)


def gradients(model, value):
    model.zero_grad()
    value.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("pad", [0, 6])
@pytest.mark.parametrize("chunk_elements", [1, 97 * 4, 2**25])
@pytest.mark.parametrize(
    ("config", "options"),
    [
        (LlamaConfig, {}),
        (Qwen2Config, {"tie_word_embeddings": True}),
        (Gemma2Config, {"head_dim": 8, "final_logit_softcapping": 2.0, "attn_implementation": "eager"}),
        (CohereConfig, {"logit_scale": 0.3}),
        (GraniteConfig, {"logits_scaling": 3.0}),
    ],
)
def test_values_and_gradients_equal_the_naive_ones(config, options, chunk_elements, pad):
    model = build(config, **options)
    batch = example(pad=pad)
    expected = naive(model, *batch)
    result = completion_logprobs(model, *batch, chunk_elements=chunk_elements)
    torch.testing.assert_close(result.sums, expected, rtol=1e-5, atol=1e-5)
    assert result.counts.tolist() == [4, 2, 7]
    weights = torch.tensor([0.3, -1.0, 2.0])  # unequal, as the gradients of a DPO batch are
    one, other = gradients(model, (expected * weights).sum()), gradients(model, (result.sums * weights).sum())
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(other[name], one[name], rtol=1e-4, atol=1e-5, msg=name)


def test_own_logits_agree():
    model, batch = build(LlamaConfig), example()
    one, other = completion_logprobs(model, *batch), completion_logprobs(model, *batch, own_logits=True)
    torch.testing.assert_close(one.sums, other.sums)
    assert torch.equal(one.counts, other.counts)


def test_tokens_come_flat_with_their_rows():
    model, batch = build(LlamaConfig), example()
    logps, rows = completion_token_logprobs(model, *batch)
    assert rows.tolist() == [0] * 4 + [1] * 2 + [2] * 7
    assert logps.shape == rows.shape


def test_fused_function_has_right_gradients():
    """Against finite differences, with bias, scale, softcap and several chunks."""
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 7).double()
    hidden, targets = torch.randn(5, 3, dtype=torch.double, requires_grad=True), torch.randint(7, (5,))
    head = Head(module, 7, LogitForm(scale=0.5, softcap=1.5))
    assert head.is_plain_linear

    def naive_logprobs(hidden):
        logits = 1.5 * torch.tanh(module(hidden) * 0.5 / 1.5)
        return logits.log_softmax(-1)[torch.arange(5), targets]

    for chunk in (2, 5):
        weight = torch.randn(5, dtype=torch.double)
        one = torch.autograd.grad((naive_logprobs(hidden) * weight).sum(), [hidden, *module.parameters()])
        other = torch.autograd.grad(
            (token_logprobs(hidden, targets, head, 7 * chunk) * weight).sum(), [hidden, *module.parameters()]
        )
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)


def test_backward_may_run_twice():
    module = torch.nn.Linear(4, 9)
    value = token_logprobs(torch.randn(3, 4), torch.tensor([1, 2, 8]), Head(module, 9)).sum()
    value.backward(retain_graph=True)
    first = module.weight.grad.clone()
    value.backward()
    torch.testing.assert_close(module.weight.grad, 2 * first)


def test_bf16_log_softmax_is_in_fp32():
    torch.manual_seed(0)
    module = torch.nn.Linear(16, 1000).bfloat16()
    hidden, targets = torch.randn(6, 16).bfloat16(), torch.arange(6)
    expected = module(hidden).float().log_softmax(-1)[torch.arange(6), targets]
    result = token_logprobs(hidden, targets, Head(module, 1000))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected)


def test_autocast_gives_what_a_linear_layer_would():
    torch.manual_seed(0)
    module, hidden, targets = torch.nn.Linear(16, 50), torch.randn(6, 16), torch.arange(6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = token_logprobs(hidden, targets, Head(module, 50))
        expected = module(hidden).float().log_softmax(-1)[torch.arange(6), targets]
    torch.testing.assert_close(result, expected)
    result.sum().backward()
    assert module.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("lora", [{"target_modules": ["q_proj", "v_proj"]},
                                  {"target_modules": ["q_proj", "lm_head"]},
                                  {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}])  # fmt: skip
def test_peft_wrapped_models(lora):
    """Adapters must act, in the decoder and in the head, and get their gradients."""
    torch.manual_seed(0)
    model = get_peft_model(build(LlamaConfig), LoraConfig(r=2, task_type="CAUSAL_LM", init_lora_weights=False, **lora))
    model.eval()
    batch = example()
    expected, result = naive(model, *batch), completion_logprobs(model, *batch).sums
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    one, other = gradients(model, expected.sum()), gradients(model, result.sum())
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(other[name], one[name], rtol=1e-4, atol=1e-5, msg=name)
    with model.disable_adapter():
        assert not torch.allclose(completion_logprobs(model, *batch).sums, result)


def test_gradient_checkpointing():
    model, batch = build(LlamaConfig), example()
    one = gradients(model, completion_logprobs(model, *batch).sums.sum())
    model.gradient_checkpointing_enable({"use_reentrant": False})
    other = gradients(model.train(), completion_logprobs(model, *batch).sums.sum())
    for name in one:
        torch.testing.assert_close(other[name], one[name])


def test_row_without_completion_has_sum_zero():
    model = build(LlamaConfig)
    ids, attention, completion = example()
    completion[1] = 0
    result = completion_logprobs(model, ids, attention, completion)
    assert result.sums[1] == 0
    assert result.counts.tolist() == [4, 0, 7]
    empty = completion_logprobs(model, ids, attention, torch.zeros_like(completion))
    assert empty.sums.tolist() == [0, 0, 0]
    empty.sums.sum().backward()  # a rank without completion tokens still has a graph
    assert all(p.grad is not None for name, p in model.named_parameters() if "layers" in name)


def test_head_problem_finds_what_a_head_cannot_express():
    assert head_problem(build(LlamaConfig)) is None
    assert head_problem(build(CohereConfig, logit_scale=0.3)) is None
    assert head_problem(build(GraniteConfig, logits_scaling=3.0)) is None
    model = build(LlamaConfig)
    model.config.final_logit_softcapping = 0.05  # the config claims what the model does not do
    assert "linear head" in head_problem(model)
    assert head_of(model).form.softcap == 0.05
