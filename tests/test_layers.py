"""The import directions of the house, read from the source."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "vpo"
GROUPS = {
    "backbone",
    "dataset",
    "evaluator",
    "executor",
    "generator",
    "judge",
    "logger",
    "method",
    "reward",
    "rewriter",
}
LOWEST = {"cards", "errors", "interfaces", "records", "seeding"}
# What a room may import, besides the lowest modules and itself. `templates` are texts.
ALLOWED = {
    "templates": set(),
    "targets": set(),
    "storage": {"templates"},
    "assets": {"processes", "storage"},
    "charts": set(),
    "feedback": set(),
    "costs": {"storage", "templates"},
    "curation": {"charts", "dataset", "language", "storage"},
    "video": {"assets", "language", "storage"},
    "language": {"assets", "storage", "templates"},
    "processes": {"storage"},
    "backbone": {"language", "storage", "templates"},
    "dataset": {"external", "storage", "templates"},
    "external": {"dataset", "storage", "workers"},  # of data sets the reading of files
    "evaluator": {"assets", "language", "storage", "templates", "video", "workers"},
    "executor": {"processes", "storage"},
    "human": {"feedback", "storage"},
    "generator": {"assets", "external", "language", "storage", "video", "workers"},
    "reward": {"assets", "feedback", "language", "storage", "templates", "video", "workers"},
    "workers": {"processes", "storage"},
    "judge": {"feedback", "language", "storage", "templates"},
    "method": {"external", "feedback", "language", "templates"},
    "rewriter": {"language", "templates"},
    "sketch": {"feedback", "language", "storage", "video"},
    "training": {"build", "executor", "feedback", "language", "processes", "storage", "targets", "templates"},
    "build": {"results", "storage", "targets"},
    "stages": {"assets", "backbone", "build", "charts", "curation", "dataset", "executor", "feedback", "language", "processes",
               "storage", "targets", "templates", "training", "video"},
    "pipeline": {"build", "stages", "storage"},
    "results": {"charts", "external", "feedback", "stages", "storage", "tables", "targets", "video"},
    "tables": {"checking", "results"},  # the choices of a group, by their files
    "logger": {"results", "storage"},
    "export": {"assets", "language", "results", "storage", "tables", "templates"},
    "checking": {"assets", "build", "external", "language", "pipeline", "processes", "stages", "storage", "targets", "templates",
                 "training"},
    "runs": {"assets", "build", "checking", "costs", "pipeline", "processes", "results", "stages", "storage", "targets", "workers"},
    "optimize": {"assets", "build", "checking", "dataset", "executor", "export", "judge", "language", "runs", "stages", "storage",
                 "templates"},
    "cli": {"assets", "checking", "dataset", "export", "external", "human", "optimize", "processes", "results", "runs", "stages",
            "storage", "tables", "workers"},
}  # fmt: skip
# Tables, and what only reads folders, must answer in a moment.
LIGHT = ("tables", "cli", "results.run_folder", "results.intervals", "results.metrics", "results.schema", "results.facts",
         "results.lineage", "results.provenance", "storage", "export.source", "export.card", "export.hub",
         "costs", "assets.manifest", "assets.folder", "assets.download", "assets.getting", "workers.contract", "workers.client",
         "workers.environment", "workers.installing", "workers.interpreters", "workers.manifest")  # fmt: skip
HEAVY = {"torch", "pytorch_lightning", "transformers", "wandb"}
KNOW_HYDRA = {"checking/composing.py", "checking/hints.py", "checking/overrides.py", "cli/entry.py", "cli/run.py"}


def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere, function bodies included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms(path: Path) -> set[str]:
    """The rooms, and modules beside them, of what a file imports from vpo."""
    names = {name.split(".")[1] for name in imports(path) if name.startswith("vpo.")}
    return {name for name in names if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()}


def outside(path: Path) -> set[str]:
    return {one.split(".")[0] for one in imports(path)} - {"vpo"}


def files(room: str) -> list[Path]:
    place = PACKAGE / room.replace(".", "/")
    found = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    assert found
    return found


def test_every_room_has_its_directions():
    here = {path.stem for path in PACKAGE.glob("*.py")} | {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert here - {"__init__", "__main__", "__pycache__"} == LOWEST | set(ALLOWED)


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_what_lies_below_it(room):
    for path in files(room):
        above = rooms(path) - LOWEST - ALLOWED[room] - {room}
        assert not above, f"{path.relative_to(ROOT)} imports {above}"


def test_groups_do_not_import_one_another():
    for group in sorted(GROUPS):
        assert not ALLOWED[group] & (GROUPS | {"stages", "pipeline", "cli", "runs", "checking", "build"}), group


def test_the_sketch_world_is_known_to_nobody():
    for room in sorted(set(ALLOWED) - {"sketch"}):
        for path in files(room):
            assert "sketch" not in rooms(path), path


@pytest.mark.parametrize("name", sorted(LOWEST))
def test_lowest_modules_use_the_standard_library_only(name):
    (path,) = files(name)
    assert rooms(path) <= LOWEST
    assert not outside(path) & {*HEAVY, "numpy", "hydra", "omegaconf"}


def test_feedback_is_pure():
    for path in files("feedback"):
        assert not outside(path) & {*HEAVY, "numpy"}, path


def test_few_know_hydra_and_one_knows_wandb():
    knowing = {
        path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if outside(path) & {"hydra", "omegaconf"}
    }
    assert knowing == KNOW_HYDRA
    assert {path.name for path in PACKAGE.rglob("*.py") if "wandb" in outside(path)} == {"wandb.py"}
    for path in PACKAGE.rglob("*.py"):
        assert not any(one.startswith("hydra._internal") for one in imports(path)), path


@pytest.mark.parametrize("room", LIGHT)
def test_what_reads_folders_imports_nothing_heavy(room):
    for path in files(room):
        assert not outside(path) & HEAVY, path


def test_every_choice_has_its_code_and_config():
    for group in sorted({*GROUPS, "generator", "reward"}):
        configs = sorted(
            one for one in (ROOT / "conf" / group).glob("*.yaml") if one.stem != "none"
        )  # which builds nothing
        assert configs, group
        for config in configs:
            text = config.read_text(encoding="utf-8")
            bases = re.findall(r"(base/\w+)@_here_", text)
            whole = text + "".join((config.parent / f"{base}.yaml").read_text(encoding="utf-8") for base in bases)
            assert "_target_: vpo." in whole, config
