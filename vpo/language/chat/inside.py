"""A chat template that holds the optimizer's instruction, so that any chat client sends the bare query.

`vpo export template=inside` writes one: a head of ours before the model's own chat template, which stays as it is. The head puts
every message of the user into the instruction, in the Jinja that transformers, vLLM, SGLang and llama.cpp share. Here, at home, the
head is taken off again wherever a tokenizer is read (`without_instruction`), because `vpo.language.chat.rendering.Renderer` puts the
query into the instruction itself; so nothing is wrapped twice. A message that is in the instruction already is wrapped once, too:
a client that did it by hand, as VPO's README says, gives the ids of one that did not (`bare`).

A plain client encodes a rendered chat as one string, in which no tokenizer can tell a user's `<|im_end|>` from the chat format's
own. So the head breaks the control tokens in a message by a space (`< |im_end|>`): they stay text, but their ids are not those of
`Renderer`, which keeps the text as it is. All other queries have the same ids both ways, but for those of which the tokenizer's
normaliser makes a control token (full-width signs under NFKC): a plain client reads it as one, and `Renderer` as text.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from vpo.storage.jsonio import dumps

MARK = "{#- vpo, template=inside"
BEGIN = (
    f"{MARK}: each message of the user is put into the instruction that this model was trained with. "
    "Send the bare query. -#}\n"
)
END = "{%- set messages = vpo_inside.messages %}\n"
PLAIN = "{#- The model has no chat format: it reads plain text. -#}\n"
FAMILY = re.compile(r"(.*\D)\d+\D{0,2}", re.DOTALL)  # <unused17>, <|reserved_special_token_3|>
FEW = 8  # numbered control tokens, above which their common beginning stands for them all


def with_instruction(own: str, instruction: str, control_texts: Sequence[str]) -> str:
    """A chat template that puts the user's messages into an instruction and then does what `own` does.

    Args:
        own: the model's chat template, Jinja.
        instruction: text with one slot `{}` for the query.
        control_texts: what must not stand in a user's message, such as `<|im_end|>`: it is broken by a space.
    """
    before, _, after = instruction.partition("{}")
    lines = [
        f"{{%- set vpo_before = {_literal(before)} -%}}",
        f"{{%- set vpo_after = {_literal(after)} -%}}",
        "{%- set vpo_inside = namespace(messages=[], text='', begin='', end='') -%}",
        "{%- for message in messages -%}",
        # vLLM gives the content as parts where a chat template goes through them, so the model's own gets texts of all roles.
        "{%- if message.content is defined and message.content is not none and message.content is not string -%}",
        "{%- set vpo_inside.text = '' -%}",
        "{%- for part in message.content -%}",
        "{%- if part.type != 'text' -%}{{ raise_exception('This model reads text only, not ' + part.type) }}{%- endif -%}",
        "{%- set vpo_inside.text = vpo_inside.text + ('' if loop.first else '\\n') + part.text -%}",
        "{%- endfor -%}",
        "{%- set message = {'role': message.role, 'content': vpo_inside.text} -%}",
        "{%- endif -%}",
        "{%- if message.role == 'user' -%}",
        "{%- set vpo_inside.text = message.content | trim -%}",
        *_taken_off(instruction),
        *(f"{{%- set vpo_inside.text = {_broken(texts)} -%}}" for texts in _chunks(families(control_texts), 16)),
        "{%- set message = {'role': 'user', 'content': vpo_before + vpo_inside.text + vpo_after} -%}",
        "{%- endif -%}",
        "{%- set vpo_inside.messages = vpo_inside.messages + [message] -%}",
        "{%- endfor -%}",
    ]
    return BEGIN + "\n".join(lines) + "\n" + END + own


def plain_chat_template(bos: str | None) -> str:
    """The chat template of a model that reads plain text: one message of the user, with BOS where its tokenizer puts it."""
    return (
        PLAIN
        + "{%- if messages | length != 1 or messages[0].role != 'user' -%}"
        + "{{ raise_exception('This model reads one message of the user, and no system message or earlier turns') }}"
        + "{%- endif -%}\n"
        + "{{- "
        + ("bos_token + " if bos else "")
        + "messages[0].content -}}"
    )


def has_instruction(chat_template: Any) -> bool:
    """Whether a tokenizer's chat template is one of `with_instruction`."""
    return isinstance(chat_template, str) and chat_template.startswith(MARK)


def own_part(chat_template: str) -> str | None:
    """The model's own chat template, whether or not the instruction is before it; None where it has none."""
    own = chat_template.partition(END)[2] if has_instruction(chat_template) else chat_template
    return None if own.startswith(PLAIN) else own


def without_instruction(tokenizer: Any) -> Any:
    """The tokenizer with the model's own chat template, or with none where it had none; changed in place."""
    if has_instruction(tokenizer.chat_template):
        tokenizer.chat_template = own_part(tokenizer.chat_template)
    return tokenizer


def bare(query: str, instruction: str) -> str:
    """The stripped query; taken out of the instruction where it is given in it."""
    query, (before, after) = query.strip(), _edges(instruction)
    is_wrapped = len(query) >= len(before) + len(after) and query.startswith(before) and query.endswith(after)
    return query[len(before) : len(query) - len(after)].strip() if before and after and is_wrapped else query


def families(texts: Sequence[str]) -> list[str]:
    """Control tokens as what is looked for in a message: themselves, or the common beginning of many that are numbered."""
    begins = {text: found[1] for text in texts if (found := FAMILY.fullmatch(text)) and len(found[1]) > 1}
    counts = Counter(begins.values())
    found = {begins[text] if counts.get(begins.get(text, ""), 0) > FEW else text for text in texts} - {""}
    return sorted(found, key=lambda text: (-len(text), text))


def _edges(instruction: str) -> tuple[str, str]:
    """What a message in the instruction begins and ends with, once it is stripped."""
    before, _, after = instruction.partition("{}")
    return before.lstrip(), after.rstrip()


def _taken_off(instruction: str) -> list[str]:
    """Jinja's form of `bare`; nothing where the query stands at an end of the instruction.

    Lengths are Jinja's own: some engines count bytes.
    """
    before, after = _edges(instruction)
    if not before or not after:
        return []
    parts = instruction.partition("{}")
    begins = "vpo_before" if before == parts[0] else _literal(before)  # most often the same long text
    ends = "vpo_after" if after == parts[2] else _literal(after)
    text, begin, end = "vpo_inside.text", "vpo_inside.begin", "vpo_inside.end"
    asked = f"{text} | length >= ({begin} | length) + ({end} | length)"
    asked += f" and {text}.startswith({begin}) and {text}.endswith({end})"
    cut = f"{text}[({begin} | length):({text} | length) - ({end} | length)]"
    return [
        f"{{%- set {begin} = {begins} -%}}",
        f"{{%- set {end} = {ends} -%}}",
        f"{{%- if {asked} -%}}",
        f"{{%- set {text} = {cut} | trim -%}}",
        "{%- endif -%}",
    ]


def _broken(texts: Sequence[str]) -> str:
    """The query with control tokens broken behind their first character; one of one character only is left out."""
    parts = [f".replace({_literal(text)}, {_literal(text[0] + ' ' + text[1:] if text[1:] else '')})" for text in texts]
    return "vpo_inside.text" + "".join(parts)


def _chunks(texts: Sequence[str], size: int) -> list[Sequence[str]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]


def _literal(text: str) -> str:
    """A text as Jinja's string; JSON escapes what it has to escape as Jinja reads it."""
    return dumps(text)
