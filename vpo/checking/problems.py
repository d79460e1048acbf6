"""The first thing that is wrong with a config's shape, as one line that says what, where and the cure."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from vpo.checking.arguments import arguments_model
from vpo.checking.schema import OBJECTIVES, Config, Evolution, Node
from vpo.errors import UserError
from vpo.targets import is_own, targets_in

_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text (in quotes if it looks like something else)",
    "bool_type": "true or false",
    "list_type": "a list of the same kind of values",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "none_required": "null",
}
# An unknown key explains a missing one, and a wrong kind what follows from it.
_ORDER = ("extra_forbidden", "missing", "kind", "bound")
KeyPath = tuple[str | int, ...]


def check_shape(config: Mapping[str, Any], example: Callable[[KeyPath], Any] = lambda path: None) -> None:
    """Raise UserError where a composed config has a key too many or too few, or a value of another kind or out of its bounds.

    Nodes whose `_target_` is the user's own class are left to that class.

    Args:
        config: plain values.
        example: a valid value for the key at a path, or None.
    """
    check_node(Config, config, (), example)
    objective = config["objective"]
    if objective.get("policy") in OBJECTIVES:
        check_node(OBJECTIVES[objective.get("policy")], objective, ("objective",), example)
    if config.get("evolution"):
        check_node(Evolution, config["evolution"], ("evolution",), example)
    for path, node in targets_in(config):
        model = None if is_own(node["_target_"]) else arguments_model(node["_target_"], path)
        if model is not None:
            check_node(model, node, path, example)


def check_node(
    model: type[BaseModel],
    node: Mapping[str, Any],
    at: KeyPath,
    example: Callable[[KeyPath], Any] = lambda path: None,
) -> None:
    """Raise UserError where the node at a path is not of the model's shape."""
    try:
        model.model_validate_json(to_json(node, fallback=str))  # in strict mode JSON's lists may be tuples
    except ValidationError as errors:
        found = errors.errors(include_url=False)
        first = min(found, key=lambda error: _ORDER.index(_kind_of(error)))
        raise UserError(f"config: {_line(model, node, first, found, at, example)}") from None


def _kind_of(error: Mapping[str, Any]) -> str:
    return error["type"] if error["type"] in _ORDER else "kind"


def _line(
    model: type[BaseModel], node: Any, error: Any, errors: list[Any], at: KeyPath, example: Callable[[KeyPath], Any]
) -> str:
    if error["type"] == "extra_forbidden":
        return _unknown(model, error["loc"], at)
    if error["type"] == "missing":
        name = _dotted((*at, *error["loc"]))
        return f"{name} was taken away, and a run needs it; leave out ~{name}"
    path, value = _where(node, error["loc"])
    name = _dotted((*at, *path))
    shown = "null" if value is None else value
    if error["type"] == "bound":
        return f"{name}={shown} must be {error['ctx']['requirement']}"
    kinds = [
        _KINDS.get(one["type"], one["msg"].removeprefix("Input should be "))
        for one in errors
        if one["loc"][: len(path)] == path
    ]
    if isinstance(value, list) and len(error["loc"]) > len(path):
        kinds = [_KINDS["list_type"]]
    right = example((*at, *path))
    such = (
        "" if right is None or (right == value and type(right) is type(value)) else f", such as {_example(name, right)}"
    )
    return f"{name}={shown} must be {' or '.join(dict.fromkeys(kinds))}{such}"


def _unknown(model: type[BaseModel], loc: KeyPath, at: KeyPath) -> str:
    known = [field.alias or name for name, field in (_model_at(model, loc[:-1]) or model).model_fields.items()]
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    inner = (*at, *loc[:-1])
    hint = f"did you mean {_dotted((*inner, near[0]))}? " if near else "nothing reads it; "
    return f"there is no key {_dotted((*inner, loc[-1]))}; {hint}`vpo run --cfg job` prints the keys"


def _model_at(model: type[BaseModel], loc: KeyPath) -> type[BaseModel] | None:
    """The model of the node to which a path leads."""
    for part in loc:
        field = model.model_fields.get(str(part)) if model else None
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        model = next((one for one in kinds if isinstance(one, type) and issubclass(one, Node)), None)
    return model


def _where(node: Any, loc: KeyPath) -> tuple[KeyPath, Any]:
    """The key in which something is wrong, and its value: a part of a list is shown as the list, a union's branch left out."""
    path: KeyPath = ()
    for part in loc:
        if not isinstance(node, Mapping) or part not in node:
            break
        path, node = (*path, part), node[part]
    return path, node


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))


def _example(name: str, right: Any) -> str:
    if isinstance(right, Mapping):
        key = next((one for one in right if one != "_target_"), "key")
        return (
            f"{name}.{key}={right.get(key, '...')}; a file is chosen by its group, as in method@drafter=sketch_fewshot"
        )
    return f"[{','.join(map(str, right))}]" if isinstance(right, list) else str(right)
