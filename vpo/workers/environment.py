"""The environments of workers on this machine: where they lie, what is there, and how a worker is started in one.

An environment is a folder `<name>/`: `env/` (a virtual environment with the pinned requirements), `repository/` (where the worker
has one) and, written last, `worker.json`. Without that record it is not installed (`installing.py`).
"""

import json
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from vpo.errors import UserError
from vpo.processes.environment import without_foreign_variables
from vpo.storage.jsonio import dumps
from vpo.workers.manifest import Manifest

VARIABLE = "VPO_WORKERS"
RECORD = "worker.json"
CHECK_SECONDS = 600.0  # importing large libraries from a cold network disk takes minutes


@dataclass(frozen=True)
class Record:
    """What the folder of an environment says of itself.

    Attributes:
        name: of the worker.
        version: of its manifest when it was installed (`Manifest.version`).
        python: version of the interpreter.
        packages: all that is installed, "name==version".
        size: bytes of all files.
    """

    name: str
    version: str
    python: str
    packages: list[str]
    size: int


def workers_folder() -> Path:
    """The folder of all environments: $VPO_WORKERS, or else in the user's cache."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else user_cache_path("vpo", appauthor=False) / "workers"


def use_workers_folder(folder: Path | None) -> None:
    """Make a folder that of all environments, for this process and those that it starts; None changes nothing."""
    if folder is not None:
        os.environ[VARIABLE] = str(folder.expanduser().absolute())


def read_record(folder: Path) -> Record | None:
    """The record of an environment's folder; None where it is not installed, or not to the end."""
    try:
        return Record(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def interpreter_of(folder: Path) -> Path:
    """The Python of an environment."""
    return folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def worker_environment() -> dict[str, str]:
    """The variables that a worker's process gets: nothing of other programs, and none that would bring our packages into it."""
    inherited = without_foreign_variables(os.environ)
    kept = {name: value for name, value in inherited.items() if not name.startswith("PYTHON") and name != "VIRTUAL_ENV"}
    return kept | {"VPO_PARENT": str(os.getpid())}


def check_installed(manifest: Manifest, root: Path) -> Path:
    """The folder of a worker's environment. Raises UserError where it is not installed, or for another version of vpo."""
    folder = root / manifest.name
    record = read_record(folder)
    if record is None:
        raise UserError(
            f"workers: {manifest.name} is not installed in {root}; `vpo workers install {manifest.name}`, or set ${VARIABLE}"
        )
    if record.version != manifest.version:
        raise UserError(
            f"workers: {manifest.name} in {root} was installed for another version of vpo; `vpo workers install {manifest.name}`"
        )
    return folder


def worker_command(manifest: Manifest, root: Path, settings: dict[str, Any]) -> list[str]:
    """The command that starts a worker on its standard streams. Raises UserError where it is not installed as it should be."""
    folder = check_installed(manifest, root)
    settings = _places(manifest, folder) | settings
    return [*_script_command(manifest, folder), "-", "-", "--settings", dumps(settings)]


def command_by_hand(manifest: Manifest, folder: Path) -> str:
    """The command, for a shell, that does the jobs of a file."""
    places = _places(manifest, folder)
    return shlex.join(
        [*_script_command(manifest, folder), "jobs.jsonl", "results.jsonl"]
        + (["--settings", dumps(places)] if places else [])
    )


def check_worker(manifest: Manifest, folder: Path) -> dict[str, Any]:
    """What a worker's script says of its environment. Raises UserError where it cannot be started, or misses something."""
    who = f"workers: {manifest.name}"
    cure = f"`vpo workers install {manifest.name} force=true` makes it anew"
    command = [*_script_command(manifest, folder), "--check", "--settings", dumps(_places(manifest, folder))]
    try:
        done = subprocess.run(
            command, env=worker_environment(), stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
            errors="replace", timeout=CHECK_SECONDS,
        )  # fmt: skip
    except OSError as error:
        raise UserError(f"{who}: {interpreter_of(folder)} cannot be started ({error.strerror}); {cure}") from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{who}: its check did not end in {CHECK_SECONDS:.0f} s; {cure}") from error
    lines = done.stdout.strip().splitlines()
    try:
        if done.returncode == 0:
            found: dict[str, Any] = json.loads(lines[-1])
            return found
    except (IndexError, ValueError):
        pass
    said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1].removeprefix(f"{manifest.name}: ")
    raise UserError(f"{who}: its check failed with exit code {done.returncode} ({said[:300]}); {cure}")


def _places(manifest: Manifest, folder: Path) -> dict[str, Any]:
    """The settings that say where the environment has what the script needs."""
    return {"repository": str(folder / "repository")} if manifest.description.repository is not None else {}


def _script_command(manifest: Manifest, folder: Path) -> list[str]:
    """`-I`: no variable and no file of the working folder may bring other packages into the environment."""
    return [str(interpreter_of(folder)), "-I", "-X", "utf8", str(manifest.script)]
