"""From a chat of several turns to token ids, for prompts that no policy was trained on: judges', drafters', refiners'.

A chat of one user's turn gives the ids of `vpo.language.chat.rendering.Renderer`. As there, all that stands in a turn is text,
whatever it looks like.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vpo.language.chat.control_tokens import TextEncoder, encode_after
from vpo.records import Message


def message_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The ids that a model reads before it writes its turn.

    Args:
        tokenizer: a transformers tokenizer. One without a chat template reads the turns' texts with an empty line in between.
        messages: the turns.

    Raises:
        ValueError: The chat template refuses these turns, or leaves one out; a turn has images.
    """
    if any(one.images for one in messages):
        raise ValueError(
            "a turn has images, and a language model in this process reads text alone; ask a server: engine=server"
        )
    # Words that no chat template writes by itself, in the place of what the turns say. The space around a text stays outside: what
    # becomes of it is the template's affair.
    texts = {f"Qxzvj{place}x": one.content.strip() for place, one in enumerate(messages) if one.content.strip()}
    frame = _render(tokenizer, [_with_words(one, f"Qxzvj{place}x") for place, one in enumerate(messages)])
    parts = re.split(f"({'|'.join(texts)})", frame) if texts else [frame]
    missing = [text for word, text in texts.items() if word not in parts]
    if missing:
        raise ValueError(f"the chat template leaves out the turn {' '.join(missing[0].split())[:60]!r}")
    encoder = TextEncoder(tokenizer, frame if tokenizer.chat_template else "")
    whole = _tokenised(tokenizer, _render(tokenizer, messages))
    plain = not any(encoder.has_control_text(text) for text in texts.values())
    if plain and encoder.control_ids(whole) == encoder.control_ids(_tokenised(tokenizer, frame)):
        return whole
    return _joined(tokenizer, encoder, parts, texts)


def _joined(tokenizer: Any, encoder: TextEncoder, parts: Sequence[str], texts: Mapping[str, str]) -> list[int]:
    """The ids of the chat format and of the turns' texts, made apart. Every second part is a key of `texts`."""
    ids = _tokenised(tokenizer, parts[0])
    for part in parts[1:]:
        if part in texts:
            ids += encoder.encode(texts[part], after=bool(parts[0]))
        else:
            ids += encode_after(lambda text: tokenizer(text, add_special_tokens=False).input_ids, part)
    return ids


def _with_words(message: Message, words: str) -> Message:
    """The turn with other words, between the same space."""
    text = message.content.strip()
    return replace(message, content=message.content.replace(text, words, 1)) if text else message


def _render(tokenizer: Any, messages: Sequence[Message]) -> str:
    """The chat as text, up to where the model's turn begins."""
    if not tokenizer.chat_template:
        return "\n\n".join(one.content for one in messages)
    turns = [{"role": one.role, "content": one.content} for one in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a chat template is a program of the model's authors
        roles = ", ".join(one.role for one in messages)
        raise ValueError(
            f"the chat template fails on turns of {roles}: {' '.join(str(error).split())[:200]}"
        ) from error


def _tokenised(tokenizer: Any, text: str) -> list[int]:
    """The ids of a rendered chat; a chat template writes BOS itself."""
    return list(tokenizer(text, add_special_tokens=not tokenizer.chat_template).input_ids)
