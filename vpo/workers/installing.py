"""Making the environment of a worker.

The record is written last, so an installation that was killed is none, and is begun again. pip installs, because it knows the user's
index settings; its cache makes a second start quick.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from vpo.errors import UserError
from vpo.processes.pip import pip_environment, reason_of, unreachable
from vpo.storage.disk import is_full, writing
from vpo.storage.folders import alone
from vpo.storage.jsonio import write_json
from vpo.workers.environment import (
    RECORD,
    VARIABLE,
    Record,
    check_worker,
    interpreter_of,
    read_record,
    worker_environment,
)
from vpo.workers.interpreters import find_python
from vpo.workers.manifest import Manifest

PIP_LOG = "pip.log"

Say = Callable[[str], None]


def install_worker(
    manifest: Manifest, root: Path, say: Say, *, python: Path | None = None, force: bool = False
) -> Path:
    """Have a worker's environment; what is there already is not done again, and two processes do not do it twice.

    Args:
        manifest: the worker.
        root: the folder of all environments.
        say: takes a line of progress.
        python: the interpreter; None finds one of the version that the worker needs.
        force: make it anew even if it is there.

    Returns:
        Its folder.

    Raises:
        UserError: It could not be had: no such Python, no network, a full disk, a library that cannot be imported.
    """
    who, folder = f"workers: {manifest.name}", root / manifest.name
    if not force and _is_current(manifest, folder):
        say(f"{manifest.name}: is installed, {folder}")
        return folder
    interpreter = find_python(manifest.description.python, python, who)
    waits = partial(say, f"{manifest.name}: another process is installing it; waiting")
    with writing(root, who, f"${VARIABLE}"), alone(root / f"{manifest.name}.lock", waits):
        if not force and _is_current(manifest, folder):
            say(f"{manifest.name}: another process has installed it, {folder}")
            return folder
        _clear(folder)
        say(f"{manifest.name}: making an environment with {interpreter}")
        _make(manifest, folder, interpreter, say)
        found = check_worker(manifest, folder)
        record = Record(manifest.name, manifest.version, str(found.get("python")), _packages(folder), _size(folder))
        write_json(folder / RECORD, asdict(record), indent=1)
    say(f"{manifest.name}: done, {folder}")
    return folder


def _is_current(manifest: Manifest, folder: Path) -> bool:
    record = read_record(folder)
    return record is not None and record.version == manifest.version and interpreter_of(folder).exists()


def _clear(folder: Path) -> None:
    """Remove what is there, the record first: what is left by a kill on the way is not installed."""
    (folder / RECORD).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()


def _make(manifest: Manifest, folder: Path, interpreter: Path, say: Say) -> None:
    """The environment with its packages, and the repository."""
    who, log, described = f"workers: {manifest.name}", folder / "install.log", manifest.description
    if described.repository is not None:
        say(f"{manifest.name}: cloning {described.repository.url}")
        _clone(described.repository.url, described.repository.commit, folder / "repository", log, who)
    venv = [str(interpreter), "-I", "-m", "venv", "--without-pip", str(folder / "env")]
    _run(venv, log, who, "its virtual environment cannot be made")
    pip = [
        *_pip_of(folder, log, who),
        "--log",
        str(log.with_name(PIP_LOG)),
        "install",
        "--no-input",
        "--progress-bar",
        "off",
    ]
    say(f"{manifest.name}: installing {len(_pins(manifest))} packages (all that pip says: {log})")
    _run([*pip, "--requirement", str(manifest.requirements)], log, who, "pip could not install its packages")
    for one in described.built:
        say(f"{manifest.name}: building {one}")
        _run([*pip, "--no-build-isolation", one], log, who, f"pip could not build {one.split(' ')[0]}")


def _pip_of(folder: Path, log: Path, who: str) -> list[str]:
    """The command of a pip that installs into the environment: ours, or its own where ours is missing or does not know its Python."""
    inside = str(interpreter_of(folder))
    ours = [sys.executable, "-I", "-m", "pip", "--python", inside]
    if (
        subprocess.run(
            [*ours, "--version"], env=_installing(), stdin=subprocess.DEVNULL, capture_output=True
        ).returncode
        == 0
    ):
        return ours
    _run([inside, "-I", "-m", "ensurepip", "--default-pip"], log, who, "pip cannot be installed in it")
    return [inside, "-I", "-m", "pip"]


def _clone(url: str, commit: str, to: Path, log: Path, who: str) -> None:
    """A git repository at a commit; of the history only what is needed, where the server can do that."""
    if shutil.which("git") is None:
        raise UserError(f"{who}: git, which clones {url}, is not installed; install it")
    clone = ["git", "clone", "--quiet", "--no-checkout", "--filter=blob:none", url, str(to)]
    _run(clone, log, who, f"{url} cannot be cloned")
    checkout = ["git", "-C", str(to), "-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach", commit]
    _run(checkout, log, who, f"{url} has no commit {commit[:12]}")


def _run(command: list[str], log: Path, who: str, problem: str) -> None:
    """Run a step of the installation; all that it says is appended to the log. Raises UserError where it fails."""
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        begin = file.tell()
        try:
            done = subprocess.run(command, env=_installing(), stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        except OSError as error:
            raise UserError(f"{who}: {command[0]} cannot be started ({error.strerror})") from error
    if done.returncode == 0:
        return
    with log.open(encoding="utf-8", errors="replace") as file:
        file.seek(begin)
        said = file.read()
    # That a connection failed is said in pip's own log alone, when it is not to try again.
    beside = log.with_name(PIP_LOG)
    more = beside.read_text(encoding="utf-8", errors="replace") if beside.exists() and "pip" in command else ""
    raise UserError(f"{who}: {problem} ({_explain(said, more)}); all that was said is in {log}")


def _installing() -> dict[str, str]:
    """The environment of pip and git: nothing may ask the user, or bring packages of ours in."""
    kept = {name: value for name, value in pip_environment().items() if not name.startswith("PYTHON")}
    return kept | {"GIT_TERMINAL_PROMPT": "0"}


def _explain(said: str, pip_log: str) -> str:
    """What a failed step said, and the cure, in short."""
    if is_full(OSError(said)):
        return f"no space left on device: make room, or set ${VARIABLE} and TMPDIR"
    if unreachable(said + pip_log) or "Could not resolve host" in said or "unable to access" in said:
        return "the network cannot be reached: check it, and the index settings of pip"
    if "No module named venv" in said or "ensurepip is not available" in said:
        return "this Python has no venv module: on Debian install python3-venv, or name another: python=<path>"
    if "No matching distribution" in said:
        return f"{reason_of(said)}: the index that pip is set to lacks it, or has none for this platform"
    return reason_of(said)


def _pins(manifest: Manifest) -> list[str]:
    lines = manifest.requirements.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith(("#", "-"))]


def _packages(folder: Path) -> list[str]:
    ask = "import importlib.metadata as m; print(*sorted({f'{d.name}=={d.version}' for d in m.distributions()}), sep='\\n')"
    command = [str(interpreter_of(folder)), "-I", "-c", ask]
    done = subprocess.run(command, env=worker_environment(), capture_output=True, encoding="utf-8", errors="replace")
    return done.stdout.split("\n")[:-1]


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
