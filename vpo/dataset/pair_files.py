"""Preference pairs as files that TRL and LLaMA-Factory train on, and that `dataset=file` reads back.

Sources of the forms: TRL's documentation, "Dataset formats and types", preference with an explicit prompt; LLaMA-Factory's
data/README.md, preference datasets in the sharegpt and in the alpaca format.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.dataset.reading.columns import PROVENANCE
from vpo.dataset.reading.training_rows import TEMPLATE
from vpo.errors import UserError
from vpo.records import Pair
from vpo.storage.jsonio import dumps, write_json
from vpo.storage.rows import write_rows
from vpo.templates import read_template

Form = Callable[[str, str, str], dict[str, Any]]  # from (what the user says, chosen, rejected) to a row
NAME = "vpo_pairs"  # of the data set in LLaMA-Factory's dataset_info.json


def trl_chat(asked: str, chosen: str, rejected: str) -> dict[str, Any]:
    """TRL's conversational form."""
    answers = {"chosen": chosen, "rejected": rejected}
    return {"prompt": [{"role": "user", "content": asked}]} | {
        side: [{"role": "assistant", "content": text}] for side, text in answers.items()
    }


def trl_text(asked: str, chosen: str, rejected: str) -> dict[str, Any]:
    """TRL's standard form."""
    return {"prompt": asked, "chosen": chosen, "rejected": rejected}


def sharegpt(asked: str, chosen: str, rejected: str) -> dict[str, Any]:
    """LLaMA-Factory's sharegpt form."""
    answers = {"chosen": chosen, "rejected": rejected}
    return {"conversations": [{"from": "human", "value": asked}]} | {
        side: {"from": "gpt", "value": text} for side, text in answers.items()
    }


def alpaca(asked: str, chosen: str, rejected: str) -> dict[str, Any]:
    """LLaMA-Factory's alpaca form."""
    return {"instruction": asked, "input": "", "chosen": chosen, "rejected": rejected}


# By format, its forms; the first is the usual one.
FORMATS: Mapping[str, Mapping[str, Form]] = {
    "trl": {"chat": trl_chat, "text": trl_text},
    "llama_factory": {"sharegpt": sharegpt, "alpaca": alpaca},
}
SUFFIXES = {"trl": ".jsonl", "llama_factory": ".json"}
_COLUMNS = {
    "sharegpt": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
    "alpaca": {"prompt": "instruction", "query": "input", "chosen": "chosen", "rejected": "rejected"},
}


def rows_of(pairs: Sequence[Pair], form: Form, template: str | None) -> list[dict[str, Any]]:
    """A row a pair. Beside what the trainers read it has the query's id and, as one JSON text, the pair's provenance.

    Args:
        pairs: to be written.
        form: one of `FORMATS`.
        template: the name of the instruction around the query in the user's turn; None: the query alone.
    """
    before, _, after = read_template(template).partition("{}") if template else ("", "", "")
    return [
        form(f"{before}{one.query}{after}", one.chosen, one.rejected)
        | {"id": one.query_id, PROVENANCE: dumps(provenance_of(one) | {TEMPLATE: template})}
        for one in pairs
    ]


def provenance_of(pair: Pair) -> dict[str, Any]:
    """What a pair says besides its three texts and the query's id; `vpo.feedback.given` makes the pair of it again."""
    facts = {"source": pair.source, "chosen_score": pair.chosen_score, "rejected_score": pair.rejected_score}
    return {name: value for name, value in facts.items() if value is not None} | dict(pair.provenance)


def write_pairs(pairs: Sequence[Pair], path: Path, format: str, form: str | None, template: str | None) -> list[Path]:
    """Write a file of pairs; for LLaMA-Factory also the dataset_info.json beside it that names it. Returns what was written.

    Raises:
        UserError: format, form or template are unknown, or the suffix is another format's.
    """
    if format not in FORMATS:
        raise UserError(f"pairs: format={format} is unknown; choose one of {', '.join(FORMATS)}")
    forms = FORMATS[format]
    form = form or next(iter(forms))
    if form not in forms:
        raise UserError(f"pairs: form={form} is none of format={format}; choose one of {', '.join(forms)}")
    if path.suffix != SUFFIXES[format]:
        raise UserError(f"pairs: to={path}: format={format} is written as {SUFFIXES[format]}; name it so")
    rows = rows_of(pairs, forms[form], template)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if format == "trl":
            write_rows(path, rows)
            return [path]
        write_json(path, rows)
        info = path.with_name("dataset_info.json")
        write_json(
            info, {NAME: {"file_name": path.name, "ranking": True, "formatting": form, "columns": _COLUMNS[form]}}
        )
    except OSError as error:
        raise UserError(f"pairs: to={path}: {(error.strerror or str(error)).lower()}; name another file") from error
    return [path, info]
