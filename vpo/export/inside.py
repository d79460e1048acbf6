"""`template=inside`: the exported tokenizer's chat template puts the query into the instruction (`vpo.language.chat.inside`)."""

import json
from pathlib import Path
from typing import Any

from vpo.errors import UserError
from vpo.language.chat.inside import plain_chat_template, with_instruction
from vpo.language.chat.rendering import Renderer
from vpo.language.chat.templates import PROBES
from vpo.storage.jsonio import write_json

CHAT_TEMPLATE = "chat_template.jinja"
CURE = "set template=outside"
# Queries whose ids must be our renderer's; each is stripped, joined and cut in another way by some tokenizer.
CHECKED = (*PROBES, "a dog", " a dog ", "\n\na\n\ndog", "{{ x }} {% y %}", ".", "Ünïcode")


def put_instruction_inside(folder: Path) -> None:
    """Make the chat template of an exported folder put the query into its `template.txt`.

    Raises:
        UserError: A plain client would get other ids than the policy was trained with.
    """
    renderer = renderer_of(folder)
    tokenizer = renderer.tokenizer
    own = tokenizer.get_chat_template() if tokenizer.chat_template else plain_chat_template(_bos(tokenizer))
    text = with_instruction(own, renderer.template, renderer.control_texts)
    (folder / CHAT_TEMPLATE).write_text(text, encoding="utf-8", newline="")
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.pop("chat_template", None) is not None:  # where older versions keep it; there is one place for it
        write_json(path, config, indent=2)
    _check(folder, renderer)


def renderer_of(folder: Path) -> Renderer:
    """Renders queries as the policy in an exported folder was trained with them."""
    from vpo.language.checkpoints.loading import load_tokenizer

    return Renderer(load_tokenizer(folder), (folder / "template.txt").read_bytes().decode("utf-8"))


def _bos(tokenizer: Any) -> str | None:
    """What a tokenizer without a chat template puts before a text: BOS or nothing. Raises UserError where it puts more."""
    text = "a dog"
    ids, plain = tokenizer(text).input_ids, tokenizer(text, add_special_tokens=False).input_ids
    if ids == plain:
        return None
    if ids == [tokenizer.bos_token_id, *plain]:
        return str(tokenizer.bos_token)
    raise UserError(
        f"export: template=inside: the tokenizer has no chat template and puts more around a text than BOS; {CURE}"
    )


def _check(folder: Path, renderer: Renderer) -> None:
    """Raise UserError unless a plain client gets our renderer's ids."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    for query in CHECKED:
        turn = {"role": "user", "content": query}
        try:
            ids = tokenizer.apply_chat_template([turn], add_generation_prompt=True, return_dict=False)
        except Exception as error:  # a chat template is a program of the model's authors
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"export: template=inside: the chat template fails with the instruction in it ({reason}); {CURE}"
            ) from error
        if list(ids) != renderer.prompt_ids(query):
            raise UserError(
                f"export: template=inside: with the instruction in the chat template the query {query[:40]!r} gets other tokens than "
                f"in training; {CURE}"
            )
