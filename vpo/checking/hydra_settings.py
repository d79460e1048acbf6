"""What a config may set of Hydra itself, which builds and runs objects before any of our checks."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vpo.errors import UserError

# Variables that decide which code a child process runs.
_CODE_FROM = ("PATH", "PYTHON", "LD_", "DYLD_", "BASH_ENV", "ENV")
# Names that logging.config.dictConfig may import. One class each: `logging.os.system` leads on.
_LOGGING = re.compile(r"(logging\.(handlers\.)?|colorlog\.)[A-Z]\w*")
_PLUGIN = re.compile(r"(hydra_plugins\.[\w.]+|hydra\._internal\.core_plugins\.[\w.]+|optuna\.samplers)\.[A-Z]\w*")


def check_hydra_settings(hydra: Mapping[str, Any]) -> None:
    """Raise UserError for a `hydra` node that would run code: callbacks, targets, classes of logging, the environment."""
    if hydra.get("callbacks"):
        raise UserError("config: hydra.callbacks would run code before anything is checked; leave them out")
    for path, key, value in _leaves(hydra, "hydra"):
        text = str(value)
        if key == "_target_" and not _PLUGIN.fullmatch(text):
            raise UserError(
                f"config: {path}={text} is no launcher and no sweeper of Hydra, and nothing else is built there"
            )
        if "oc.decode" in text or "oc.create" in text:
            raise UserError(f"config: {path} makes a part of the config from a text; write the part itself")
    for group in ("job_logging", "hydra_logging"):
        for path, key, value in _leaves(hydra.get(group) or {}, f"hydra.{group}"):
            named = str(value).removeprefix("ext://")
            external = named != str(value) and named not in ("sys.stdout", "sys.stderr")
            if external or (key in ("()", "class", "factory") and not _LOGGING.fullmatch(named)):
                raise UserError(f"config: {path} would run {named}; only classes of Python's logging can be named")
    for name in (hydra.get("job") or {}).get("env_set") or {}:
        if str(name).upper().startswith(_CODE_FROM):
            raise UserError(f"config: hydra.job.env_set.{name} decides which code is run; export it yourself")
    for name in (hydra.get("sweeper") or {}).get("params") or {}:
        if str(name).lstrip("+").partition(".")[0] == "build":
            raise UserError(f"config: hydra.sweeper.params.{name}: build.* can be set on the command line only")


def _leaves(node: Any, path: str, key: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every value that is no mapping and no list: its path, the nearest key, itself."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _leaves(value, f"{path}.{name}", str(name))
    elif isinstance(node, list | tuple):
        for at, value in enumerate(node):
            yield from _leaves(value, f"{path}.{at}", key)
    else:
        yield path, key, node
