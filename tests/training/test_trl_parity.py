"""Losses and gradients against TRL's trainers on the same batch."""

import pytest
import pytorch_lightning as pl
import torch

from tests.tiny_models import assert_gradients_equal, build, gradients
from vpo.training.data import Collator, PlannedDataModule, PlannedLoader, TrainingRow
from vpo.training.forward import Reader
from vpo.training.logprobs import completion_logprobs
from vpo.training.losses import PairObjective, dpo_loss
from vpo.training.modules import DPOModule, SFTModule
from vpo.training.packing.attention import enable_packing
from vpo.training.packing.rows import build_trees, pack, packed_logprobs, pad_right
from vpo.training.plan import BatchPlan

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
    (tree,) = build_trees(prompts[:half], completions, items_per_row=16)
    assert len(tree.prefix) > 20
    sums, counts = packed_logprobs(model, pack(tree))
    (chosen, rejected), (n_chosen, n_rejected) = sums.view(-1, 2).T, counts.view(-1, 2).T
    objective = PairObjective(beta=0.1, sft_weight=weight, **ours)
    losses = dpo_loss(chosen, rejected, *ref, objective, lengths=(n_chosen, n_rejected)).losses
    result = losses.mean() - weight * chosen.sum() / n_chosen.sum()
    assert result.item() == pytest.approx(expected.item(), rel=1e-4)
    assert_gradients_equal(one, gradients(model, result))

    rows = [TrainingRow(str(i), tuple(p), tuple(map(tuple, c)), tuple(r.tolist()))
            for i, (p, c, r) in enumerate(zip(prompts[:half], completions, ref.T, strict=True))]  # fmt: skip
    loss = training_loss(DPOModule, model, rows, unit="rows", objective=objective)
    assert loss == pytest.approx(expected.item(), rel=1e-4)


def training_loss(kind, model, rows, unit, **settings):
    """What Lightning is given for a whole global batch in one piece, after the first step (where references may differ)."""
    data = PlannedDataModule(
        rows,
        [],
        plan=BatchPlan(global_batch_size=len(rows), per_device=len(rows), epochs=1),
        collator=Collator(pad_id=0, packing=True),
        unit=unit,
    )
    (batch,) = PlannedLoader(data, start=0)
    module = kind(Reader(model, packing=True, own_logits=False), {}, 2, **settings)
    module.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, barebones=True)
    module.trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = 1
    assert module.global_step == 1
    return module.training_step(batch, batch_index=1).item()


def test_sft_agrees_with_trl(tokenizer, tmp_path):
    """Packed rows against `SFTTrainer`: loss and gradients to 1e-4, relative, by hand and through the training step."""
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
    (tree,) = build_trees(prompts, [[ids] for ids in completions], items_per_row=16)
    sums, counts = packed_logprobs(model, pack(tree))
    result = -sums.sum() / counts.sum()
    assert result.item() == pytest.approx(expected.item(), rel=1e-4)
    assert_gradients_equal(one, gradients(model, result))

    rows = [
        TrainingRow(str(i), tuple(p), (tuple(c),)) for i, (p, c) in enumerate(zip(prompts, completions, strict=True))
    ]
    assert training_loss(SFTModule, model, rows, unit="tokens") == pytest.approx(expected.item(), rel=1e-4)
