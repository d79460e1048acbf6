"""Packed rows against the padded path: layout, log-probabilities, gradients, and the models that cannot take them."""

from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.attention.flex_attention import create_block_mask
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

from vpo.training import attention, packing
from vpo.training.attention import BLOCK, dense_mask, enable_packing, tree_attention_forward
from vpo.training.logprobs import completion_logprobs
from vpo.training.losses import dpo_loss
from vpo.training.packing import common_prefix, pack, packed_logprobs, packing_problem, pad_right, plant

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
MODELS = [
    (LlamaConfig, {}),
    (LlamaConfig, {"num_key_value_heads": 4}),
    (Qwen2Config, {"tie_word_embeddings": True}),
    (MistralConfig, {"sliding_window": None}),
]


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


def packed(model, prompts, completions, items_per_row=16, **options):
    trees = plant(prompts, completions, items_per_row=items_per_row, **options)
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


def test_common_prefix():
    assert common_prefix([]) == 0
    assert common_prefix([[1, 2, 3]]) == 3
    assert common_prefix([[1, 2, 3], [1, 2], [1, 2, 4]]) == 2
    assert common_prefix([[1], [2]]) == 0


def test_plant_finds_the_template_and_keeps_the_order():
    prompts = [[1, 2, 3, 9], [1, 2, 4, 9], [1, 2, 5]]
    completions = [[[10], [11]], [[12]], [[13, 14]]]
    (tree,) = plant(prompts, completions, items_per_row=8)
    assert tree.prefix == (1, 2)
    assert [item.query for item in tree.items] == [(3, 9), (4, 9), (5,)]
    assert [item.completions for item in tree.items] == [((10,), (11,)), ((12,),), ((13, 14),)]
    assert tree.tokens == 2 + (2 + 2) + (2 + 1) + (1 + 2) == 12
    assert tree.padded_tokens == 5 + 5 + 5 + 5
    assert [len(tree.items) for tree in plant(prompts, completions, items_per_row=2)] == [2, 1]
    assert [len(tree.items) for tree in plant(prompts, completions, items_per_row=8, max_tokens=9)] == [2, 1]
    assert [len(tree.items) for tree in plant(prompts, completions, items_per_row=8, max_tokens=1)] == [1, 1, 1]
    assert plant([], [], items_per_row=8) == []


@pytest.mark.parametrize(("prompt", "branches"), [([], [[1]]), ([1], []), ([1], [[]])])
def test_plant_refuses_what_has_no_source_or_target(prompt, branches):
    with pytest.raises(ValueError, match="at least one token"):
        plant([prompt], [branches], items_per_row=1)


def test_pack_by_hand():
    """Template 1 2; query 3 with completions 5 6 and 7; query 4 with completion 8."""
    (tree,) = plant([[1, 2, 3], [1, 2, 4]], [[[5, 6], [7]], [[8]]], items_per_row=2)
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
    """The kernel that a GPU runs, as far as a CPU can: compiled once, rows of two lengths, forward only."""
    for count in (8, 40):
        (tree,) = plant(*rows(count), items_per_row=count)
        layout = pack(tree, pad_to=BLOCK).layout.with_block_mask()
        query, key, value = (torch.randn(1, heads, layout.item.numel(), 16) for heads in (4, 2, 2))
        mask = dense_mask(layout.item, layout.branch)
        expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask, enable_gqa=True)
        with torch.no_grad():
            result = attention._compiled_flex()(query, key, value, block_mask=layout.block_mask, enable_gqa=True)
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


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
    (tree,) = plant(prompts, completions, items_per_row=8)
    assert packed_logprobs(model, pack(tree)).counts.tolist() == [len(ids) for both in completions for ids in both]


def test_row_padding_changes_nothing():
    model, data = build(), rows(5)
    enable_packing(model)
    (tree,) = plant(*data, items_per_row=8)
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
    losses = dpo_loss(chosen, rejected, *reference, beta=0.1).losses
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


def test_packed_attention_refuses_what_it_cannot_do():
    (tree,) = plant(*rows(2), items_per_row=2)
    layout = pack(tree).layout
    x = torch.zeros(1, 2, layout.item.numel(), 4)
    for extra in ({"dropout": 0.1}, {"softcap": 30.0}):
        with pytest.raises(ValueError, match="padded path"):
            tree_attention_forward(SimpleNamespace(), x, x, x, None, tree_layout=layout, **extra)


# ---- TRL on the same batch -------------------------------------------------------------------------------------------

TEXTS = ["a cat runs over the wet grass at dawn, soft light", "two dogs play near the old red barn",
         "a slow pan over a misty lake", "neon city street in the rain, people with umbrellas walk by",
         "a bird", "waves break on black rocks, wide shot, cinematic"]  # fmt: skip
TEMPLATE = "You write prompts for a video model. Rewrite the query so that it is clear and rich in detail. Query: "


@pytest.fixture(scope="module")
def tokenizer():
    """A byte-level BPE of 300 tokens, trained here."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<pad>", "<eos>"], initial_alphabet=alphabet)
    bpe.train_from_iterator([*TEXTS, TEMPLATE], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="<eos>")


def unpad(ids, attention_mask, completion_mask):
    """Prompts and completions, as lists of ids, of a padded batch."""
    prompts, completions = [], []
    for line, seen, answer in zip(ids, attention_mask.bool(), completion_mask.bool(), strict=True):
        prompts.append(line[seen & ~answer].tolist())
        completions.append(line[seen & answer].tolist())
    return prompts, completions


def trl_arguments(folder):
    return {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 4,
        "save_strategy": "no",
        "disable_tqdm": True,
    }


@pytest.mark.parametrize(
    ("trl", "ours"),
    [
        ({"loss_type": ["sigmoid"]}, {"kind": "sigmoid"}),
        ({"loss_type": ["hinge"]}, {"kind": "hinge"}),
        ({"loss_type": ["ipo"]}, {"kind": "ipo"}),
        ({"loss_type": ["robust"], "label_smoothing": 0.1}, {"kind": "robust", "label_smoothing": 0.1}),
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7]}, {"kind": "sigmoid"}),
        # TRL's "sigmoid" has no label smoothing; "aot_unpaired" on a batch of one pair is the same formula.
        (
            {"loss_type": ["aot_unpaired"], "label_smoothing": 0.1, "per_device_train_batch_size": 1},
            {"kind": "sigmoid", "label_smoothing": 0.1},
        ),
    ],
    ids=["sigmoid", "hinge", "ipo", "robust", "sft-term", "label-smoothing"],
)
def test_dpo_agrees_with_trl(trl, ours, tokenizer, tmp_path):
    """Loss to 1e-4 and all gradients to 1e-4, relative, packed against `DPOTrainer` with a reference that differs."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    model, reference = build(vocab_size=300), build(vocab_size=300)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    pairs = Dataset.from_list(
        [{"prompt": TEMPLATE + q, "chosen": " " + c, "rejected": " " + r}
         for q, c, r in zip(TEXTS, TEXTS[1:] + TEXTS[:1], TEXTS[2:] + TEXTS[:2], strict=True)]
    )  # fmt: skip
    options = {**trl_arguments(tmp_path), "beta": 0.1, **trl}
    trainer = DPOTrainer(model, reference, DPOConfig(**options), train_dataset=pairs, processing_class=tokenizer)
    model.eval()
    batch = next(iter(trainer.get_train_dataloader()))
    expected = trainer.compute_loss(model, batch)
    one = gradients(model, expected)

    prompts, flat = unpad(batch["input_ids"], batch["attention_mask"], batch["completion_mask"])
    half = len(flat) // 2  # TRL's batch: all chosen, then all rejected
    completions = list(zip(flat[:half], flat[half:], strict=True))
    with torch.no_grad():
        ref = completion_logprobs(reference, *pad_right(prompts[:half], completions)).sums.view(-1, 2).T
    weight = trl["loss_weights"][1] if "sft" in trl["loss_type"] else 0.0
    enable_packing(model)
    (tree,) = plant(prompts[:half], completions, items_per_row=16)
    assert len(tree.prefix) > 20
    sums, counts = packed_logprobs(model, pack(tree))
    (chosen, rejected), (n_chosen, n_rejected) = sums.view(-1, 2).T, counts.view(-1, 2).T
    losses = dpo_loss(
        chosen, rejected, *ref, beta=0.1, chosen_lengths=n_chosen, rejected_lengths=n_rejected, **ours
    ).losses
    result = losses.mean() - weight * chosen.sum() / n_chosen.sum()
    assert result.item() == pytest.approx(expected.item(), rel=1e-4)
    assert_gradients_equal(one, gradients(model, result))


def test_sft_agrees_with_trl(tokenizer, tmp_path):
    """Packed rows against `SFTTrainer`: loss and gradients to 1e-4, relative."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model = build(vocab_size=300)
    data = Dataset.from_list(
        [{"prompt": TEMPLATE + q, "completion": " " + c}
         for q, c in zip(TEXTS, TEXTS[1:] + TEXTS[:1], strict=True)]
    )  # fmt: skip
    config = SFTConfig(**trl_arguments(tmp_path), completion_only_loss=True)
    trainer = SFTTrainer(model, config, train_dataset=data, processing_class=tokenizer)
    model.eval()
    batch = next(iter(trainer.get_train_dataloader()))
    expected = trainer.compute_loss(model, dict(batch))
    one = gradients(model, expected)

    prompts, completions = unpad(batch["input_ids"], batch["attention_mask"], batch["labels"] != -100)
    enable_packing(model)
    (tree,) = plant(prompts, [[ids] for ids in completions], items_per_row=16)
    sums, counts = packed_logprobs(model, pack(tree))
    result = -sums.sum() / counts.sum()
    assert result.item() == pytest.approx(expected.item(), rel=1e-4)
    assert_gradients_equal(one, gradients(model, result))
