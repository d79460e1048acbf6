"""How many tokens of a prompt a pipeline's text encoder does not read, counted by the pipeline's own tokenizer.

What a pipeline does to a prompt before it tokenises it (cleaning, a template around it) is done here by its own functions.
"""

from collections.abc import Callable, Mapping
from typing import Any

# These pipelines have a limit of their own that no argument changes: diffusers 0.42.1, `_get_*_prompt_embeds`, `encode_prompt`.
FIXED = {"LattePipeline": 120}


def truncated_tokens(pipeline: Any, tokenizer: Any, text: str, limit: int, call: Mapping[str, Any]) -> int:
    """The number of a prompt's tokens that lie beyond the limit; tokens that the tokenizer adds have their place within it.

    Args:
        pipeline: of diffusers.
        tokenizer: the one of its tokenizers whose limit is meant.
        text: the prompt.
        limit: in tokens, with those that the tokenizer adds, without those that a template puts before the prompt.
        call: further arguments of the pipeline's call, of which some say how prompts are cleaned.
    """
    for kind in type(pipeline).__mro__:
        if kind.__name__ in _COUNTS:
            return _COUNTS[kind.__name__](pipeline, tokenizer, text, limit)
    if hasattr(pipeline, "_text_preprocessing"):  # Latte's, and that of other pipelines after DeepFloyd's
        (text,) = pipeline._text_preprocessing(text, clean_caption=bool(call.get("clean_caption", True)))
    return max(0, _length(tokenizer, text) - limit)


def _length(tokenizer: Any, text: str, *, special: bool = True) -> int:
    return len(tokenizer(text, add_special_tokens=special, truncation=False, verbose=False).input_ids)


def _wan(pipeline: Any, tokenizer: Any, text: str, limit: int) -> int:
    from diffusers.pipelines.wan.pipeline_wan import prompt_clean

    return max(0, _length(tokenizer, prompt_clean(text)) - limit)


def _ltx2(pipeline: Any, tokenizer: Any, text: str, limit: int) -> int:
    return max(0, _length(tokenizer, text.strip()) - limit)


def _hunyuan(pipeline: Any, tokenizer: Any, text: str, limit: int) -> int:
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE

    template = DEFAULT_PROMPT_TEMPLATE["template"]
    behind = _length(tokenizer, template.split("{}")[1], special=False)  # what is cut first is no part of the prompt
    whole = _length(tokenizer, template.format(text))
    return max(0, whole - DEFAULT_PROMPT_TEMPLATE["crop_start"] - limit - behind)


def _hunyuan15(pipeline: Any, tokenizer: Any, text: str, limit: int) -> int:
    if not text.strip():
        return 0
    turns = [{"role": "system", "content": pipeline.system_message}, {"role": "user", "content": text}]
    whole = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    before, _, behind = whole.rpartition(text.strip())
    if not before:
        behind = ""
    kept = limit + pipeline.prompt_template_encode_start_idx
    return max(0, _length(tokenizer, whole, special=False) - kept - _length(tokenizer, behind, special=False))


_COUNTS: dict[str, Callable[[Any, Any, str, int], int]] = {
    "WanPipeline": _wan,
    "LTX2Pipeline": _ltx2,
    "HunyuanVideoPipeline": _hunyuan,
    "HunyuanVideo15Pipeline": _hunyuan15,
}
