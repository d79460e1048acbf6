"""What a training inherits: not what schedulers and launchers leave behind, and no file of the user's folder as a library."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, run_vpo
from tests.training import test_grpo
from tests.training_jobs import job, weights, without_wall_clock
from vpo.processes import launch
from vpo.processes.environment import limit_openmp_spin, rank_variables, training_environment, without_foreign_variables

# What a job of 2 nodes with 2 processes each finds in its environment, under Slurm, Open MPI, torchrun and `accelerate launch`,
# and what people put into a shell's profile.
HOSTILE = {
    "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "NODE_RANK": "0", "GROUP_RANK": "0",
    "MASTER_ADDR": "192.0.2.1", "MASTER_PORT": "1",
    "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "1", "SLURM_LOCALID": "1",
    "SLURM_NODEID": "0", "SLURM_NODELIST": "node[1-2]", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "2",
    "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "PMI_SIZE": "4", "PMI_RANK": "1",
    "PMIX_RANK": "1", "MV2_COMM_WORLD_SIZE": "4", "LSB_JOBID": "7", "JSM_NAMESPACE_SIZE": "4", "JSM_NAMESPACE_RANK": "1",
    "JSM_NAMESPACE_LOCAL_RANK": "1", "KUBERNETES_PORT": "tcp://192.0.2.1:443",
    "TORCHELASTIC_RUN_ID": "other", "TORCHELASTIC_RESTART_COUNT": "1", "PET_NPROC_PER_NODE": "2",
    "ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_FSDP": "true", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "ACCELERATE_USE_DEEPSPEED": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true", "PARALLELISM_CONFIG_TP_SIZE": "2",
    "PL_TRAINER_MAX_STEPS": "1", "PL_TRAINER_PRECISION": "bf16-mixed", "PL_TRAINER_OVERFIT_BATCHES": "1", "PL_GLOBAL_SEED": "7",
    "LT_DEVICES": "2", "NVIDIA_TF32_OVERRIDE": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
    "DNNL_DEFAULT_FPMATH_MODE": "BF16", "ONEDNN_DEFAULT_FPMATH_MODE": "BF16", "CUBLAS_EMULATE_SINGLE_PRECISION": "1",
}  # fmt: skip
MACHINE = {
    "PATH": "/bin", "HOME": "/home/me", "TMPDIR": "/scratch", "CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "3", "HF_TOKEN": "t",
    "NCCL_SOCKET_IFNAME": "eth0", "https_proxy": "http://proxy", "LD_LIBRARY_PATH": "/lib", "PLATFORM": "x", "RANKING": "y",
}  # fmt: skip


def test_variables_of_other_programs_are_left_out_and_the_machine_s_are_kept():
    assert without_foreign_variables(HOSTILE | MACHINE) == MACHINE


def test_a_rank_gets_its_own_variables(monkeypatch):
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    two = training_environment(1, 2, 4242, "abc")
    own = {
        "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "4242", "TORCHELASTIC_RUN_ID": "abc",
    }  # fmt: skip
    assert {name: two.get(name) for name in {**HOSTILE, **own}} == dict.fromkeys(HOSTILE) | own
    one = training_environment(0, 1, 4242, "abc")
    assert {name: one[name] for name in HOSTILE if name in one} == {"RANK": "0", "WORLD_SIZE": "1"}
    assert rank_variables(0, 1, 1, "x") == {"RANK": "0", "WORLD_SIZE": "1"}


@pytest.mark.parametrize(
    ("given", "due"),
    [
        ({}, {"GOMP_SPINCOUNT": "1000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_threads_spin_briefly_unless_the_user_decided(given, due):
    environment = dict(given)
    limit_openmp_spin(environment)
    assert environment == due


def test_a_training_spins_briefly(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert training_environment(0, 1, 1, "x")["GOMP_SPINCOUNT"] == "1000"


# What a library would find when it is imported; Hydra is the first of them.
AT_IMPORT = """
import json, os, sys
class ImportWatch:
    def find_spec(self, name, path=None, target=None):
        if name == "hydra" and self in sys.meta_path:
            sys.meta_path.remove(self)
            json.dump(dict(os.environ), open("seen.json", "w"))
sys.meta_path.insert(0, ImportWatch())
from vpo.cli.entry import main
sys.exit(main(["plan", "experiment=smoke", "stop_after=queries"]))
"""


def test_a_run_forgets_before_it_imports_libraries_and_keeps_what_a_launcher_asks_for(tmp_path):
    environment = {**os.environ, **HOSTILE}
    environment.pop("GOMP_SPINCOUNT", None)
    command = [sys.executable, "-c", AT_IMPORT]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["GOMP_SPINCOUNT"] == "1000"
    kept = {name.split("_")[0] for name in HOSTILE if name in seen}
    assert kept == {"SLURM", "OMPI", "PMI", "PMIX", "MV2", "LSB", "JSM", "KUBERNETES"}


def train(spec: Path) -> Path:
    launch.train_in_child(yaml.safe_load(spec.read_text()), spec.parent)
    return spec.parent


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_a_training_is_the_same_bit_for_bit_whatever_a_scheduler_left_behind(tmp_path, start, monkeypatch, devices):
    trainer = {"devices": devices, "strategy": "ddp" if devices > 1 else "auto", "per_device_batch_size": 4 // devices}
    specs = [job(tmp_path / name, start, recipe={"max_steps": 3}, trainer=trainer) for name in ("clean", "hostile")]
    clean = train(specs[0])
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    hostile = train(specs[1])
    assert weights(hostile) == weights(clean)
    assert without_wall_clock(hostile) == without_wall_clock(clean)


@pytest.mark.slow
def test_online_training_does_not_wait_for_a_scheduler_s_other_nodes(tmp_path, start, monkeypatch):
    specs = [test_grpo.job(tmp_path / name, start, {"max_steps": 2}) for name in ("clean", "hostile")]
    for spec, environment in zip(specs, ({}, HOSTILE), strict=True):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        launch.train_in_child(yaml.safe_load(spec.read_text()), spec.parent, "vpo.training.online.grpo")
    assert weights(specs[1].parent) == weights(specs[0].parent)


# A "training" that imports what a training imports and says from where.
LOOK = """
import json, sys
from pathlib import Path
import concurrent.futures, queue, random, string, tempfile, types
import vpo, yaml

out = Path(sys.argv[1]).parent
found = {name: module.__file__ for name, module in sys.modules.items() if getattr(module, "__file__", None)}
(out / "found.json").write_text(json.dumps({"modules": found, "arguments": sys.argv, "path": sys.path}))
"""
SHADOWS = ("queue", "random", "string", "types", "yaml", "json", "runpy", "trl", "torch", "vpo_plugin")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with files that are called as libraries are, and a package of the user."""
    here = tmp_path / "here"
    (here / "mine").mkdir(parents=True)
    (here / "mine/__init__.py").touch()
    (here / "mine/look.py").write_text(LOOK)
    for name in SHADOWS:
        (here / f"{name}.py").write_text("raise RuntimeError('the file of the user')\n")
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize("entry", ["", "the folder"])
def test_a_file_of_the_working_folder_stands_in_for_no_library(folder, tmp_path, monkeypatch, entry):
    """And yet a package there is found, where the parent finds it there."""
    monkeypatch.setattr(sys, "path", [entry and str(folder), *sys.path])
    launch.train_in_child({"label": "sft", "trainer": {"devices": 1}}, tmp_path, "mine.look")
    found = json.loads((tmp_path / "found.json").read_text())
    assert {name for name, file in found["modules"].items() if file.startswith(str(folder))} == {"mine", "__main__"}
    assert found["modules"]["vpo"] == str(Path(launch.__file__).parents[1] / "__init__.py")
    assert found["path"][-1] == str(folder)
    assert found["arguments"] == [str(folder / "mine/look.py"), str(tmp_path / "stage.yaml")]


def test_a_package_of_the_python_path_is_found_and_its_empty_entries_are_not_the_working_folder(
    folder, tmp_path, monkeypatch
):
    (tmp_path / "lib").mkdir()
    (folder / "mine").rename(tmp_path / "lib/mine")
    monkeypatch.setenv("PYTHONPATH", os.pathsep + str(tmp_path / "lib"))
    launch.train_in_child({"label": "sft", "trainer": {"devices": 1}}, tmp_path, "mine.look")
    found = json.loads((tmp_path / "found.json").read_text())
    assert str(tmp_path / "lib") in found["path"]
    assert str(folder) not in found["path"]


def test_what_the_parent_cannot_import_a_training_cannot_either(folder, tmp_path):
    with pytest.raises(RuntimeError, match="exit codes"):
        launch.train_in_child({"label": "sft", "trainer": {"devices": 1}}, tmp_path, "mine.look")


def test_the_command_line_runs_beside_files_that_are_called_as_libraries_are(folder):
    for name in ("argparse", "difflib", "traceback", "hydra", "pathlib", "numpy"):
        (folder / f"{name}.py").write_text("raise RuntimeError('the file of the user')\n")
    done = run_vpo("plan", "experiment=smoke", "stop_after=queries", cwd=folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_run_is_the_same_with_a_scheduler_s_variables_beside_files_called_as_libraries(folder, smoke):
    """And with a pool of processes, which start as Python starts them."""
    done = run_vpo("run", "experiment=smoke", "executor=processes", "executor.workers=2", cwd=folder, **HOSTILE)
    assert done.returncode == 0, done.stderr
    (mine,), (clean,) = ((place / "runs").rglob("items.jsonl") for place in (folder, smoke))
    assert mine.read_bytes() == clean.read_bytes()


def test_every_text_file_is_opened_as_utf8():
    """Python would take the locale's encoding: ASCII under a POSIX locale, cp1252 on Windows."""
    for path in sorted((ROOT / "vpo").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            owner = node.func.value.id if isinstance(getattr(node.func, "value", None), ast.Name) else ""
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            modes = [
                one.value for one in [*node.args, *(k.value for k in node.keywords)] if isinstance(one, ast.Constant)
            ]
            binary = name == "open" and any(
                str(mode) in ("rb", "wb", "ab", "ab+", "rb+", "r+b", "w+b") for mode in modes
            )
            if (
                name in ("open", "read_text", "write_text")
                and owner not in ("av", "os", "Image", "gzip", "archive")
                and not binary
            ):
                assert "encoding" in {one.arg for one in node.keywords}, f"{path}:{node.lineno}"
