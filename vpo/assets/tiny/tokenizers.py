"""Tokenizers of the true classes with a vocabulary of a few hundred entries, built offline.

Words that are frequent in prompts are one token; whatever else is spelt out. Most of what people type has the number of
characters of a word as its number of tokens, so that token limits are met sooner than by the true vocabularies.
"""

import string
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import CLIPTokenizer, GemmaTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer, T5Tokenizer

_FREQUENT = (
    "a an the and of in on at with by from to is are as over under through into across its his her their while slowly gently "
    "camera light video shot scene background colour red blue green white black cat dog bird woman man person car street city sea "
    "forest mountain sky sun snow rain night day close wide moves runs walks stands fox beach"
)
WORDS = tuple(_FREQUENT.split())
CHARACTERS = string.ascii_letters + string.digits + string.punctuation
# How Qwen2.5-VL's chat template writes a system's and a user's turn.
QWEN_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def t5(max_length: int) -> T5Tokenizer:
    """T5's: unigrams, `</s>` at the end; of UMT5, too."""
    pieces = [(f"▁{word}", -2.0) for word in WORDS] + [("▁", -4.0)] + [(one, -6.0) for one in CHARACTERS]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), *pieces]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=max_length)


def clip(max_length: int = 77) -> CLIPTokenizer:
    """CLIP's: bytes, with `</w>` at the end of a word; a start and an end token."""
    letters = _byte_letters()
    pieces = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab=_numbered(pieces), merges=[], model_max_length=max_length)


def llama(prefix: str, tokens: int) -> PreTrainedTokenizerFast:
    """Llama 3's: bytes, `<|begin_of_text|>` at the beginning.

    Args:
        prefix: what a pipeline's template writes before every prompt, and cuts off by a number of tokens.
        tokens: that number, `<|begin_of_text|>` included.
    """
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<pad>"]
    tokenizer = Tokenizer(models.BPE(vocab=_numbered([*specials, *_byte_letters()]), merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=specials[0], eos_token=specials[1], pad_token=specials[2],
        padding_side="right", model_max_length=2048,
    )  # fmt: skip
    made.add_tokens(_pieces_of(prefix, tokens - 1))
    return made


def qwen(prefix: str, tokens: int) -> Qwen2Tokenizer:
    """Qwen2.5's, with its chat template; `prefix` of a rendered chat has so many `tokens`."""
    pieces = [*_byte_letters(), "<|endoftext|>"]
    made = Qwen2Tokenizer(vocab=_numbered(pieces), merges=[], model_max_length=4096, padding_side="right")
    made.add_tokens(_pieces_of(prefix, tokens))
    made.chat_template = QWEN_CHAT
    return made


def gemma(max_length: int) -> GemmaTokenizer:
    """Gemma 3's, padded on the left."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *CHARACTERS]
    return GemmaTokenizer(vocab=_numbered(pieces), merges=[], model_max_length=max_length, padding_side="left")


def sentencepiece_model(path: Path) -> None:
    """Write T5's vocabulary as `spiece.model`, which is all that the hub's folders of CogVideoX hold of it."""
    from sentencepiece import sentencepiece_model_pb2

    made = sentencepiece_model_pb2.ModelProto()
    for text, score in t5(512)._vocab_scores:
        kind = {"<unk>": 2, "<pad>": 3, "</s>": 3}.get(text, 1)
        made.pieces.add(piece=text, score=score, type=kind)
    spec = made.trainer_spec
    spec.model_type, spec.pad_id, spec.eos_id, spec.unk_id, spec.bos_id = 1, 0, 1, 2, -1
    path.write_bytes(made.SerializeToString())


def _numbered(pieces: list[str]) -> dict[str, int]:
    return {piece: number for number, piece in enumerate(pieces)}


def _byte_letters() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _pieces_of(text: str, count: int) -> list[Any]:
    """A text cut into so many pieces, as tokens of their own."""
    cuts = [round(number * len(text) / count) for number in range(count + 1)]
    return [AddedToken(text[start:end], normalized=False) for start, end in pairwise(cuts)]
