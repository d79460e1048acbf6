"""A Llama of about one million parameters, made from nothing: the backbone of the sketch world."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from vpo.errors import UserError
from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.loading import load_pretrained
from vpo.language.hf import HFEngine
from vpo.language.policy import TrainedPolicy
from vpo.templates import read_template


class TinyBackbone:
    """Random weights and a byte-level BPE trained on the world's text; any string can be encoded.

    Args:
        corpus: texts on which the tokenizer is trained.
        seed: of the initial weights.
        initializer_range: standard deviation of the initial weights; at transformers' default 0.02 a model this small
            never learns to copy words from the query.
        template: name of the file in `vpo/templates` that renders a query.
        rope_theta: base of the rotary positions' wavelengths; 10,000 is transformers' default.
        dtype: torch dtype by name for sampling.
    """

    def __init__(
        self,
        corpus: Sequence[str],
        seed: int,
        vocab_size: int,
        hidden_size: int,
        intermediate_size: int,
        layers: int,
        heads: int,
        initializer_range: float,
        max_positions: int,
        template: str,
        rope_theta: float = 10_000.0,
        dtype: str = "float32",
    ) -> None:
        if hidden_size % (2 * heads):  # rotary positions turn pairs of a head's dimensions
            raise UserError(
                f"config: backbone.hidden_size={hidden_size} must be a multiple of 2 * backbone.heads = {2 * heads}, such as "
                f"{2 * heads * max(1, round(hidden_size / (2 * heads)))}"
            )
        self.corpus, self.seed, self.vocab_size, self.template = corpus, seed, vocab_size, template
        self.dtype = dtype
        self.shape: dict[str, Any] = {
            "hidden_size": hidden_size,
            "intermediate_size": intermediate_size,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "initializer_range": initializer_range,
            "max_position_embeddings": max_positions,
            "rope_parameters": {"rope_type": "default", "rope_theta": rope_theta},
        }

    def prepare(self, folder: Path) -> None:
        """Train the tokenizer, draw the weights, save both."""
        tokenizer = _train_tokenizer(self.corpus, self.vocab_size)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=True,
            **self.shape,
        )
        torch.manual_seed(self.seed)
        LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    def load(self, folder: Path) -> TrainedPolicy:
        model, tokenizer = load_pretrained(folder, getattr(torch, self.dtype))
        return TrainedPolicy(HFEngine(model.eval(), tokenizer), Renderer(tokenizer, read_template(self.template)))


def _train_tokenizer(corpus: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    special = ["<s>", "</s>", "<pad>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
