"""The choices of `conf/search`, `conf/target` and `conf/judge` without composing a run: `vpo optimize` starts quickly."""

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

import yaml

from vpo.build import build
from vpo.checking.choices import files_of
from vpo.checking.problems import check_node
from vpo.checking.schema import Node
from vpo.errors import UserError
from vpo.interfaces import Engine, Judge

N = TypeVar("N", bound=Node)
_ENGINE = "${engine}"


def values_of(group: str, name: str, model: type[N], **changes: Any) -> N:
    """The values of a choice, the user's own `./conf` included, with changes to them.

    Raises:
        UserError: there is no such choice, or a value is wrong.
    """
    node = _node(group, name) | {key: value for key, value in changes.items() if value is not None}
    check_node(model, node, (group,))
    return model(**node)


def setting_names() -> list[str]:
    """What may be set of a server: the keys of `conf/engine/server.yaml` but for its address."""
    return [name for name in _node("engine", "server") if name not in ("_target_", "base_url", "endpoint")]


def build_judge(name: str, engine: Engine) -> Judge:
    """The judge of `conf/judge/<name>.yaml`; one that asks a language model (`engine: ${engine}`) asks the optimizer's."""
    node = dict(_node("judge", name))
    shared = {}
    if node.get("engine") == _ENGINE:
        del node["engine"]
        shared["engine"] = engine
    if "defaults" in node or any(isinstance(value, str) and "${" in value for value in node.values()):
        raise UserError(f"judge={name} reads values of a run; choose a judge that stands alone, such as rules")
    return build(node, **shared)


def _node(group: str, name: str) -> Mapping[str, Any]:
    files = {file.stem: file for file in files_of(group)}
    if name not in files:
        near = difflib.get_close_matches(name, files, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(sorted(files))}"
        raise UserError(f"{group}={name} does not exist; {hint}")
    try:
        node = yaml.safe_load(files[name].read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{files[name]}: cannot be read ({' '.join(str(error).split())}); correct it") from error
    if not isinstance(node, dict):
        raise UserError(f"{files[name]}: holds no keys and values; correct it")
    return node
