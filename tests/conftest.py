import gc
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from vpo.processes.signals import ALL

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
# Tests run in two processes: threads of each would wait for one another on the same cores, which costs minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
# The environment of a child that imports tests: this process may leave its children without the folder that they start in.
SEES_TESTS = {**os.environ, "PYTHONPATH": str(ROOT)}
SHARED = ROOT.parent / "shared"
SAFE_PATH = os.environ.get("PYTHONSAFEPATH")
HANDLERS = {number: signal.getsignal(number) for number in ALL}
OWN = ROOT / "tests/data"  # stands in for the shared files where they are missing
QUERIES = next(one for one in (SHARED / "data/vpo/sft_queries.sample.json", OWN / "queries.json") if one.exists())


def run_vpo(*arguments: str, cwd: Path, timeout: float = 400, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "vpo", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture(autouse=True)
def commands_leave_nothing() -> Iterator[None]:
    """A command of ours, run in this process by a test or a fixture, changes it; after each test it is as at the start.

    Its handlers of signals would be those of a forked child, too, and one that comes while the child begins to wait for a lock is not
    seen: a pool of processes then waits for ever for a child that it has told to end. With PYTHONSAFEPATH a script does not see the
    modules beside it. Its log goes to the standard error of its moment, which a later test has not.
    """
    package = logging.getLogger("vpo")
    handlers, propagate, level = list(package.handlers), package.propagate, package.level
    yield
    package.handlers[:], package.propagate = handlers, propagate
    package.setLevel(level)
    for number, handler in HANDLERS.items():
        signal.signal(number, handler)
    if SAFE_PATH is None:
        os.environ.pop("PYTHONSAFEPATH", None)
    else:
        os.environ["PYTHONSAFEPATH"] = SAFE_PATH


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Path:
    """A folder in which `vpo run experiment=smoke` has been run: store/ and runs/. Run once; each test process has its own copy."""
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smoke_made"
    with FileLock(f"{made}.lock"):
        if not (made / "whole").exists():
            made.mkdir(exist_ok=True)
            done = run_vpo("run", "experiment=smoke", cwd=made)
            assert done.returncode == 0, done.stderr
            (made / "whole").touch()
    return shutil.copytree(made, base / "smoke", ignore=shutil.ignore_patterns("whole"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a full disk needs the right to mount one")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def start(tmp_path_factory) -> Path:
    """The policy folder of an untrained tiny Llama."""
    from tests.training_jobs import WORDS
    from vpo.backbone.tiny import TinyBackbone

    folder = tmp_path_factory.mktemp("start")
    TinyBackbone(WORDS, 0, 300, 32, 64, 2, 2, 0.09, 512, "tiny").prepare(folder)
    return folder


@pytest.fixture(scope="session")
def renderer(start):
    """The renderer of `start`."""
    import torch

    from vpo.language.chat.rendering import Renderer
    from vpo.language.checkpoints.loading import load_pretrained
    from vpo.templates import read_template

    return Renderer(load_pretrained(start, torch.float32)[1], read_template("tiny"))


def pytest_collection_finish() -> None:
    """What collecting has imported stays to the end: taken out of the garbage collector's sight, which roles call when they end."""
    gc.collect()
    gc.freeze()
