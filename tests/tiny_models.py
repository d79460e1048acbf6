"""Tiny random models of true classes, and ways to read them that do without packing."""

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from vpo.training.packing.rows import build_trees, pack, packed_logprobs

TINY = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,  # large enough for attention to matter
    "attn_implementation": "sdpa",
}


def build(config=LlamaConfig, **options):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config(**{**TINY, **options})).eval()


def rows(count, branches=2, template=11, seed=0):
    """Prompts with a common template and ending, queries of 1 to 6 tokens, completions of 1 to 12."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high):
        length = int(torch.randint(low, high + 1, (), generator=generator))
        return torch.randint(1, 97, (length,), generator=generator).tolist()

    instruction, ending = draw(template, template), draw(2, 2)
    prompts = [[*instruction, 1 + i, *draw(0, 5), *ending] for i in range(count)]
    return prompts, [[draw(1, 12) for _ in range(branches)] for _ in range(count)]


def one_by_one(model, prompts, completions):
    """The unpadded, unpacked path: one sequence a forward pass, through the model's own logits."""
    sums = []
    for prompt, branches in zip(prompts, completions, strict=True):
        for ids in branches:
            logits = model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
            sums.append(logits.log_softmax(-1)[torch.arange(len(ids)), ids].sum())
    return torch.stack(sums)


def packed(model, prompts, completions, items_per_row=16):
    trees = build_trees(prompts, completions, items_per_row=items_per_row)
    return torch.cat([packed_logprobs(model, pack(tree)).sums for tree in trees])


def gradients(model, value):
    model.zero_grad()
    value.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_gradients_equal(one, other, tolerance=1e-4):
    """Relative to the largest entry of each parameter's gradient."""
    assert one.keys() == other.keys()
    for name in one:
        error = (one[name] - other[name]).abs().max() / one[name].abs().max().clamp(min=1e-12)
        assert error < tolerance, f"{name}: {error}"
