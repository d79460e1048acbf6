"""`vpo export`: a trained policy as a folder that plain transformers loads, with a model card."""

import shlex
import sys
from pathlib import Path

from vpo.cli.arguments import Parser, as_path, expanded
from vpo.errors import UserError
from vpo.export.card import public
from vpo.export.folder import as_backbone, export, new_folder
from vpo.export.form import DTYPES, TEMPLATES, WEIGHTS, Form
from vpo.export.source import find_source
from vpo.storage.housekeeping import readable, size_of

USAGE = (
    "vpo export <run folder> [policy=dpo] [to=folder] [template=inside] [weights=adapter] [dtype=bfloat16] [license=...] [force=true] "
    "[paths.store=store]"
)


def export_command(arguments: list[str]) -> int:
    """Write the model and say how to use it. Returns the exit code."""
    parser = Parser("export", usage=USAGE, description="a trained policy as a folder that plain transformers loads")
    parser.add_argument(
        "place", metavar="<run folder>", help="or a folder of the store, such as store/dpo/<key>", type=expanded
    )
    parser.option("policy", "which of the run's trained policies (its last one)", metavar="name")
    parser.option("to", "the new folder (exported/<run>)", metavar="folder", type=as_path)
    parser.option(
        "template",
        "who puts the query into the instruction: whoever prompts the model (outside), or its chat template (inside), so that any "
        "chat client, vllm serve or Ollama sends the bare query",
        choices=TEMPLATES,
        default="outside",
    )
    parser.option("weights", "whole ones (merged), or the LoRA adapter alone", choices=WEIGHTS, default="merged")
    parser.option("dtype", "what the weights are saved in", choices=DTYPES)
    parser.option("license", "for the model card", metavar="name")
    parser.option("paths.store", "the store, if it has moved since", dest="store", metavar="folder", type=as_path)
    parser.flag("force", "replace a model that lies there")
    options = parser.parse(arguments)
    source = find_source(Path(options.place), options.policy, options.store)
    to = options.to or Path(f"exported/{source.name}")
    form = Form(options.template, options.weights, options.dtype)
    if form.dtype and form.weights == "adapter":
        raise UserError("export: dtype is of merged weights; leave it out, or set weights=merged")
    asked = [*form.overrides(), *([f"license={options.license}"] if options.license else [])]
    command = shlex.join(["vpo", "export", public(options.place), f"policy={source.policy}", *asked])
    with new_folder(to, "export", force=options.force) as out:
        export(source, out, name=to.name, form=form, license=options.license, command=command)
    lines = [
        f"{to}: the policy {source.policy}, {readable(size_of(to))}; its card is README.md",
        f"  use it here:  vpo run {as_backbone(to)}",
        f"  publish it:   vpo push {shlex.quote(str(to))} <owner>/<name>",
    ]
    sys.stdout.write("\n".join([*lines, ""]))
    return 0
