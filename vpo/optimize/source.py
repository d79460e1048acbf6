"""From what a user names, to a language model that rewrites: a folder, a run, a hub id, a server."""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpo.assets.folder import PREFIX, assets_folder, find_asset, read_record
from vpo.errors import UserError
from vpo.export.card import methods_of
from vpo.export.source import find_source
from vpo.interfaces import Policy
from vpo.optimize.options import Options
from vpo.optimize.server import is_server, open_engine
from vpo.records import Sampling
from vpo.templates import TRAINED_ON, read_template

log = logging.getLogger(__name__)

SMALL_MODEL = "smollm2-135m-instruct"
# A LoRA on it that was trained to rewrite queries, as `vpo export weights=adapter` writes it; where this package holds one.
SHIPPED = Path(__file__).with_name("adapter")
BARE = "none"  # the template that asks with the bare query
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
    """Open a language model; what can fail without reading weights does so before. Raises UserError."""
    _sampling(options, {})
    if options.template not in (None, BARE):
        read_template(options.template)
    if is_server(source):
        return _open_server(source, options)
    if options.engine:
        name = next(iter(options.engine))
        raise UserError(f"engine.{name} is a server's setting, and model={source} is no server; leave it out")
    folder = Path(source).expanduser()
    if any((folder / name).is_file() for name in _OF_A_RUN):
        found = find_source(folder, options.policy, None)
        own = next(iter(methods_of(found).values()), {})
        return _open_model(str(found.folder), options, own)
    if options.policy is not None:
        raise UserError(f"policy={options.policy} is one of a run's, and model={source} is no run folder; leave it out")
    return _open_model(str(folder) if folder.is_dir() else source, options)


def _open_model(model: str, options: Options, own: Mapping[str, Any] | None = None) -> Opened:
    """A model of a folder, of the hub or of the assets, in this process; `own` is how its run sampled it."""
    import torch  # what was checked so far does without

    from vpo.language.chat.rendering import Renderer
    from vpo.language.checkpoints.intake import fetch
    from vpo.language.hf import PretrainedEngine
    from vpo.language.policy import TrainedPolicy

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device not in ("cpu", "gpu", "cuda"):
        raise UserError(f"device={device} does not exist; choose one of cpu, cuda, auto")
    elif device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"device={device}: torch sees no such device here; set device=cpu")
    dtype = options.dtype or ("float32" if device == "cpu" else "bfloat16")
    try:
        folder, _ = fetch(model, options.revision, "model")
        template = _template(folder, options)
        sampling = _sampling(options, _own_sampling(folder) if own is None else own)
        engine = PretrainedEngine(model, options.revision, dtype, device, options.bits, batch_size=32)
    except UserError as error:
        raise UserError(re.sub(r"\b(?:engine|backbone)\.(?=model\b|bits\b|revision\b)", "", str(error))) from error
    return Opened(TrainedPolicy(engine, Renderer(engine.tokenizer, template)), template, sampling)


def _open_server(address: str, options: Options) -> Opened:
    """A model behind a server, which renders the chat and is asked with messages."""
    for name in ("revision", "policy", "dtype", "bits"):
        if getattr(options, name) is not None:
            raise UserError(
                f"{name}={getattr(options, name)} is of a model in this process, and {address} is a server; leave it out"
            )
    name = options.template or DEFAULT_TEMPLATE
    template = "{}" if name == BARE else read_template(name)
    from vpo.language.policy import InstructedPolicy

    policy = InstructedPolicy(open_engine(address, options.engine), template, quoted=name not in TRAINED_ON)
    return Opened(policy, template, _sampling(options, {}))


def _template(folder: Path, options: Options) -> str:
    """What renders a query: as asked, or the model's own, which lies beside its weights, or VPO's."""
    own = folder / "template.txt"
    if options.template is not None:
        return "{}" if options.template == BARE else read_template(options.template)
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


def default_source(adapter: Path = SHIPPED) -> str:
    """What rewrites where no model is named: the adapter of this package on the small model of the assets, or else that alone.

    Args:
        adapter: the folder of the adapter, which need not be there.

    Raises:
        UserError: the small model is not at hand; the line has the command that gets it.
    """
    trained, base = (adapter / "adapter_config.json").is_file(), f"{PREFIX}{SMALL_MODEL}"
    if read_record(assets_folder() / SMALL_MODEL) is None:
        missing = (
            "the base of this package's own optimizer is not at hand; get it"
            if trained
            else "no model is at hand; get one"
        )
        raise UserError(
            f"{missing} by `vpo assets get {SMALL_MODEL}`, or name {'another model' if trained else 'one'}: model=<a folder, a run "
            "folder, a hub id such as CCCCCC/VPO-2B, or http://host:8000/v1>"
        )
    if not trained:
        log.warning("%s is a small model that was not trained to rewrite queries; model=CCCCCC/VPO-2B was", base)
        return base
    find_asset(base, None, "model")  # another version of it is no base
    log.info("a small model of this package rewrites (%s); model=CCCCCC/VPO-2B is VPO's own", adapter / "README.md")
    return str(adapter)
