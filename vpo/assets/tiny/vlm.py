"""Vision-language models of the classes that the rewards know, with two layers and random weights.

Each folder is laid out as the hub's: config, safetensors, tokenizer, chat template, preprocessor's config. What they say about a clip
is noise; what they read of it, and where, is what the real ones read.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.utils.logging import disable_progress_bar

from vpo.storage.jsonio import write_json

# Words that are one token each, as in the real vocabularies: a checklist's answers, and what many of its questions are made of.
_WORDS = (
    "yes", "Yes", "YES", "no", "No", "NO", "Answer", "Are", "Does", "Is", "aesthetically", "any", "beautiful", "beginning", "camera",
    "clear", "colors", "completely", "composition", "content", "details", "dynamic", "flaws", "focus", "have", "harmful", "image",
    "issues", "letters", "lighting", "material", "meet", "motion", "movement", "object", "obvious", "physics", "pleasing", "quality",
    "realistic", "requirements", "rough", "shape", "smoothness", "stable", "stated", "static", "text", "the", "throughout",
    "unattractive", "video", "with",
)  # fmt: skip
_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_QWEN = (*_CHATML, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_INTERNVL = (*_CHATML, "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
_LLAVA = (*_CHATML, "<image>", "<video>")

_TURNS = """\
{%- for message in messages -%}
START
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'video' -%}{{ 'VIDEO' }}{%- elif part.type == 'image' -%}{{ 'IMAGE' }}{%- else -%}{{ TEXT }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ 'END' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""
_SYSTEM = (
    "{%- if loop.first and message.role != 'system' -%}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{%- endif -%}"
)
_TURN = "{{ '<|im_start|>' + message.role + '\\n' }}"
COLOURS = {
    "clip": ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]),
    "half": ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}
# Large enough for attention to matter: with transformers' 0.02 all answers of so small a model are alike.
_RANGE = 0.2
_LANGUAGE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 32768, "initializer_range": _RANGE,
}  # fmt: skip


def qwen2_5_vl(folder: Path) -> None:
    """Qwen2.5-VL: patches of 14 x 14 pixels and two frames, windows of attention, rotary positions of three axes."""
    tokenizer = _tokenizer(_QWEN, _qwen_chat(_SYSTEM))
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _QWEN_IDS.items()}
    config = Qwen2_5_VLConfig(
        text_config={
            **_LANGUAGE, "vocab_size": len(tokenizer), "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
            "bos_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"), "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 32,
            "fullatt_block_indexes": [1], "window_size": 56, "tokens_per_second": 2, "initializer_range": _RANGE,
        },
        **ids,
    )  # fmt: skip
    _save(folder, Qwen2_5_VLForConditionalGeneration, config, tokenizer)
    _save_preprocessor(folder, "clip", "Qwen2VLImageProcessor", patch_size=14, temporal_patch_size=2, merge_size=2)


def qwen3_vl(folder: Path) -> None:
    """Qwen3-VL: patches of 16 x 16 pixels, the time of each patch as text, features of several depths."""
    tokenizer = _tokenizer(_QWEN, _qwen_chat(""))
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _QWEN_IDS.items()}
    config = Qwen3VLConfig(
        text_config={
            **_LANGUAGE, "vocab_size": len(tokenizer), "head_dim": 8,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True},
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 32,
            "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1], "initializer_range": _RANGE,
        },
        **ids,
    )  # fmt: skip
    _save(folder, Qwen3VLForConditionalGeneration, config, tokenizer)
    _save_preprocessor(
        folder, "half", "Qwen3VLVideoProcessor", "video_preprocessor_config.json",
        patch_size=16, temporal_patch_size=2, merge_size=2,
    )  # fmt: skip


def internvl(folder: Path) -> None:
    """InternVL: each frame a picture of one size, announced by its number."""
    chat = _chat(_TURN, r"<video>\n", r"<IMG_CONTEXT>\n", "part.text", r"<|im_end|>\n")
    tokenizer = _tokenizer(_INTERNVL, chat)
    for name, token in (("start_image_token", "<img>"), ("end_image_token", "</img>"),
                        ("context_image_token", "<IMG_CONTEXT>"), ("video_token", "<video>")):  # fmt: skip
        tokenizer._set_model_specific_special_tokens({name: token})
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **_LANGUAGE, "vocab_size": len(tokenizer)},
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "image_size": [56, 56], "patch_size": [14, 14], "initializer_range": _RANGE,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )  # fmt: skip
    _save(folder, InternVLForConditionalGeneration, config, tokenizer)
    _save_preprocessor(folder, "imagenet", "GotOcr2ImageProcessor", size={"height": 56, "width": 56})


def llava_onevision(folder: Path) -> None:
    """LLaVA-OneVision: each frame a picture of one size, whose features are pooled to a quarter."""
    start = "{{ '<|im_start|>' + message.role + ' ' }}"
    chat = _chat(start, r"<video>\n", r"<image>\n", "'\\n' + part.text", "<|im_end|>")
    tokenizer = _tokenizer(_LLAVA, None)
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **_LANGUAGE, "vocab_size": len(tokenizer)},
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "image_size": 42, "patch_size": 14, "vision_use_head": False,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[[42, 42], [42, 84]],
    )  # fmt: skip
    _save(folder, LlavaOnevisionForConditionalGeneration, config, tokenizer)
    write_json(
        folder / "chat_template.json", {"chat_template": chat}
    )  # where the hub's folder has the one for pictures
    _save_preprocessor(
        folder,
        "half",
        "LlavaOnevisionVideoProcessor",
        "video_preprocessor_config.json",
        size={"height": 42, "width": 42},
    )


MODELS: dict[str, Callable[[Path], None]] = {
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "internvl": internvl,
    "llava_onevision": llava_onevision,
}

_QWEN_IDS = {
    "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>", "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}  # fmt: skip


def _qwen_chat(system: str) -> str:
    around = "<|vision_start|><|{}_pad|><|vision_end|>"
    return _chat(system + _TURN, around.format("video"), around.format("image"), "part.text", r"<|im_end|>\n")


def _chat(start: str, video: str, image: str, text: str, end: str) -> str:
    """A chat template of ChatML's kind for turns with videos and pictures."""
    whole = _TURNS.replace("START", start).replace("'VIDEO'", f"'{video}'").replace("'IMAGE'", f"'{image}'")
    return whole.replace("{{ TEXT }}", "{{ " + text + " }}").replace("'END'", f"'{end}'").replace("-%}\n", "-%}")


def _tokenizer(special: Sequence[str], chat: str | None) -> Qwen2Tokenizer:
    """Qwen2's byte-level tokenizer: a token a byte, and some words."""
    vocab = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []
    for word in (*_WORDS, *(f"Ġ{word}" for word in _WORDS)):
        known = word[1:] if word[0] == "Ġ" else ""
        parts = [("Ġ", known)] if known else [(word[:end], word[end]) for end in range(1, len(word))]
        merges += [one for one in parts if one not in merges]
        for left, right in parts:
            vocab.setdefault(left + right, len(vocab))
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=merges, eos_token="<|im_end|>")
    tokenizer.add_tokens(list(special), special_tokens=True)
    tokenizer.chat_template = chat
    return tokenizer


def _save(folder: Path, kind: type[PreTrainedModel], config: Any, tokenizer: Qwen2Tokenizer) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # there is nothing to wait for
    state = torch.get_rng_state()
    torch.manual_seed(0)
    try:
        kind(config).save_pretrained(folder)
    finally:
        torch.set_rng_state(state)
    tokenizer.save_pretrained(folder)


def _save_preprocessor(
    folder: Path, colours: str, kind: str, name: str = "preprocessor_config.json", **values: Any
) -> None:
    mean, std = COLOURS[colours]
    key = "video_processor_type" if name.startswith("video") else "image_processor_type"
    write_json(folder / name, {key: kind, "image_mean": mean, "image_std": std, **values}, indent=1)
