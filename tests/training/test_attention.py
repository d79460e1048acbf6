"""The tree attention against dense masks, block masks and PyTorch's own."""

from types import SimpleNamespace

import pytest
import torch
from torch._dynamo.utils import counters
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from tests.tiny_models import build, rows
from vpo.training.forward import Reader
from vpo.training.packing import attention
from vpo.training.packing.attention import BLOCK, dense_mask, tree_attention_forward
from vpo.training.packing.flex_probe import flex_problem
from vpo.training.packing.rows import build_trees, pack


@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize(("count", "branches", "template"), [(5, 2, 11), (9, 1, 11), (3, 3, 0), (1, 2, 11)])
def test_attention_equals_dense_oracle(count, branches, template, key_heads):
    """Values and gradients of query, key and value, for the CPU function and, forward, FlexAttention."""
    (tree,) = build_trees(*rows(count, branches, template), items_per_row=count)
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


def test_flex_attention_takes_one_dtype_under_autocast():
    """Rotary embedding of fp32 weights gives query and key in fp32, autocast the value in bf16; older PyTorch refuses that."""
    (tree,) = build_trees(*rows(5), items_per_row=5)
    layout = pack(tree, pad_to=BLOCK).layout
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, layout.item.numel(), 8) for heads in (4, 2, 2))
    real = layout.item != attention.PADDING
    exact = tree_attention_forward(None, query, key, value, None, tree_layout=layout)[0][:, real]
    seen = []

    def watched(query, key, value, **options):
        seen.append({query.dtype, key.dtype, value.dtype})
        return flex_attention(query, key, value, **options)

    with torch.autocast("cpu", torch.bfloat16), pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "flex_attention", watched)
        states = (query, key, value.bfloat16())
        found = tree_attention_forward(None, *states, None, tree_layout=layout.with_block_mask())[0][:, real]
        usual = tree_attention_forward(None, *states, None, tree_layout=layout)[0][:, real]
    assert seen == [{torch.bfloat16}]
    assert found.dtype == usual.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(found.float(), usual.float(), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_the_kernel_is_tried_where_it_will_train(precision, monkeypatch):
    """The function that a GPU's worker calls, on a CPU: right as it is, found out with a mask that is merely causal."""
    model = build()
    assert flex_problem(model, "cpu", precision) is None
    monkeypatch.setattr(attention, "_visible", lambda item, branch, q, kv: kv <= q)
    assert flex_problem(model, "cpu", precision) == "FlexAttention on cpu differs from PyTorch's own attention"


def test_a_device_where_the_kernel_fails_reads_padded_batches(caplog):
    """Here for want of such a GPU; a kernel that does not compile ends the same way."""
    reader = Reader.of(build(), packing=True, longest=64, device="cuda:99", precision="bf16-mixed")
    assert not reader.packing
    assert "padded batches instead of packed ones: FlexAttention fails on cuda:99 (" in caplog.text
    assert Reader.of(build(), packing=True, longest=64).packing


def test_block_mask_equals_pytorchs_own():
    (tree,) = build_trees(*rows(40), items_per_row=40)
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
        (tree,) = build_trees(*rows(count), items_per_row=count)
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
    (tree,) = build_trees(*rows(2), items_per_row=2)
    layout = pack(tree).layout
    x = torch.zeros(1, 2, layout.item.numel(), 4)
    for extra in ({"dropout": 0.1}, {"softcap": 30.0}):
        with pytest.raises(ValueError, match="padded path"):
            tree_attention_forward(SimpleNamespace(), x, x, x, None, tree_layout=layout, **extra)
