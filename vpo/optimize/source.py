"""From what a user names, to a language model that rewrites: a folder, a run, a hub id, a server."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpo.errors import UserError
from vpo.export.card import methods_of
from vpo.export.source import find_source
from vpo.interfaces import Policy
from vpo.optimize.options import Options
from vpo.records import Sampling
from vpo.templates import read_template

DEFAULT_TEMPLATE = "optimizer"  # VPO's own, which the released models were trained with
DEFAULT_SAMPLING = {"temperature": 0.7, "top_p": 1.0, "max_new_tokens": 256}  # VPO's README
_OF_A_RUN = ("results.json", "entries.json", "manifest.json")


@dataclass(frozen=True)
class Opened:
    """A language model that is ready to rewrite.

    Attributes:
        template: with which it is asked.
        sampling: how it is sampled if nobody says otherwise.
    """

    policy: Policy
    template: str
    sampling: Sampling


def open_source(source: str, options: Options) -> Opened:
    """Open a language model; the first line that can fail does so before weights are read. Raises UserError."""
    folder = Path(source).expanduser()
    if any((folder / name).is_file() for name in _OF_A_RUN):
        found = find_source(folder, options.policy, None)
        own = next(iter(methods_of(found).values()), {})
        return _open_folder(str(found.folder), options, own)
    if folder.is_dir():
        return _open_folder(str(folder), options, _own_sampling(folder))
    return _open_folder(source, options, {})


def _open_folder(model: str, options: Options, own: Mapping[str, Any]) -> Opened:
    """A model of a folder or of the hub, in this process."""
    if options.served is not None:
        raise UserError(
            f"served={options.served} is a server's name of a model, and {model} is no server; leave it out"
        )
    sampling, template = _sampling(options, own), _template(Path(model), options)
    import torch  # what follows needs it; what was checked so far does not

    from vpo.language.chat.rendering import Renderer
    from vpo.language.hf import PretrainedEngine
    from vpo.language.policy import TrainedPolicy

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"device={device}: torch sees no such device here; set device=cpu")
    dtype = options.dtype or ("float32" if device == "cpu" else "bfloat16")
    try:
        engine = PretrainedEngine(model, options.revision, dtype, device, options.bits, batch_size=32)
    except UserError as error:
        raise UserError(str(error).replace("engine.model=", "model=")) from error
    return Opened(TrainedPolicy(engine, Renderer(engine.tokenizer, template)), template, sampling)


def _template(folder: Path, options: Options) -> str:
    """What renders a query: as asked, or the model's own, which lies beside its weights, or VPO's."""
    if options.template is not None:
        return read_template(options.template)
    own = folder / "template.txt"
    if not own.is_file():
        return read_template(DEFAULT_TEMPLATE)
    text = own.read_bytes().decode("utf-8", "replace")
    if text.count("{}") != 1:
        raise UserError(
            f"{own}: must hold the slot {{}} for the query exactly once; correct it, or set template=optimizer"
        )
    return text


def _own_sampling(folder: Path) -> dict[str, Any]:
    """How a model that `vpo export` wrote is sampled, by its generation_config.json."""
    path = folder / "generation_config.json"
    if not (folder / "template.txt").is_file() or not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error}); export the model again") from error
    return config if config.get("do_sample", True) else config | {"temperature": 0.0, "top_p": 1.0}


def _sampling(options: Options, own: Mapping[str, Any]) -> Sampling:
    """As asked, else as the model says, else VPO's."""
    values = {}
    for name, default in DEFAULT_SAMPLING.items():
        asked = getattr(options, name)
        values[name] = own.get(name, default) if asked is None else asked
    return Sampling(**values)


def default_source() -> str:
    """What rewrites where no model is named. Raises UserError, with the command that gets one."""
    raise UserError(
        "no model is at hand; get one by `vpo assets get smollm2-135m-instruct`, or name one: model=<a folder, a run folder, a hub id "
        "such as CCCCCC/VPO-2B, or http://host:8000/v1>"
    )
