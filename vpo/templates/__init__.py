"""The texts for language models, as files. Version (`versions.py`) and hash of a template stand in the manifest of every result that
depends on it, and in the provenance of pairs.

`optimizer.txt` is interface data of the released VPO models: thu-coai/VPO (Apache-2.0), README and `src/process_data.py`,
byte for byte (sha256 d8f31468...). `prompt_a_video.txt` has that paper's field labels and our own wording (its repository has no
licence). `tiny.txt` is the sketch world's short one, `fewshot.txt` ours for models that are not trained, with three examples.
`draft.txt` is ours, after the six rules of VPO's Fig. 7, for the drafts of its recipe (`method@drafter=llm_draft`).
`promptist.txt` is the form in which microsoft/Promptist (LMOps, MIT) reads a query, `videoscore.txt` that in which the released
VideoScore models read it (TIGER-AI-Lab/VideoScore, MIT), byte for byte, the space at the end of a line included.

Files with turns are chats: official rewriters' requirements in our own words, each with its source and version in the note on top.
A turn begins with a line `[[system]]`, `[[user]]` or `[[assistant]]`; what stands before the first one is not sent.

`critique.txt` and `refine.txt` are what `judge=llm` asks, in our own words after the rules of VPO's Fig. 8; their slot takes JSON
(`vpo.language.quoting`). `released_critique.txt` and `released_refine.txt` are ours, too: they ask for the released code's answer
marks, and stand in for its texts, which are not carried here (`judge=vpo_released`). `classes.txt` asks for a class of VPO's Table 2
(`judge=classes`, version 1). Ours are also `compare_prompts.txt` and `compare_clips.txt` (win rates), `clip_safety.txt` (the rubric of
evaluator clip_safety), `questions.txt` and `seen.txt` (evaluator compositional).
"""

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from vpo.errors import UserError
from vpo.records import Message
from vpo.templates.versions import VERSIONS

FOLDER = Path(__file__).parent
_TURN = re.compile(r"^\[\[(system|user|assistant)\]\][ \t]*$", re.M)


# Forms that models were trained on, where a query stands as it was typed.
TRAINED_ON = frozenset({"optimizer", "prompt_a_video", "promptist", "tiny", "videoscore"})


class Chat(NamedTuple):
    """A template as turns: those that stand before, and the user's last turn, which holds the slot `{}`.

    `quoted` says whether a query is put into it so that it cannot leave its place (`vpo.language.quoting.as_line`).
    """

    before: tuple[Message, ...]
    template: str
    quoted: bool


def template_files() -> list[Path]:
    """The files of all templates, in order of their names."""
    return sorted(FOLDER.glob("*.txt"))


def template_text(name: str, slots: int = 1) -> str:
    """The content of a template's file; it holds the slot `{}` as often as `slots` says, mostly once, for the query.

    Raises UserError if there is no such template, or if it has another number of slots.
    """
    text = _text_of(name)
    if text.count("{}") != slots:
        times = "exactly once" if slots == 1 else f"exactly {slots} times"
        raise UserError(f"template {name!r} must hold the slot {{}} {times}, found {text.count('{}')}")
    return text


def read_template(name: str, slots: int = 1) -> str:
    """The text of a template that is one turn, with so many slots. Raises UserError if there is none, or if it is a chat."""
    text = template_text(name, slots)
    if _TURN.search(text):
        known = ", ".join(one.stem for one in template_files() if not _TURN.search(one.read_text(encoding="utf-8")))
        raise UserError(
            f"template {name!r} is a chat, which only methods that ask an engine send; for one turn choose one of {known}"
        )
    return text


def read_chat(name: str) -> Chat:
    """Any template as a chat; one without turns is the user's turn. Raises UserError if there is none, or no slot in its last turn."""
    text = template_text(name)
    _, *parts = _TURN.split(text)
    if not parts:
        return Chat((), text, name not in TRAINED_ON)
    turns = [Message(role, content.strip()) for role, content in zip(parts[::2], parts[1::2], strict=True)]
    last = turns.pop()
    if last.role != "user" or "{}" not in last.content:
        raise UserError(f"template {name!r} must end with a [[user]] turn that holds the slot {{}}")
    return Chat(tuple(turns), last.content, name not in TRAINED_ON)


def query_templates() -> list[str]:
    """The texts of all templates that put one query into one turn."""
    texts = [path.read_bytes().decode("utf-8") for path in template_files()]
    return [text for text in texts if text.count("{}") == 1 and not _TURN.search(text)]


def fill(template: str, *values: str) -> str:
    """The template with a value in each slot `{}`, in order; what looks like a slot in a value stays as it is."""
    parts = template.split("{}")
    if len(parts) != len(values) + 1:
        raise ValueError(f"{len(values)} values for {len(parts) - 1} slots")
    return parts[0] + "".join(value + part for value, part in zip(values, parts[1:], strict=True))


def template_hash(name: str) -> str:
    """The sha256 of the template's text."""
    return hashlib.sha256(_text_of(name).encode()).hexdigest()


def template_facts(name: str) -> dict[str, Any]:
    """What says which text a template is: {"version": None for one of a user's own, "sha256": of the text}."""
    return {"version": VERSIONS.get(name), "sha256": template_hash(name)}


def _text_of(name: str) -> str:
    path = FOLDER / f"{name}.txt"
    if path not in template_files():
        known = ", ".join(one.stem for one in template_files())
        raise UserError(f"template {name!r} does not exist; choose one of {known}")
    return path.read_bytes().decode("utf-8")


def name_of_template(path: Path) -> str | None:
    """The name under which vpo has the template that a model folder holds; None for one of its own, or none at all."""
    if not path.is_file():
        return None
    text = path.read_bytes()
    return next((one.stem for one in template_files() if one.read_bytes() == text), None)
