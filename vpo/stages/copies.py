"""Several clips of one prompt: what they are called."""

from dataclasses import replace

from vpo.records import Failure, Prompt


def copy_id(prompt_id: str, number: int) -> str:
    """The id of one of several clips of a prompt, from 0: the first has the prompt's own."""
    return f"{prompt_id}#{number}" if number else prompt_id


def number_of(clip_id: str) -> int:
    """The number of a clip by its id, as `copy_id` makes it."""
    _, mark, number = clip_id.rpartition("#")
    return int(number) if mark and number.isdecimal() else 0


def copy_of(prompt: Prompt, number: int) -> Prompt:
    """The prompt as it is rendered once more, with a seed of its own."""
    return replace(prompt, id=copy_id(prompt.id, number), index=prompt.index + number)


def never_given(failure: Failure, number: int) -> bool:
    """Whether this failure of a prompt's clip says that there is no such clip, where others of a method's prompts have more of them.

    A prompt's first clip is missing and has failed. Nobody has promised a further one.
    """
    return failure.kind == "no_clip" and number > 0
