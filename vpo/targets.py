"""What a config's `_target_` may name: checked before anything is built.

A config is text that may come from anywhere. It may name

- of vpo, a class that is defined in a room of choices (ROOMS), or one of the few others in CHOICES. The room's source is read
  for it, nothing is imported and no attribute is followed, so no name leads on to what a module happens to import;
- of a package that the user trusts (`build.allow=[mypackage.]`, on the command line only), a class or a function that is
  really defined there: `mypackage.shutil.rmtree` is shutil's;
- nothing else. No library is open: a choice of ours wraps what it takes from one, and decides what of it a config sets.
"""

import ast
import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from vpo.errors import UserError

EXTERNAL_QUERIES = "vpo.dataset.external.ExternalQueries"  # the data set of `vpo evaluate`: what others made
ROOMS = (
    "vpo.backbone", "vpo.dataset", "vpo.engine", "vpo.evaluator", "vpo.executor", "vpo.generator", "vpo.judge", "vpo.language",
    "vpo.logger", "vpo.method", "vpo.reward", "vpo.rewriter", "vpo.sketch",
)  # fmt: skip
# What may be built besides the classes of the rooms: functions are none of them, unless they are listed.
CHOICES = ("vpo.sketch.dataset.corpus",)
# Where a config may hold a `_target_`: one object each, or one object a name.
ROLES = (
    "backbone", "dataset", "drafter", "engine", "executor", "generator", "judge", "reward", "rewriter", "search", "target",
)  # fmt: skip
NAMED_ROLES = ("evaluator", "logger", "method")

_trusted: tuple[str, ...] = ()


def allow(packages: Sequence[str]) -> None:
    """Trust these packages in this process (`build.allow=[mypackage.]`). Raises UserError for what is no package's name."""
    global _trusted
    for one in packages:
        if not isinstance(one, str) or not all(part.isidentifier() for part in one.removesuffix(".").split(".")):
            raise UserError(f"config: build.allow={one} is no package; name one, as in build.allow=[mypackage.]")
    _trusted = tuple(packages)


def allowed_packages() -> tuple[str, ...]:
    """What `allow` was given, for a process that builds on our behalf."""
    return _trusted


def target_class(node: Mapping[str, Any]) -> Any:
    """The class that a node names, without building it."""
    target = node["_target_"]
    check_target(target)
    return _imported(target) if _is_ours(target) else _trusted_object(target)


def check_targets(config: Mapping[str, Any]) -> None:
    """Raise UserError where a composed config names, anywhere, what it may not build. Nothing is built.

    Of modules only those of packages that the user trusts are imported.
    """
    for path, node in targets_in(config):
        top, depth = path[0] if path else "", len(path)
        named = ".".join(path)
        if top not in ROLES + NAMED_ROLES or (top in NAMED_ROLES and depth == 1):
            roles = ", ".join(sorted((*ROLES, *(f"{role}.<name>" for role in NAMED_ROLES))))
            raise UserError(f"config: nothing is built from {named}, so it can have no _target_; {roles} can")
        if "_partial_" in node and depth == 1 + (top in NAMED_ROLES):
            raise UserError(f"config: {named} is built whole; leave out {named}._partial_")
        check_target(node["_target_"])
    _check_remote_code(config, "")


def targets_in(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every node with a `_target_` at any depth, in lists and `_args_` too, with the path that leads to it."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield path, value
        for key, inner in value.items():
            yield from targets_in(inner, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from targets_in(inner, (*path, str(number)))


def check_target(target: Any) -> None:
    """Raise UserError for a name that a config may not build, or that is not there."""
    parts = target.split(".") if isinstance(target, str) else []
    if len(parts) < 2 or not all(part.isidentifier() and not part.startswith("__") for part in parts):
        raise UserError(f"_target_ {target} is not allowed; name a class, as in vpo.judge.rules.judge.RulesJudge")
    if _is_ours(target):
        _check_ours(target)
    elif any(_within(target, package) for package in _trusted):
        _trusted_object(target)
    elif _within(target, "vpo"):
        raise UserError(
            f"_target_ {target} is not allowed; of vpo a config builds what is in {', '.join(ROOMS)}; choose one by its group, "
            "as in judge=rules"
        )
    else:
        raise UserError(
            f"_target_ {target} is not allowed; if you trust it, add its package: build.allow=[{parts[0]}.]"
        )


def is_own(target: Any) -> bool:
    """Whether a target is the user's own and not one of vpo's choices."""
    return not (isinstance(target, str) and _within(target, "vpo"))


def definition_of(target: str) -> ast.ClassDef | ast.FunctionDef:
    """The source of a choice of ours. Raises UserError where its module, or it in its module, is not there."""
    module, _, name = target.rpartition(".")
    file = _file_of(module)
    there = _definitions(file) if file else {}
    found = there.get(name)
    if found is None:
        known = ", ".join(one for one, kind in there.items() if isinstance(kind, ast.ClassDef) and one[0] != "_")
        reason = f"{module} defines no class {name}" if file else f"there is no module {module}"
        raise UserError(
            f"_target_ {target} cannot be imported: {reason}{f'; its classes are {known}' if known else ''}"
        )
    return found


def declared(target: str, name: str) -> tuple[str, ...]:
    """The names that a class of ours lists in an attribute of its own, such as `not_in_key`; none where it has no such attribute.

    Its source is read: nothing is imported for it. A user's own class, which this process may not be able to import, lists none.
    """
    for one in () if is_own(target) else definition_of(target).body:
        if isinstance(one, ast.Assign) and [getattr(left, "id", None) for left in one.targets] == [name]:
            return tuple(ast.literal_eval(one.value))
    return ()


def has_method(target: str, name: str) -> bool:
    """Whether a class of ours defines a method of this name. Its source is read: nothing is imported for it."""
    return any(isinstance(one, ast.FunctionDef) and one.name == name for one in definition_of(target).body)


def _check_remote_code(value: Any, path: str) -> None:
    """Code that a model's repository brings along is not run in this process, whoever's class would load it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "trust_remote_code" and inner:
                raise UserError(
                    f"config: {path}{key}={inner} runs what a model's repository holds; use a model that needs none"
                )
            _check_remote_code(inner, f"{path}{key}.")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            _check_remote_code(inner, f"{path}{number}.")


def _check_ours(target: str) -> None:
    if not isinstance(definition_of(target), ast.ClassDef) and target not in CHOICES:
        raise UserError(f"_target_ {target} is not allowed: it is a function; name a class of its module")


def _is_ours(target: str) -> bool:
    return target in CHOICES or any(_within(target, room) for room in ROOMS)


def _within(name: str, package: str) -> bool:
    return name.startswith(package.removesuffix(".") + ".")


def _file_of(module: str) -> Path | None:
    """The source of a module of vpo, without importing it."""
    place = Path(__file__).parent.joinpath(*module.split(".")[1:])
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


@cache
def _definitions(file: Path) -> dict[str, ast.ClassDef | ast.FunctionDef]:
    """The classes and functions that a file defines at its top level."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {one.name: one for one in tree.body if isinstance(one, ast.ClassDef | ast.FunctionDef)}


def _imported(target: str) -> Any:
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # a library that it needs is not installed, or is broken
        raise UserError(f"_target_ {target} cannot be imported: {_reason(error)}") from error
    if found.__module__ != module:
        raise UserError(f"_target_ {target} is {found.__module__}'s, which is not allowed; name it where it is defined")
    return found


def _trusted_object(target: str) -> Any:
    """What a target in a trusted package names. Raises UserError where it is another package's, or not there."""
    parts = target.split(".")
    try:
        size = next(size for size in range(len(parts) - 1, 0, -1) if _is_module(".".join(parts[:size])))
        found: Any = import_module(".".join(parts[:size]))
        for part in parts[size:]:
            found = getattr(found, part)
            if isinstance(found, ModuleType):
                _check_origin(target, found.__name__)
    except StopIteration:
        raise UserError(f"_target_ {target} cannot be imported: there is no module {parts[0]}") from None
    except UserError:
        raise
    except Exception as error:  # the import of a user's module raises whatever it likes
        raise UserError(f"_target_ {target} cannot be imported: {_reason(error)}") from error
    _check_origin(target, _origin_of(found))
    if not callable(found):
        raise UserError(f"_target_ {target} is no class and no function")
    return found


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError as error:
        if error.name == name or name.startswith(f"{error.name}."):
            return False  # a part of the name is no module, or no package
        raise


def _check_origin(target: str, module: str) -> None:
    if not any(_within(f"{module}.", package) for package in _trusted):
        raise UserError(f"_target_ {target} is {module}'s, which is not allowed; name the class where it is defined")


def _origin_of(found: Any) -> str:
    """The module in which it is defined, below what wraps or binds it."""
    while True:
        if isinstance(found, partial):
            found = found.func
        elif inspect.ismethod(found):
            found = found.__func__
        elif not inspect.isclass(found) and hasattr(found, "__wrapped__"):
            found = found.__wrapped__
        else:
            break
    module = getattr(found, "__module__", None)
    return module if isinstance(module, str) else "another package"


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
