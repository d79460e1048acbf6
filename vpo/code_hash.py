"""Which code makes a stage's results, so that a run can say which stored results are of older code.

The rule: the stage's own file, the files of the classes that its node names, and what these import of their own package or
of vpo, and so on. Left out are what every stage imports, which would make every edit one of all stages, and libraries,
whose versions a run's results name.
"""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from vpo.build import ALLOWED_PREFIXES

# Where results lie, how items are worked through, what is shown meanwhile; and templates, whose texts are in the keys.
INFRASTRUCTURE = (
    "vpo", "vpo.stages", "vpo.stages.context", "vpo.stages.stage", "vpo.store", "vpo.rows", "vpo.items", "vpo.executor.local",
    "vpo.executor.worker", "vpo.records", "vpo.cards", "vpo.errors", "vpo.interfaces", "vpo.build",
    "vpo.hardware", "vpo.progress", "vpo.templates",
)  # fmt: skip
LIBRARIES = tuple(prefix.partition(".")[0] for prefix in ALLOWED_PREFIXES if prefix != "vpo.")


def code_hash(stage: str, node: Mapping[str, Any]) -> str:
    """16 hex digits that name the code that makes a stage's results."""
    digest = hashlib.sha256()
    for file in code_of(stage, node).values():
        texts = sorted(file.parent.glob("*.txt")) if file.name == "__init__.py" else []  # a judge's word lists
        for one in (file, *texts):
            digest.update(one.read_bytes())
    return digest.hexdigest()[:16]


def code_of(stage: str, node: Mapping[str, Any]) -> dict[str, Path]:
    """The modules that make a stage's results, in order of their names, and their files."""
    found: dict[str, Path] = {}
    waiting = [f"vpo.stages.{stage}", *_unimported(stage, node)]
    waiting += [target.rpartition(".")[0] for target in _targets(node)]
    while waiting:
        module = waiting.pop()
        file = None if module in found or module in INFRASTRUCTURE else _file_of(module)
        if file is not None:
            found[module] = file
            package = module if file.name == "__init__.py" else module.rpartition(".")[0]
            own = ("vpo", module.partition(".")[0])
            waiting += [one for one in _imports(file.read_bytes(), package) if one.partition(".")[0] in own]
    return dict(sorted(found.items()))


def _unimported(stage: str, node: Mapping[str, Any]) -> list[str]:
    """What a stage runs without importing it: a worker started by its name, a choice that the pipeline hands over."""
    if stage == "grpo":
        return ["vpo.training.grpo"]
    return ["vpo.pairing"] if stage == "render" and node.get("selected") else []


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
