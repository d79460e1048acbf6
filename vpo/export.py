"""`vpo export`: a trained policy as a folder that plain transformers loads, with a model card."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vpo.arguments import Parser, as_path, expanded
from vpo.errors import UserError
from vpo.export_card import card, methods_of, public
from vpo.export_source import Source, find_source
from vpo.export_weights import DTYPES, has_chat_template, set_sampling, stop_ids_of, write_weights
from vpo.housekeeping import readable, size_of
from vpo.storage.disk import disk_problem
from vpo.templates import name_of_template

USAGE = (
    "vpo export <run folder> [policy=dpo] [to=folder] [dtype=bfloat16] [license=...] [force=true] [paths.store=store]"
)


def export_command(arguments: list[str]) -> int:
    """Write the model and say how to use it. Returns the exit code."""
    parser = Parser("export", usage=USAGE, description="a trained policy as a folder that plain transformers loads")
    parser.add_argument(
        "place", metavar="<run folder>", help="or a folder of the store, such as store/dpo/<key>", type=expanded
    )
    parser.option("policy", "which of the run's trained policies (its last one)", metavar="name")
    parser.option("to", "the new folder (exported/<run>)", metavar="folder", type=as_path)
    parser.option("dtype", "what the weights are saved in", choices=DTYPES)
    parser.option("license", "for the model card", metavar="name")
    parser.option("paths.store", "the store, if it has moved since", dest="store", metavar="folder", type=as_path)
    parser.flag("force", "replace a model that lies there")
    told = parser.parse(arguments)
    source = find_source(Path(told.place), told.policy, told.store)
    to = told.to or Path(f"exported/{source.name}")
    asked = [f"{key}={value}" for key in ("dtype", "license") if (value := getattr(told, key))]
    command = shlex.join(["vpo", "export", public(told.place), f"policy={source.policy}", *asked])
    with new_folder(to, "export", force=told.force) as out:
        export(source, out, name=to.name, dtype=told.dtype, license=told.license, command=command)
    lines = [
        f"{to}: the policy {source.policy}, {readable(size_of(to))}; its card is README.md",
        f"  use it here:  vpo run {as_backbone(to)}",
        f"  publish it:   vpo push {shlex.quote(str(to))} <owner>/<name>",
    ]
    sys.stdout.write("\n".join([*lines, ""]))
    return 0


def export(source: Source, out: Path, *, name: str, dtype: str | None, license: str | None, command: str) -> None:
    """Write weights, tokenizer, template, sampling and card of a policy to the empty folder `out`."""
    notes = write_weights(source.folder, out, dtype)
    set_sampling(out, next(iter(methods_of(source).values()), None), stop_ids_of(out))
    chat = has_chat_template(out)
    text = card(source, name, chat=chat, notes=notes, command=command, license=license)
    (out / "README.md").write_text(text, encoding="utf-8")


def as_backbone(folder: Path) -> str:
    """The overrides that make a model folder the backbone of a run, with its template where vpo has it under a name."""
    place, template = str(folder), name_of_template(folder / "template.txt")
    place = place if re.fullmatch(r"[\w./@%+-]+", place) else f'"{place}"'  # Hydra reads '=' and ',' as its own
    told = ["backbone=hf", f"backbone.model={place}", *([f"backbone.template={template}"] if template else [])]
    return shlex.join(told)


@contextmanager
def new_folder(to: Path, verb: str, *, force: bool, keep_partial: bool = False) -> Iterator[Path]:
    """A folder beside `to` that becomes `to` when all went well.

    Args:
        to: where the result shall lie. With `force` a model that lies there is replaced, and nothing but a model.
        verb: who asks, for messages.
        force: whether `to` may be there already.
        keep_partial: what an earlier start left is kept, and also what this one leaves if it fails: a download goes on.

    Raises:
        UserError: `to` is taken, cannot be written or the disk is full.
    """
    if to.exists() and not force:
        raise UserError(f"{verb}: {to} is there already; set to=<another folder>, or force=true to replace it")
    if to.exists() and not (to / "config.json").is_file():
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
