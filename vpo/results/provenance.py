"""The provenance of a run: its code, its libraries and its machine. Does not import torch; uses it only where it is loaded."""

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import vpo
from vpo.storage.installed import installed

PACKAGES = (
    "torch", "transformers", "pytorch-lightning", "trl", "peft", "diffusers", "hydra-core", "torchmetrics", "av"
)  # fmt: skip
SOURCES = (".py", ".yaml", ".txt")  # code and tables of words, configs, templates
GIT_SECONDS = 10


def versions() -> dict[str, str]:
    """Versions of vpo, Python and the libraries that results depend on; "absent" for what is not installed."""
    found = {"vpo": vpo.__version__, "python": platform.python_version()}
    return found | dict.fromkeys(PACKAGES, "absent") | installed(PACKAGES)


def code_facts() -> dict[str, Any]:
    """Commit and hash of the code of vpo, as `vpo.results.schema.Code` has them."""
    places = _places()
    commit = git_commit(places["vpo"])
    return {
        "commit": commit,
        "dirty": None if commit is None else _is_dirty(places),
        "sha256": _hash_of(places),
    }


def git_commit(package: Path) -> str | None:
    """The commit of the git checkout that tracks this package.

    None without git, and for a package in another project's checkout: installed into a virtual environment below it.
    """
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _git(package, "rev-parse", "HEAD")
    return commit.strip() if commit else None


def device_facts(accelerator: str, devices: int) -> dict[str, Any]:
    """The machine, as `vpo.results.schema.Device` has it; `accelerator` and `devices` are what trainings take."""
    torch = sys.modules.get("torch")
    return {
        "accelerator": accelerator,
        "devices": devices,
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "threads": None if torch is None else torch.get_num_threads(),
        "gpus": None if torch is None else _gpus(torch),
    }


def _gpus(torch: Any) -> list[str]:
    try:
        return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    except Exception:  # a finished run must not be lost to a driver that is there and does not work
        return []


def _cpu() -> str:
    """The processor's name; its architecture where the system does not say more."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def _places() -> dict[str, Path]:
    """The folders of the package and of its configs, which lie beside it in a checkout and within it when installed."""
    places = {"vpo": Path(str(vpo.__file__)).resolve().parent}
    spec = importlib.util.find_spec("vpo.conf")
    configs = next(iter(spec.submodule_search_locations or ()), None) if spec else None
    return places | ({"vpo/conf": Path(configs).resolve()} if configs else {})


def _hash_of(places: Mapping[str, Path]) -> str:
    """The same for the same code, wherever its folders lie."""
    files = {
        f"{name}/{file.relative_to(place).as_posix()}": file
        for name, place in places.items()
        for file in place.rglob("*")
        if file.suffix in SOURCES
    }
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        content = file.read_bytes()
        digest.update(f"{name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def _is_dirty(places: Mapping[str, Path]) -> bool | None:
    changed = _git(places["vpo"], "status", "--porcelain", "--", *map(str, places.values()))
    return None if changed is None else bool(changed.strip())


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of git; None where git is not installed, fails or hangs."""
    program = shutil.which("git")
    if program is None:
        return None
    # A git hook that starts us names its own repository in GIT_DIR. `safe.directory`: a checkout of another user's (in a container,
    # say) is only read, and no program that its config names is started.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    settings = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")
    try:
        done = subprocess.run(
            [program, "--no-optional-locks", *settings, "-C", str(folder), *arguments],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", errors="replace",
            timeout=GIT_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
