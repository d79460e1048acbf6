"""Whether the attention kernel of packed rows works on the device that will train, tested before training.

A model is compared with its padded path while it lies on the CPU (`vpo.training.packing.rows.packing_problem`), where packed rows
take another way than on a GPU. What is left to try on the GPU is FlexAttention itself: that it compiles there for this
model's heads and this precision, and that its values and gradients are right. The weights are not needed for that, so they are
not moved, and a model that fits only in pieces (FSDP) is tried like any other.
"""

from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from vpo.training.logprobs import unwrap
from vpo.training.packing.attention import BLOCK, PADDING, TreeLayout, tree_attention_forward
from vpo.training.packing.rows import build_trees, pack

TOLERANCE = 3e-2  # of the largest entry, which 16 bits keep; a wrong mask is off by more (a test)


def flex_problem(model: nn.Module, device: torch.device | str, precision: str) -> str | None:
    """Why FlexAttention cannot do on a device what training needs there, or None.

    It is compared with `_branch_attention`, which is made of PyTorch's own attention: forward, and backward where FlexAttention
    has one (on CPU it has none).

    Args:
        model: a causal language model, of which the config is read.
        device: that will train.
        precision: the trainer's; with 16 bits the kernel is tried under autocast, from mixed inputs as a model gives them.

    Returns:
        The reason in a few words, fit for "padded batches instead of packed ones: ...".
    """
    half = (torch.bfloat16 if precision.startswith("bf16") else torch.float16) if "16" in precision else None
    try:
        layout, states = _inputs(model, torch.device(device), half)
        with torch.autocast(states[0].device.type, dtype=half) if half else nullcontext():
            expected = _outcome(layout, states)
            found = _outcome(layout.with_block_mask(), states)
    except Exception as error:  # what torch.compile, Triton and the driver raise varies
        return f"FlexAttention fails on {device} ({' '.join(str(error).split())[:200]})"
    pairs = zip(found, expected, strict=True)
    if all((one - other).abs().max() <= TOLERANCE * other.abs().max() for one, other in pairs):
        return None
    return f"FlexAttention on {device} differs from PyTorch's own attention"


def _inputs(model: nn.Module, device: torch.device, half: torch.dtype | None) -> tuple[TreeLayout, list[Tensor]]:
    """A tree of several blocks without its block mask, and query, key and value of the model's heads for it.

    As after rotary embedding of fp32 weights under autocast, query and key are in fp32 and the value in 16 bits.
    """
    config = unwrap(model).config.get_text_config()
    heads = config.num_attention_heads
    keys = getattr(config, "num_key_value_heads", None) or heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    prompts = [[*range(40), 40 + number] for number in range(3)]
    (tree,) = build_trees(prompts, [[list(range(70)), list(range(50))] for _ in prompts], items_per_row=len(prompts))
    layout = pack(tree, pad_to=BLOCK).layout
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, count, layout.item.numel(), size) for count in (heads, keys, keys)]
    query, key, value = (torch.randn(shape, generator=generator).to(device) for shape in shapes)
    return replace(layout.to(device), block_mask=None), [query, key, value.to(half or value.dtype)]


def _outcome(layout: TreeLayout, states: list[Tensor]) -> list[Tensor]:
    """What attention makes of query, key and value: its values (1, tokens, H, D) and, but on CPU, their gradients, in fp32.

    Padding, whose values are any, is left out.
    """
    differentiable = states[0].device.type != "cpu"
    leaves = [one.detach().requires_grad_(differentiable) for one in states]
    query, key, value = leaves
    values = tree_attention_forward(nn.Module(), query, key, value, None, tree_layout=layout)[0]
    values = values[:, layout.item != PADDING].float()
    slopes = torch.autograd.grad(values.square().sum(), leaves) if differentiable else ()
    return [values.detach(), *(one.float() for one in slopes)]
