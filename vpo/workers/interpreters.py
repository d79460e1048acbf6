"""Finding a Python of a given version on this machine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from vpo.errors import UserError

_ASK = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"


def find_python(version: str | None, named: Path | None, who: str) -> Path:
    """The interpreter that an environment is made with.

    Args:
        version: "3.10"; None takes the one that runs this.
        named: an interpreter that the user names; it must be of that version.
        who: what messages begin with.

    Raises:
        UserError: There is none, or the named one is another version.
    """
    if named is not None:
        found = _asked([str(named)])
        if found is None:
            raise UserError(f"{who}: python={named} is no Python that can be started; name an interpreter")
        if version is not None and found[0] != version:
            raise UserError(f"{who}: python={named} is Python {found[0]}, and the worker needs {version}")
        return found[1]
    for command in _candidates(version):
        found = _asked(command)
        if found is not None and version in (None, found[0]):
            return found[1]
    raise UserError(
        f"{who}: there is no Python {version} here; install one (`uv python install {version}`, pyenv, conda, or your system's "
        "packages), or name one: python=<path>"
    )


def _candidates(version: str | None) -> Iterator[list[str]]:
    """Commands that may start such a Python: this one, those on the PATH, Windows' launcher, pyenv's, uv's."""
    yield [sys.executable]
    if version is None:
        return
    for name in (f"python{version}", "python3", "python"):
        if found := shutil.which(name):
            yield [found]
    if os.name == "nt" and (launcher := shutil.which("py")):
        yield [launcher, f"-{version}"]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from ([str(one)] for one in sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True))
    if uv := shutil.which("uv"):
        asked = [uv, "python", "find", "--no-python-downloads", version]
        done = subprocess.run(asked, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode == 0 and done.stdout.strip():
            yield [done.stdout.strip()]


def _asked(command: list[str]) -> tuple[str, Path] | None:
    """The version of an interpreter, and its own path: a launcher's or a shim's is another. None where it does not start."""
    try:
        done = subprocess.run(
            [*command, "-I", "-c", _ASK], capture_output=True, encoding="utf-8", errors="replace", timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.split("\n")
    return (lines[0].strip(), Path(lines[1].strip())) if done.returncode == 0 and len(lines) > 1 else None
