"""Rows of training formats: a query with its answer (a given rewrite), or with a chosen and a rejected answer (a given pair).

Forms, each as text or as turns of a chat:
- TRL: {"prompt", "completion"}, {"messages"}, {"prompt", "chosen", "rejected"}, and {"chosen", "rejected"} with the prompt in both;
- LLaMA-Factory's sharegpt form: {"conversations" or "messages"}, with "chosen" and "rejected" as one turn each for pairs;
- LLaMA-Factory's alpaca form: {"instruction", "input", "output"}, with "chosen" and "rejected" for pairs.
Sources: TRL's documentation, "Dataset formats and types"; LLaMA-Factory's data/README.md.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from vpo.dataset.reading.columns import ALPACA, CHATS, CHOSEN, PROVENANCE, REJECTED, REWRITE, TEXT_FIELDS, blank
from vpo.dataset.reading.problems import RowProblem, shown
from vpo.templates import query_templates

UNWRAPPED, SYSTEM, INSTRUCTIONS = "instructions taken off queries", "system turns not read", "instructions not read"
EQUAL = "pairs of equal texts not used"
LONE = "chosen or rejected answers without the other not read"

TEMPLATE = "template"  # of an export's provenance: the instruction that it put around the query, or None

_MAY_BE_CHATS = frozenset((*CHATS, *TEXT_FIELDS))
_ROLES = {
    "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "system": "system", "developer": "system",
}  # fmt: skip


class Pairing(NamedTuple):
    """Two answers to a query, and what an export of ours says beside them."""

    chosen: str
    rejected: str
    provenance: Mapping[str, Any] | None = None


class Row(NamedTuple):
    """A row of a training format as plain fields, and what of it was not read."""

    fields: dict[str, Any]
    pair: Pairing | None
    changes: tuple[str, ...]


def is_chat(value: Any) -> bool:
    """Whether a value is a list of turns."""
    return (
        isinstance(value, list)
        and bool(value)
        and isinstance(value[0], Mapping)
        and bool({"role", "from"} & {*value[0]})
    )


def is_training_row(fields: Mapping[str, Any]) -> bool:
    """Whether the fields are of a training format, so that there is more in them than a query."""
    if {CHOSEN, REJECTED} <= fields.keys() or {"instruction", "output"} <= fields.keys() or "completion" in fields:
        return True
    return any(isinstance(value, list) and name in _MAY_BE_CHATS and is_chat(value) for name, value in fields.items())


def has_lone_side(fields: Mapping[str, Any]) -> bool:
    """Whether there is a chosen or a rejected text and no such field for the other."""
    return any(
        isinstance(fields.get(side), str) and not blank(fields[side]) and other not in fields
        for side, other in ((CHOSEN, REJECTED), (REJECTED, CHOSEN))
    )


def plain_row(fields: Mapping[str, Any]) -> Row:
    """The query, the rewrite and the pair of a row. Raises RowProblem for what has more than one question, or answers of no use."""
    changes: list[str] = []
    asked, answer = _question(fields, changes)
    if isinstance(fields.get("system"), str) and not blank(fields["system"]) and SYSTEM not in changes:
        changes.append(SYSTEM)
    answer = answer or _answer(fields.get("completion", fields.get("output")), "completion")
    if answer and False in (fields.get("label"), fields.get("kto_tag")):
        raise RowProblem(
            "has an answer that its label calls a bad one", "with an answer that their label calls a bad one",
            "give good answers only, or pairs of chosen and rejected",
        )  # fmt: skip
    origin = _provenance(fields.get(PROVENANCE))
    pair = _pair(fields, origin, changes)
    bare = TEMPLATE in origin and origin[TEMPLATE] is None
    text = _unwrapped(asked) if isinstance(asked, str) and not bare else None
    if text is not None:
        changes.append(UNWRAPPED)
    given = fields.get(REWRITE)
    rewrite = (answer or (pair.chosen if pair else None)) if blank(given) else given
    plain = {name: fields[name] for name in ("id", "split") if name in fields}
    return Row(plain | {"query": text or asked, REWRITE: rewrite}, pair, tuple(changes))


def _question(fields: Mapping[str, Any], changes: list[str]) -> tuple[Any, str | None]:
    """What the user asked, and the answer of the same chat."""
    if not blank(fields.get("history")) and fields["history"] != []:
        raise _too_long()
    for name in (*CHATS, *TEXT_FIELDS):
        if is_chat(fields.get(name)):
            return _turns(fields[name], changes)
    instruction, given = (fields.get(name) for name in ALPACA[:2])
    if isinstance(instruction, str) and instruction.strip():
        if isinstance(given, str) and given.strip():  # the instruction is what to do with the user's text
            changes.append(INSTRUCTIONS)
            return given, None
        return instruction, None
    text = next((fields[name] for name in TEXT_FIELDS if not blank(fields.get(name))), None)
    if text is None and is_chat(fields.get(CHOSEN)) and is_chat(fields.get(REJECTED)):
        questions = [_turns(fields[side], changes)[0] for side in (CHOSEN, REJECTED)]
        if questions[0] != questions[1]:
            raise RowProblem(
                "has two questions, one chosen and one rejected", "with another question on each side of the pair"
            )
        return questions[0], None
    return text, None


def _turns(chat: Sequence[Any], changes: list[str]) -> tuple[str, str | None]:
    """The one question of a chat and, if it has one, the answer."""
    turns = [_turn(one) for one in chat]
    if any(role == "system" for role, _ in turns):
        changes.append(SYSTEM)
    said = [(role, text) for role, text in turns if role != "system"]
    if [role for role, _ in said] not in (["user"], ["user", "assistant"]):
        raise _too_long()
    return said[0][1], said[1][1] if len(said) == 2 else None


def _turn(turn: Any) -> tuple[str, str]:
    """(role, text) of a turn in OpenAI's or ShareGPT's words."""
    role, content = None, None
    if isinstance(turn, Mapping):
        role = _ROLES.get(str(turn.get("role", turn.get("from"))).lower())
        content = turn.get("content", turn.get("value"))
    if isinstance(content, list) and all(
        isinstance(one, Mapping) and isinstance(one.get("text"), str) for one in content
    ):
        content = "".join(one["text"] for one in content)  # OpenAI's parts of a message
    if role is None or not isinstance(content, str):
        raise RowProblem(
            f"has the turn {shown(turn)}", "with a turn that is no user's, assistant's or system's text", differs=True
        )
    return role, content


def _provenance(given: Any) -> Mapping[str, Any]:
    """What an export of ours says of a pair; empty where others use the name for something else."""
    try:
        found = json.loads(given) if isinstance(given, str) else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) and TEMPLATE in found and "source" in found and _is_ours(found) else {}


def _is_ours(found: Mapping[str, Any]) -> bool:
    """Whether the parts that are read later have the forms of `vpo.feedback.provenance`."""
    scores = [found.get(f"{name}_score") for name in (CHOSEN, REJECTED)]
    parts = [found.get(name, {}) for name in ("rule", "versions", CHOSEN, REJECTED)]
    if not all(map(_is_number, scores)) or not all(isinstance(one, Mapping) for one in parts):
        return False
    facts = [one.get(name, {}) for one in parts[2:] for name in ("verdict", "score")]
    if not all(isinstance(one, Mapping) for one in facts):
        return False
    reasons = [one.get("reasons", []) for one in facts]
    dimensions = [one.get("dimensions", {}) for one in facts]
    return all(isinstance(one, list) and all(map(_is_reason, one)) for one in reasons) and all(
        isinstance(one, Mapping) and all(map(_is_number, one.values())) for one in dimensions
    )


def _is_reason(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(value.get(name), str) for name in ("aspect", "kind"))


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _pair(fields: Mapping[str, Any], origin: Mapping[str, Any], changes: list[str]) -> Pairing | None:
    if CHOSEN not in fields or REJECTED not in fields:
        return None
    sides = [_answer(fields[side], side) for side in (CHOSEN, REJECTED)]
    chosen, rejected = sides
    if not chosen and not rejected:
        return None
    if not chosen or not rejected:
        side = REJECTED if chosen else CHOSEN
        raise RowProblem(
            f"has no text under {side}", f"without a text under {side}", "give both sides of a pair, or none"
        )
    if chosen == rejected:
        changes.append(EQUAL)
        return None
    return Pairing(chosen, rejected, {name: value for name, value in origin.items() if name != TEMPLATE} or None)


def _answer(value: Any, name: str) -> str | None:
    """The text of an answer, given as a text, a turn or a chat that ends with it; None for an empty one."""
    if isinstance(value, Mapping) and {"role", "from"} & {*value}:
        value = [value]
    if is_chat(value):
        role, value = _turn(value[-1])
        if role != "assistant":
            raise RowProblem(
                f"ends with a turn of the {role} under {name}", f"whose last turn under {name} is no answer"
            )
    if value is None or (isinstance(value, float) and value != value) or value == []:
        return None
    if not isinstance(value, str):
        raise RowProblem(
            f"has {shown(value)} under {name}, which is no text", f"with no text under {name}", differs=True
        )
    return value.strip() or None


def _too_long() -> RowProblem:
    return RowProblem(
        "has a chat of several turns",
        "with a chat of several turns",
        "give one question of the user and at most one answer",
    )


def _unwrapped(asked: str) -> str | None:
    """The query in the user's turn of an instruction that `vpo` has as a template, such as VPO's; None for any other text."""
    stripped = asked.strip()
    for start, end in _templates():
        if len(stripped) > len(start) + len(end) and stripped.startswith(start) and stripped.endswith(end):
            return stripped[len(start) : len(stripped) - len(end)]
    return None


@cache
def _templates() -> tuple[tuple[str, str], ...]:
    """What stands before and after the query in each template."""
    parts = [text.partition("{}") for text in query_templates()]
    return tuple((start.lstrip(), end.rstrip()) for start, _, end in parts)
