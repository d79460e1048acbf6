"""The tree attention against dense masks, block masks and PyTorch's own."""

from types import SimpleNamespace

import pytest
import torch
from torch._dynamo.utils import counters
from torch.nn.attention.flex_attention import create_block_mask

from tests.tiny_models import rows
from vpo.training import attention
from vpo.training.attention import BLOCK, dense_mask, tree_attention_forward
from vpo.training.packing import pack, plant


@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize(("count", "branches", "template"), [(5, 2, 11), (9, 1, 11), (3, 3, 0), (1, 2, 11)])
def test_attention_equals_dense_oracle(count, branches, template, key_heads):
    """Values and gradients of query, key and value, for the CPU function and, forward, FlexAttention."""
    (tree,) = plant(*rows(count, branches, template), items_per_row=count)
    layout = pack(tree, pad_to=BLOCK).layout
    torch.manual_seed(0)
    n = layout.item.numel()
    query, key, value = (torch.randn(1, heads, n, 8, requires_grad=True) for heads in (4, key_heads, key_heads))
    real = layout.item != attention.PADDING

    def dense(query, key, value):
        mask = dense_mask(layout.item, layout.branch)
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)
        return out.transpose(1, 2)[:, real]

    def tree_function(query, key, value):
        return tree_attention_forward(None, query, key, value, None, tree_layout=layout)[0][:, real]

    expected, result = dense(query, key, value), tree_function(query, key, value)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)
    weight = torch.randn_like(expected)
    one = torch.autograd.grad((expected * weight).sum(), (query, key, value))
    other = torch.autograd.grad((result * weight).sum(), (query, key, value))
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)
    layout = layout.with_block_mask()
    flex = tree_function(query.detach(), key.detach(), value.detach())  # no backward on CPU
    torch.testing.assert_close(flex, expected, rtol=1e-5, atol=1e-6)


def test_block_mask_equals_pytorchs_own():
    (tree,) = plant(*rows(40), items_per_row=40)
    layout = pack(tree, pad_to=BLOCK).layout
    mask = dense_mask(layout.item, layout.branch)[0, 0]
    n = mask.shape[0]
    assert n > 4 * BLOCK
    reference = create_block_mask(lambda b, h, q, kv: mask[q, kv], None, None, n, n, device="cpu", BLOCK_SIZE=BLOCK)
    assert torch.equal(attention.block_mask(layout.item, layout.branch).to_dense(), reference.to_dense())
    with pytest.raises(ValueError, match="multiple of 128"):
        attention.block_mask(layout.item[:-1], layout.branch[:-1])


@pytest.mark.slow
def test_compiled_flex_attention_forward():
    """The kernel that a GPU runs, as far as a CPU can, forward only: right, and compiled for two lengths it serves all.

    All rows are longer than a block: one block alone has a graph of its own.
    """
    lengths, graphs = [], []
    for count in (8, 40, 60, 20, 100):
        (tree,) = plant(*rows(count), items_per_row=count)
        layout = pack(tree, pad_to=BLOCK).layout.with_block_mask()
        query, key, value = (torch.randn(1, heads, layout.item.numel(), 16) for heads in (4, 2, 2))
        mask = dense_mask(layout.item, layout.branch)
        expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask, enable_gqa=True)
        with torch.no_grad():
            result = attention._compiled_flex()(query, key, value, block_mask=layout.block_mask, enable_gqa=True)
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
        lengths.append(layout.item.numel())
        graphs.append(counters["stats"]["unique_graphs"])
    assert len(set(lengths)) == 5
    assert min(lengths) > BLOCK
    assert graphs[0] > 0
    assert graphs[1:] == [graphs[1]] * 4


def test_packed_attention_refuses_what_it_cannot_do():
    (tree,) = plant(*rows(2), items_per_row=2)
    layout = pack(tree).layout
    x = torch.zeros(1, 2, layout.item.numel(), 4)
    for extra in ({"dropout": 0.1}, {"softcap": 30.0}):
        with pytest.raises(ValueError, match="padded path"):
            tree_attention_forward(SimpleNamespace(), x, x, x, None, tree_layout=layout, **extra)
