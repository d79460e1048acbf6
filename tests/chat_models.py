"""Small random models with chat formats, saved as the hub saves real ones."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    ByT5Tokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from vpo.templates import read_template

LLAMA3_SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
LLAMA3_CHAT = (
    "{{ bos_token }}"
    "{% for turn in messages %}"
    "<|start_header_id|>{{ turn.role }}<|end_header_id|>\n\n{{ turn.content | trim }}<|eot_id|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)

CHATML_CHAT = (
    "{% for turn in messages %}{{ '<|im_start|>' + turn.role + '\n' + turn.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA_CHAT = (
    "{{ bos_token }}"
    "{% for turn in messages %}"
    "{{ '<start_of_turn>' + ('model' if turn.role == 'assistant' else turn.role) + '\n' + turn.content | trim + '<end_of_turn>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
LLAMA2_CHAT = (
    "{{ bos_token }}"
    "{% for turn in messages %}"
    "{% if turn.role == 'user' %}{{ '[INST] ' + turn.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + turn.content + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)


def llama3_tokenizer(eos: str = "<|eot_id|>", chat: str | None = LLAMA3_CHAT, **named: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE with Llama 3's special tokens and, like its, a post-processor that puts BOS before plain text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=LLAMA3_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([read_template("optimizer")] * 2, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin_of_text|>", eos_token=eos, chat_template=chat, **named
    )


def chatml_tokenizer() -> PreTrainedTokenizerFast:
    """Qwen's way: byte-level BPE over composed characters, no BOS, and added tokens of which some are not special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([read_template("optimizer")] * 2, trainer)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<filename>"])
    tokenizer.add_tokens(["<tool_call>", "<think>", "</think>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML_CHAT
    )


def gemma_tokenizer() -> PreTrainedTokenizerFast:
    """Gemma's way: BPE over characters with byte fallback, a space is a letter of its own, runs of newlines are added tokens."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=list("▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789<>|_/[].,:!?'\"-\n"),
        show_progress=False,
    )
    tokenizer.train_from_iterator(read_template("optimizer").split(" "), trainer)
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = description["added_tokens"][: len(special)]  # bytes are ordinary tokens
    tokenizer = Tokenizer.from_str(json.dumps(description))
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ("\n\n", "\n\n\n", "<table>", "</table>")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>",
        chat_template=GEMMA_CHAT,
    )  # fmt: skip


def llama2_tokenizer() -> PreTrainedTokenizerFast:
    """Llama 2's way: as Gemma's, but a space is put before every text, and the marks of a turn are ordinary letters."""
    description = json.loads(gemma_tokenizer().backend_tokenizer.to_str())
    tokenizer = Tokenizer.from_str(json.dumps(description | {"pre_tokenizer": None}))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", chat_template=LLAMA2_CHAT
    )


def unigram_tokenizer() -> PreTrainedTokenizerFast:
    """SentencePiece's unigram model, whose vocabulary holds its control tokens and which would find them in any text.

    It puts a space before all text, and full-width signs become plain ones.
    """
    signs = list("▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789<>|_/[].,:!?'\"-")
    words = ["▁a", "▁dog", "▁cat", "INST", "User", "▁Query", "▁video", "ing"]
    vocabulary = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("<file>", 0.0)]
    vocabulary += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    vocabulary += [(text, -8.0) for text in signs] + [(text, -4.0) for text in words]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=["<file>"], chat_template=LLAMA2_CHAT,
    )  # fmt: skip


def slow_tokenizer() -> ByT5Tokenizer:
    """One of transformers' tokenizers in Python: bytes, and a hundred special tokens."""
    tokenizer = ByT5Tokenizer()
    tokenizer.chat_template = CHATML_CHAT.replace("<|im_start|>", "<extra_id_0>").replace("<|im_end|>", "</s>")
    return tokenizer


def save_llama(folder: Path, tokenizer: PreTrainedTokenizerFast, **shape: int) -> Path:
    """A tiny random Llama with this tokenizer, as `save_pretrained` leaves it."""
    given = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
    }  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**given | shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_reciter(folder: Path, parts: Sequence[str]) -> Path:
    """A Llama that says these parts, each of them a token, to whatever it is asked, and ends.

    Attention and feed-forward add nothing, so that a token's state is its own embedding, and the output layer names its successor:
    the next part after a part, the end of the turn after the last one, and the first part after any other token.
    """
    tokenizer = chatml_tokenizer()
    tokenizer.add_tokens([AddedToken(part, normalized=False) for part in parts])
    size = len(tokenizer) + len(tokenizer) % 2
    config = LlamaConfig(
        vocab_size=size, hidden_size=size, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1,
        max_position_embeddings=16384, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    said = [*tokenizer.convert_tokens_to_ids(list(parts)), tokenizer.eos_token_id]
    successor = torch.full((size,), said[0])
    successor[said[:-1]] = torch.tensor(said[1:])
    with torch.no_grad():
        for weights in (model.model.layers[0].self_attn.o_proj.weight, model.model.layers[0].mlp.down_proj.weight):
            weights.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.lm_head.weight.copy_(4 * torch.eye(size)[successor].T)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def edit_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def gpt2_tokenizer(texts: Sequence[str] = ()) -> GPT2Tokenizer:
    """GPT-2's way: byte-level BPE, one special token, no chat template."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    trained.train_from_iterator([read_template("optimizer"), *texts], trainer)
    content = json.loads(trained.to_str())["model"]
    return GPT2Tokenizer(vocab=content["vocab"], merges=[tuple(one) for one in content["merges"]])


def save_gpt2(folder: Path, tokenizer: GPT2Tokenizer, **shape: int) -> Path:
    """A tiny random GPT-2 with this tokenizer, as `save_pretrained` leaves it."""
    end = tokenizer.eos_token_id
    given = {
        "vocab_size": len(tokenizer),
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 256,
        "initializer_range": 0.3,
    }
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(**given | shape, bos_token_id=end, eos_token_id=end)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
