"""What a class of ours takes from a config, read from the signature in its source: nothing is imported for it."""

import ast
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, WrapValidator, create_model

from vpo.checking.schema import Node
from vpo.checking.values import BY_NAME, Count
from vpo.stages.optimize import BESIDES
from vpo.targets import check_target, definition_of

# What annotations name; any other name is a role's, whose object comes from a nested node or from the stage.
_NAMES = {
    "int": int, "float": float, "str": str, "bool": bool, "list": list, "tuple": tuple, "Sequence": list, "Collection": list,
    "Iterable": list, "Set": list, "set": list, "dict": dict, "Mapping": dict, "Any": Any, "Path": str,
    "Literal": Literal,
}  # fmt: skip
_OF_METHODS: dict[str, Any] = {"batch_size": Count, "label": str, "policy": str}  # read by the stage


def arguments_model(target: str, path: tuple[str, ...]) -> type[BaseModel] | None:
    """The shape of a node with this target, or None where its class does not say it (it inherits its constructor).

    `path` is the node's in the config. Raises UserError for a target that is no choice of ours.
    """
    check_target(target)
    method = path[0] == "drafter" or (path[0] == "method" and len(path) == 2)
    return _model(target, method)


@cache
def _model(target: str, method: bool) -> type[BaseModel] | None:
    definition = definition_of(target)
    made = definition if isinstance(definition, ast.FunctionDef) else _constructor(definition)
    if isinstance(made, ast.ClassDef):
        return None
    fields = dict(_fields(made, isinstance(definition, ast.ClassDef)) if made else {})
    if method:
        fields |= {name: (_OF_METHODS[name], None) for name in BESIDES if name not in fields}
    extra = "allow" if made and made.args.kwarg else "forbid"
    shape = {
        f"argument_{at}": (kind, Field(default, alias=name))
        for at, (name, (kind, default)) in enumerate(fields.items())
    }
    base = type("Arguments", (Node,), {"model_config": ConfigDict(extra=extra), "__module__": __name__})
    return create_model(target, __base__=base, target=(str, Field(alias="_target_")), **shape)


def _constructor(definition: ast.ClassDef) -> ast.FunctionDef | ast.ClassDef | None:
    """Its `__init__`; None for a class without arguments; itself where bases or decorators make the constructor."""
    own = next((one for one in definition.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
    return own or (definition if definition.bases or definition.decorator_list else None)


def _fields(made: ast.FunctionDef, method: bool) -> dict[str, tuple[Any, Any]]:
    """Each argument's type, and its default: `...` for those that a node must give."""
    names = [*made.args.posonlyargs, *made.args.args][int(method) :]
    optional = {one.arg for one in names[len(names) - len(made.args.defaults) :]} if made.args.defaults else set()
    optional |= {one.arg for one, default in zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True) if default}
    found = {}
    for argument in (*names, *made.args.kwonlyargs):
        kind = _kind(argument)
        given = argument.arg in optional or kind is None
        found[argument.arg] = (Any if kind is None else kind, None if given else ...)
    return found


def _kind(argument: ast.arg) -> Any:
    """The type of an argument; None for a role's, or where there is no annotation."""
    if argument.annotation is None:
        return None
    try:
        kind = eval(compile(ast.Expression(argument.annotation), "<annotation>", "eval"), {"__builtins__": {}}, _NAMES)
    except (NameError, TypeError, AttributeError):
        return None
    bounds = (
        [BY_NAME[argument.arg]] if argument.arg in BY_NAME and kind is not str else []
    )  # which are bounds of numbers
    return Annotated[kind, *bounds, WrapValidator(_or_a_node)]


def _or_a_node(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """A nested node with a `_target_` is built before the class sees it, so it may stand for a value of any kind."""
    return value if isinstance(value, dict) and "_target_" in value else check(value)
