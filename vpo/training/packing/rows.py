"""Shared-prefix packing: one row holds the instruction once, each query once, and all completions as branches.

Every training row of prompt optimization begins with the same long instruction (about 170 tokens), then a short query,
then completions of about 120. A DPO pair that costs 640 tokens padded costs about 270 as part of a tree:

    template ─┬─ query 1 ─┬─ chosen 1
              │           └─ rejected 1
              └─ query 2 ─┬─ chosen 2
                          └─ rejected 2

The arithmetic stays the same: a token attends to its ancestors only (`vpo.training.packing.attention`) and its position is its
depth. Prefix sharing within a pair is known (arXiv 2410.20305); sharing the template over the whole row comes on top.

    reason = packing_problem(model)  # None, or why the padded path must do
    enable_packing(model)
    for tree in build_trees(prompts, completions, items_per_row=16):
        row = pack(tree).to(model.device)
        sums, counts = packed_logprobs(model, row)  # one entry a completion, in the order given
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vpo.training.logprobs import (
    CHUNK_ELEMENTS,
    SequenceLogprobs,
    completion_logprobs,
    decoder_of,
    head_of,
    head_problem,
    sum_by_group,
    token_logprobs,
    unwrap,
)
from vpo.training.packing.attention import (
    BLOCK,
    PADDING,
    QUERY,
    TEMPLATE,
    BranchGroup,
    TreeLayout,
    attention_problem,
    branch_mask,
    enable_packing,
)

Ids = Sequence[int]

# Branches of a batch of attention. Sorted by length, few a group means little padding; but a group has a fixed cost.
GROUP = 8


class Item(NamedTuple):
    """A query (what follows the template in its prompt) and its completions: one for SFT, two for a preference pair."""

    query: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]


class Tree(NamedTuple):
    """What one packed row holds: the shared template and the items below it."""

    prefix: tuple[int, ...]
    items: tuple[Item, ...]

    @property
    def tokens(self) -> int:
        """Tokens of the row, before padding."""
        return len(self.prefix) + sum(map(_size, self.items))


@dataclass(frozen=True)
class PackedRow:
    """A tree as tensors, with the M completion tokens to predict.

    The first token of a completion is predicted from the last token of its query, which all branches share. So targets
    are a list of (source, target, completion), not the row shifted by one.

    Attributes:
        input_ids: (1, N).
        position_ids: (1, N), the depth of each token.
        layout: For the attention function.
        sources: (M,), index in the row of the token that predicts.
        targets: (M,), the id to predict.
        owners: (M,), which completion the target belongs to, counted over the items in order.
        completions: Number of completions.
    """

    input_ids: Tensor
    position_ids: Tensor
    layout: TreeLayout
    sources: Tensor
    targets: Tensor
    owners: Tensor
    completions: int

    def to(self, device: torch.device | str) -> "PackedRow":
        """The row on a device."""
        names = ("input_ids", "position_ids", "layout", "sources", "targets", "owners")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def common_prefix(sequences: Sequence[Ids]) -> int:
    """Length of the longest common prefix of token sequences, 0 for none."""
    if not sequences:
        return 0
    # The least and the greatest sequence differ where any two do.
    ordered = [tuple(one) for one in sequences]
    least, greatest = min(ordered), max(ordered)
    return next((i for i, (a, b) in enumerate(zip(least, greatest, strict=False)) if a != b), len(least))


def build_trees(prompts: Sequence[Ids], completions: Sequence[Sequence[Ids]], *, items_per_row: int) -> list[Tree]:
    """Trees that hold all items in the order given; all are full but the last.

    The template is not given: it is what the prompts of a row have in common at their beginning.

    Args:
        prompts: Token ids of each rendered prompt (instruction, query, whatever the chat template adds), not empty.
        completions: For each prompt the token ids of its completions, each not empty.
        items_per_row: Most items in a row; 8 to 16 is best on CPU, more on a GPU with memory to spare.

    Returns:
        Trees whose items, joined, are the input in order.

    Raises:
        ValueError: If a prompt or a completion has no tokens (the first completion token would have no source).
    """
    rows = list(zip(prompts, completions, strict=True))
    if not all(prompt and branches and all(branches) for prompt, branches in rows):
        raise ValueError("packing needs a prompt of at least one token and completions of at least one token each")
    return [_tree(rows[start : start + items_per_row]) for start in range(0, len(rows), items_per_row)]


def _tree(rows: Sequence[tuple[Ids, Sequence[Ids]]]) -> Tree:
    """The tree of some (prompt, completions)."""
    prefix = common_prefix([tuple(prompt) for prompt, _ in rows])
    items = [Item(tuple(prompt[prefix:]), tuple(map(tuple, branches))) for prompt, branches in rows]
    return Tree(tuple(rows[0][0][:prefix]), tuple(items))


def _size(item: Item) -> int:
    """Tokens that an item adds to a row."""
    return len(item.query) + sum(map(len, item.completions))


def pack(tree: Tree, *, pad_to: int = 1, pad_id: int = 0) -> PackedRow:
    """A tree as one row of tensors.

    Args:
        tree: From `build_trees`.
        pad_to: The row is padded to a multiple of this: 1 on CPU, `attention.BLOCK` for a GPU.
        pad_id: Any id of the vocabulary; padding is seen by no token and predicts none.

    Returns:
        The row, on CPU.
    """
    depth = len(tree.prefix)
    ids, positions = list(tree.prefix), list(range(depth))
    items, branches = [TEMPLATE] * depth, [QUERY] * depth
    sources: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    paths: list[list[int]] = []  # of each completion: the row indices of its query and its own tokens

    def append(tokens: Ids, start: int, item: int, branch: int) -> list[int]:
        """Add a node whose first token has depth `start`; return its indices in the row."""
        here = list(range(len(ids), len(ids) + len(tokens)))
        ids.extend(tokens)
        positions.extend(range(start, start + len(tokens)))
        items.extend([item] * len(tokens))
        branches.extend([branch] * len(tokens))
        return here

    for number, item in enumerate(tree.items):
        query = append(item.query, depth, number, QUERY)
        for tokens in item.completions:
            owner = len(paths)
            path = append(tokens, depth + len(query), number, owner)
            sources += [query[-1] if query else depth - 1, *path[:-1]]
            targets += tokens
            owners += [owner] * len(tokens)
            paths.append(query + path)
    padding = -len(ids) % pad_to
    append([pad_id] * padding, 0, PADDING, QUERY)
    return PackedRow(
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        layout=_layout(depth, paths, items, branches),
        sources=torch.tensor(sources),
        targets=torch.tensor(targets),
        owners=torch.tensor(owners),
        completions=len(paths),
    )


def _layout(prefix: int, paths: Sequence[Sequence[int]], items: Sequence[int], branches: Sequence[int]) -> TreeLayout:
    """The layout of a row: branches by length, in groups, so that little of a group's batch is padding."""
    order = sorted(range(len(paths)), key=lambda one: len(paths[one]))
    groups: list[BranchGroup] = []
    query_index: list[int] = []
    key_index: list[int] = []
    outputs = [0] * (len(items) - prefix)  # padding reads the first slot: any finite value will do
    for start in range(0, len(order), GROUP):
        members = [paths[one] for one in order[start : start + GROUP]]
        width = len(members[-1])
        groups.append(BranchGroup(len(members), width, branch_mask(prefix, width)))
        for path in members:
            for slot, index in enumerate(path, start=len(query_index)):
                outputs[index - prefix] = slot  # the copies of a shared query token are equal: any will do
            filled = [*path, *[0] * (width - len(path))]
            query_index += filled
            key_index += [*range(prefix), *filled]
    return TreeLayout(
        prefix,
        tuple(groups),
        query_index=torch.tensor(query_index),
        key_index=torch.tensor(key_index),
        outputs=torch.tensor(outputs),
        item=torch.tensor(items),
        branch=torch.tensor(branches),
    )


def packed_logprobs(model: nn.Module, row: PackedRow, *, chunk_elements: int = CHUNK_ELEMENTS) -> SequenceLogprobs:
    """Sum and count of each completion's token log-probabilities, exactly those of the padded path.

    Args:
        model: A causal LM that passed `packing_problem` and `enable_packing`, PEFT-wrapped or not.
        row: On the model's device.
        chunk_elements: See `token_logprobs`.

    Returns:
        (C,) each, C completions in the order of the tree's items.
    """
    hidden = decoder_of(model)(
        input_ids=row.input_ids,
        position_ids=row.position_ids,
        # A mask of four dimensions is passed on as it is; without one transformers would build an N x N mask in vain.
        attention_mask=row.input_ids.new_ones(1, 1, 1, 1, dtype=torch.bool),
        use_cache=False,
        tree_layout=row.layout,
    ).last_hidden_state
    logps = token_logprobs(hidden[0, row.sources], row.targets, head_of(model), chunk_elements)
    return sum_by_group(logps, row.owners, row.completions)


def packing_problem(model: nn.Module, longest: int | None = None) -> str | None:
    """Why a model cannot take packed rows, or None if it can; call it before training and before any wrapping.

    The config is checked first; then a small tree is compared with the padded path, which finds everything
    else (layers that mix tokens without attention, positions that ignore `position_ids`, a head that is not linear).

    Args:
        model: A causal LM, PEFT-wrapped or not; left as it was.
        longest: Most tokens of prompt and completion together; a sliding window at least as long never acts.

    Returns:
        The reason in a few words, fit for "padded batches instead of packed ones: ...".
    """
    return attention_problem(model, longest) or head_problem(model) or _probe(model)


@torch.no_grad()
def _probe(model: nn.Module) -> str | None:
    """Compare packed with padded log-probabilities on a small tree of this very model."""
    inner = unwrap(model)
    embedding = inner.get_input_embeddings().weight
    vocabulary = inner.config.get_text_config().vocab_size
    ids = [(7 * i + i * i) % vocabulary for i in range(24)]
    prompts = [ids[:5] + ids[5:7], ids[:5] + ids[9:10]]
    completions = [[ids[10:14], ids[14:16]], [ids[16:21], ids[21:24]]]
    before, was_training = inner.config._attn_implementation, model.training
    model.eval()  # dropout would make any two passes differ
    try:
        padded = completion_logprobs(model, *(x.to(embedding.device) for x in pad_right(prompts, completions)))
        enable_packing(model)
        (tree,) = build_trees(prompts, completions, items_per_row=2)
        packed = packed_logprobs(model, pack(tree, pad_to=BLOCK).to(embedding.device))
    except (TypeError, ValueError, RuntimeError) as error:
        return f"{type(inner).__name__} fails on packed rows ({error})"
    finally:
        inner.set_attn_implementation(before)
        model.train(was_training)
    tolerance = 1e-4 if embedding.dtype == torch.float32 else 3e-2
    if torch.allclose(packed.sums, padded.sums, rtol=tolerance, atol=tolerance):
        return None
    return f"packed and padded log-probabilities of {type(inner).__name__} differ"


def pad_right(
    prompts: Sequence[Ids], completions: Sequence[Sequence[Ids]], pad_id: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """The same items as a padded batch, one sequence a completion: ids, attention mask, completion mask, (B, T)."""
    pairs = [(list(p), list(c)) for p, branches in zip(prompts, completions, strict=True) for c in branches]
    width = max(len(p) + len(c) for p, c in pairs)
    rest = [width - len(p) - len(c) for p, c in pairs]
    rows = list(zip(pairs, rest, strict=True))
    return (
        torch.tensor([p + c + [pad_id] * r for (p, c), r in rows]),
        torch.tensor([[1] * (len(p) + len(c)) + [0] * r for (p, c), r in rows]),
        torch.tensor([[0] * len(p) + [1] * len(c) + [0] * r for (p, c), r in rows]),
    )
