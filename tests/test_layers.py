"""The import directions of the house, read from the source."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "vpo"
# Generators and rewards of the real world have no file yet; the sketch world's lie in its own room.
GROUPS = ("backbone", "dataset", "judge", "method", "evaluator", "executor")
LOWEST = {"records", "cards", "interfaces", "errors", "seeding"}
PURE = {"pairing", "checklist", "statistics", "metrics"}


def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere, function bodies included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms(path: Path) -> set[str]:
    """The first part below `vpo` of what a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("vpo.")}


def files(room: str) -> list[Path]:
    found = sorted((PACKAGE / room).rglob("*.py")) if (PACKAGE / room).is_dir() else [PACKAGE / f"{room}.py"]
    assert found
    return found


def test_lowest_modules_use_the_standard_library_only():
    for name in sorted(LOWEST):
        assert rooms(PACKAGE / f"{name}.py") <= LOWEST
        outside = {one.split(".")[0] for one in imports(PACKAGE / f"{name}.py")}
        assert not outside & {"torch", "numpy", "hydra", "omegaconf", "transformers", "wandb"}, name


def test_pure_modules_know_records_only():
    for name in sorted(PURE):
        assert rooms(PACKAGE / f"{name}.py") <= LOWEST | PURE, name


def test_storage_knows_no_stage_and_no_role():
    for path in files("storage"):
        assert rooms(path) <= LOWEST | {"storage"}, path


def test_groups_do_not_import_one_another():
    for group in GROUPS:
        for path in files(group):
            others = rooms(path) & (set(GROUPS) - {group})
            assert not others, f"{path.relative_to(ROOT)} imports {others}"
            assert not rooms(path) & {"stages", "pipeline", "cli", "job", "checks"}, path


def test_the_sketch_world_stands_alone():
    allowed = LOWEST | {"video", "language", "checklist", "sketch", "storage"}
    for path in files("sketch"):
        assert rooms(path) <= allowed, f"{path.relative_to(ROOT)} imports {rooms(path) - allowed}"


def test_no_stage_knows_the_world_it_works_in():
    for room in ("stages", "pipeline", "training", "store", "rows", "results"):
        for path in files(room):
            assert "sketch" not in rooms(path), path


def test_only_the_entry_modules_know_hydra_and_wandb():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        outside = {one.split(".")[0] for one in imports(path)}
        if name not in ("build.py", "cli.py", "hints.py", "job.py", "overrides.py"):
            assert not outside & {"hydra", "omegaconf"}, name
        assert not any(one.startswith("hydra._internal") for one in imports(path)), name
        if name != "wandb_mirror.py":
            assert "wandb" not in outside, name


def test_tables_never_import_torch():
    for room in (
        "tables",
        "comparison",
        "run_folder",
        "table_spec",
        "table_formats",
        "statistics",
        "metrics",
        "report",
        "housekeeping",
        "arguments",
        "export_source",
        "export_card",
        "results_file",
        "run_facts",
        "lineage",
        "provenance",
        "hub",
    ):
        outside = {one.split(".")[0] for one in imports(PACKAGE / f"{room}.py")}
        assert not outside & {"torch", "pytorch_lightning", "transformers", "hydra", "wandb"}, room


def test_every_choice_has_its_code_and_config():
    for group in (*GROUPS, "generator", "reward"):
        configs = sorted((ROOT / "conf" / group).glob("*.yaml"))
        assert configs, group
        for config in configs:
            text = config.read_text()
            bases = re.findall(r"(base/\w+)@_here_", text)
            assert "_target_: vpo." in text + "".join((config.parent / f"{base}.yaml").read_text() for base in bases), (
                config
            )
