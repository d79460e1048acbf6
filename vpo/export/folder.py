"""`vpo export`: a trained policy as a folder that plain transformers loads, with a model card."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpo.errors import UserError
from vpo.export.card import card, methods_of
from vpo.export.form import Form
from vpo.export.inside import CHAT_TEMPLATE, put_instruction_inside
from vpo.export.source import Source
from vpo.export.usage import usage
from vpo.export.weights import set_sampling, stop_ids_of, write_adapter, write_weights
from vpo.language.chat.inside import own_part
from vpo.language.checkpoints.files import share
from vpo.storage.disk import disk_problem
from vpo.templates import name_of_template


def export(source: Source, out: Path, *, name: str, form: Form, license: str | None, command: str) -> None:
    """Write weights, tokenizer, template, sampling and card of a policy to the empty folder `out`."""
    is_adapter = form.weights == "adapter"
    notes = write_adapter(source.folder, out) if is_adapter else write_weights(source.folder, out, form.dtype)
    method = next(iter(methods_of(source).values()), None)
    set_sampling(out, method, stop_ids_of(out))
    if form.template == "inside":
        put_instruction_inside(out)
    use = usage(out, name, form, method)
    library = "peft" if is_adapter else "transformers"
    text = card(source, name, use=use, notes=notes, command=command, license=license, library=library)
    (out / "README.md").write_text(text, encoding="utf-8")
    share(out)


def as_backbone(folder: Path) -> str:
    """The overrides that make a model folder the backbone of a run, with its template where vpo has it under a name."""
    place, template = str(folder), name_of_template(folder / "template.txt")
    place = place if re.fullmatch(r"[\w./@%+-]+", place) else f'"{place}"'  # Hydra reads '=' and ',' as its own
    overrides = ["backbone=hf", f"backbone.model={place}", *([f"backbone.template={template}"] if template else [])]
    if not has_chat_format(folder):
        overrides.append("backbone.needs_chat_template=false")
    return shlex.join(overrides)


def has_chat_format(folder: Path) -> bool:
    """Whether the model in a folder has a chat template of its own; an adapter without a tokenizer has its base's."""
    config = folder / "tokenizer_config.json"
    if (folder / CHAT_TEMPLATE).is_file():
        return own_part((folder / CHAT_TEMPLATE).read_text(encoding="utf-8")) is not None
    return not config.is_file() or bool(json.loads(config.read_text(encoding="utf-8")).get("chat_template"))


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model or an adapter, as `vpo export` writes them."""
    names = ("config.json", "adapter_config.json")
    return any((folder / name).is_file() for name in names)


@contextmanager
def new_folder(to: Path, verb: str, *, force: bool, keep_partial: bool = False) -> Iterator[Path]:
    """A temporary folder beside `to`, which is renamed to `to` when the body succeeds.

    Args:
        to: the new folder. With `force` a model that is there is replaced, but nothing other than a model.
        verb: the command's name, for messages.
        force: whether `to` may be there already.
        keep_partial: what an earlier start left is kept, and also what this one leaves if it fails: a download goes on.

    Raises:
        UserError: `to` is taken, cannot be written or the disk is full.
    """
    if to.exists() and not force:
        raise UserError(f"{verb}: {to} is there already; set to=<another folder>, or force=true to replace it")
    if to.exists() and not is_model(to):
        raise UserError(f"{verb}: {to} holds no model, so force=true does not replace it; set to=<another folder>")
    partial, trash = (to.with_name(to.name + suffix) for suffix in (".partial", ".trash"))
    try:
        if not keep_partial:
            shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{verb}: {to}: {error.strerror.lower()}; set to=<a folder that can be written>") from error
    try:
        yield partial
        if to.exists():
            shutil.rmtree(trash, ignore_errors=True)
            to.rename(trash)
        partial.rename(to)
        shutil.rmtree(trash, ignore_errors=True)
    except UserError:
        raise
    except Exception as error:
        problem = disk_problem(error, to.parent)
        if problem is None:
            raise
        where, cure = to, "make room, or set to=<a folder elsewhere>"
        if problem.elsewhere is not None:
            where, cure = problem.elsewhere, problem.cure
        raise UserError(f"{verb}: {where}: {problem.reason}; {cure}") from error
    finally:
        if not keep_partial:
            shutil.rmtree(partial, ignore_errors=True)
