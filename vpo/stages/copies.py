"""Several clips of one prompt: what they are called."""

from dataclasses import replace

from vpo.records import Prompt


def copy_id(prompt_id: str, number: int) -> str:
    """The id of one of several clips of a prompt, from 0: the first has the prompt's own."""
    return f"{prompt_id}#{number}" if number else prompt_id


def copy_of(prompt: Prompt, number: int) -> Prompt:
    """The prompt as it is rendered once more, with a seed of its own."""
    return replace(prompt, id=copy_id(prompt.id, number), index=prompt.index + number)
