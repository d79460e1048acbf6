"""Which code makes a stage's results, so that a run can warn of stored results of older code.

The rule: the stage's own file, the files of the classes that its node names, and what these import of their own package or
of vpo, and so on. Left out are what every stage imports, which would make every edit one of all stages, and libraries,
whose versions a run's results name.

A template is code, too: what a judge is asked decides what it answers. A stage has the templates of `vpo.templates`

- that its node names below a key with "template" in its name: `judge.template: x`, `judge.templates: {critique: x}`;
- that one of its modules reads by a name written there: `read_template("x")`, or f"x_{kind}", which stands for all that fit;
- that one of its modules names in a variable, field or default with "template" in its name: `TEMPLATES = ("x", "y")`.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from glob import escape
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from vpo.templates import template_files

# Where results lie, how items are worked through, what is shown meanwhile; and how templates are read, not what they say.
INFRASTRUCTURE = (
    "vpo", "vpo.stages", "vpo.stages.context", "vpo.stages.stage", "vpo.storage.store", "vpo.storage.rows", "vpo.storage.items",
    "vpo.executor.local", "vpo.executor.worker", "vpo.records", "vpo.cards", "vpo.errors", "vpo.interfaces", "vpo.build",
    "vpo.targets", "vpo.processes.hardware", "vpo.storage.progress", "vpo.storage", "vpo.storage.jsonio", "vpo.storage.disk",
    "vpo.storage.folders", "vpo.storage.partial", "vpo.storage.users", "vpo.storage.redact", "vpo.storage.clip_store",
    "vpo.templates", "vpo.workers.client",
)  # fmt: skip
READERS = ("read_template", "read_chat", "template_text", "template_hash")
LIBRARIES = ("torch", "transformers", "peft", "diffusers", "torchmetrics")


def code_hash(stage: str, node: Mapping[str, Any], runs: Iterable[str] = ()) -> str:
    """16 hex digits that name the code that makes a stage's results; `runs` are modules that it starts without importing them."""
    return _digest(code_of(stage, node, runs), node)


def class_hash(node: Mapping[str, Any]) -> str:
    """16 hex digits that name the code of the classes that a node names, whichever stage uses them."""
    return _digest(_files_of(_modules(node)), node)


def code_of(stage: str, node: Mapping[str, Any], runs: Iterable[str] = ()) -> dict[str, Path]:
    """The modules that make a stage's results, in order of their names, and their files."""
    return _files_of([f"vpo.stages.{stage}", *runs, *_modules(node)])


def _digest(files: Mapping[str, Path], node: Mapping[str, Any]) -> str:
    """Of the files of modules, of text files beside packages, and of the templates that modules and node name."""
    digest = hashlib.sha256()
    for file in files.values():
        # a judge's word lists, a worker's pins
        texts = sorted(file.parent.glob("*.txt")) if file.name == "__init__.py" else []
        for one in (file, *texts):
            digest.update(one.read_bytes())
    for file in _templates(files, node):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _modules(node: Any) -> list[str]:
    """The modules of the classes that a node names."""
    return [target.rpartition(".")[0] for target in _targets(node)]


def _files_of(waiting: list[str]) -> dict[str, Path]:
    """The modules and what they import of their own package or of vpo, and so on, in order of their names."""
    found: dict[str, Path] = {}
    while waiting:
        module = waiting.pop()
        file = None if module in found or module in INFRASTRUCTURE else _file_of(module)
        if file is not None:
            found[module] = file
            package = module if file.name == "__init__.py" else module.rpartition(".")[0]
            own = ("vpo", module.partition(".")[0])
            waiting += [one for one in _imports(file.read_bytes(), package) if one.partition(".")[0] in own]
    return dict(sorted(found.items()))


def templates_of(stage: str, node: Mapping[str, Any], runs: Iterable[str] = ()) -> list[Path]:
    """The templates that decide a stage's results, in order of their names."""
    return _templates(code_of(stage, node, runs), node)


def _templates(files: Mapping[str, Path], node: Mapping[str, Any]) -> list[Path]:
    patterns = set(_named_templates(node, within=False))
    for file in files.values():
        patterns.update(_read_templates(file.read_bytes()))
    return [file for file in template_files() if any(fnmatchcase(file.stem, pattern) for pattern in patterns)]


def _named_templates(value: Any, within: bool) -> Iterator[str]:
    """Every text of a node below a key with "template" in its name."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _named_templates(inner, within or "template" in str(key).lower())
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _named_templates(inner, within)
    elif within and isinstance(value, str):
        yield escape(value)


@cache
def _read_templates(source: bytes) -> tuple[str, ...]:
    """Patterns of the templates that a module names; what stands in braces in an f-string may be anything."""
    values = [value for node in ast.walk(ast.parse(source)) for value in _template_values(node)]
    found = {pattern for value in values for inner in ast.walk(value) for pattern in _patterns(inner)}
    return tuple(sorted(found))


def _template_values(node: ast.AST) -> list[ast.expr]:
    """The values in which a piece of code names templates."""
    if isinstance(node, ast.Call):
        return [*node.args, *(one.value for one in node.keywords)] if _last_name(node.func) in READERS else []
    pairs: list[tuple[str, ast.expr | None]] = []
    if isinstance(node, ast.Assign):
        pairs = [(_last_name(target), node.value) for target in node.targets]
    elif isinstance(node, ast.AnnAssign):
        pairs = [(_last_name(node.target), node.value)]
    elif isinstance(node, ast.arguments):
        last = [*node.posonlyargs, *node.args][-len(node.defaults) :] if node.defaults else []
        defaults = [*zip(last, node.defaults, strict=True), *zip(node.kwonlyargs, node.kw_defaults, strict=True)]
        pairs = [(argument.arg, default) for argument, default in defaults]
    return [value for name, value in pairs if value is not None and "template" in name.lower()]


def _patterns(value: ast.AST) -> set[str]:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return {escape(value.value)}
    if isinstance(value, ast.JoinedStr):
        parts = (escape(str(part.value)) if isinstance(part, ast.Constant) else "*" for part in value.values)
        return {"".join(parts)}
    return set()


def _last_name(value: ast.AST) -> str:
    """`c` of `a.b.c`."""
    return value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else ""


def _file_of(module: str) -> Path | None:
    """A module's file, without importing anything; None for a name that is no module, and for libraries."""
    top, *inner = module.split(".")
    spec = find_spec(top) if top and top not in ("__main__", *LIBRARIES) else None
    if spec is None or not (spec.submodule_search_locations or spec.has_location):
        return None
    package = spec.submodule_search_locations
    place = (Path(next(iter(package))) if package else Path(str(spec.origin)).with_suffix("")).joinpath(*inner)
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


@cache
def _imports(source: bytes, package: str) -> tuple[str, ...]:
    """Names that a file of `package` imports anywhere, function bodies included; some name no module but a class."""
    return tuple(sorted(set(_names(ast.parse(source), package))))


def _names(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _targets(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        own = {str(value["_target_"])} if "_target_" in value else set()
        return own.union(*map(_targets, value.values()))
    if isinstance(value, list | tuple):
        return set().union(*map(_targets, value))
    return set()
