"""Environments of workers for tests, and how a worker's script is started by hand."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from vpo.storage.jsonio import write_json
from vpo.workers import contract
from vpo.workers.environment import RECORD, Record, interpreter_of
from vpo.workers.manifest import WORKERS, read_manifests

TOY = WORKERS / "toy" / "script.py"


def made_environment(root: Path, name: str, *folders: Path) -> Path:
    """A worker's environment that is not installed from an index: a virtual environment of its own that sees the packages of this
    one and, before them, those in `folders`."""
    folder = root / name
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    asked = [str(interpreter_of(folder)), "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    place = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
    ours = [one for one in sys.path if one.endswith("site-packages")]
    (place / "tests.pth").write_text("\n".join([*map(str, folders), *ours]) + "\n")
    record = Record(name, read_manifests()[name].version, "3", [], 1)
    write_json(folder / RECORD, asdict(record))
    return folder


def write_jobs(path: Path, jobs: list[dict]) -> Path:
    path.write_text("".join(json.dumps(job) + "\n" for job in jobs))
    return path


def command_of(script: Path, jobs: Path | str, results: Path | str, **settings) -> list[str]:
    return [sys.executable, "-I", str(script), str(jobs), str(results), "--settings", json.dumps(settings)]


def run_script(script: Path, jobs: Path | str, results: Path | str, **settings) -> subprocess.CompletedProcess:
    return subprocess.run(command_of(script, jobs, results, **settings), capture_output=True, text=True, timeout=60)


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def script_beside_contract(folder: Path, body: str, name: str = "own") -> Path:
    """A script of a user in a folder with a copy of contract.py; `body` defines methods of its class."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(contract.__file__, folder / "contract.py")
    script = folder / "script.py"
    script.write_text(
        "import os, sys, time\n"
        "sys.path.append(os.path.dirname(os.path.abspath(__file__)))\n"
        "import contract\n"
        f"class Own(contract.Script):\n    name = {name!r}\n"
        + "".join(f"    {line}\n" for line in body.strip().splitlines())
        + "sys.exit(contract.main(Own()))\n"
    )
    return script


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def fill(folder: Path) -> None:
    """Leave a file system no room."""
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"0" * 4096)
