"""Making a worker's environment, with pip, git and Python as they are; pip finds packages in a folder of ours alone."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.assets.wheels import make_wheel, only_from
from tests.conftest import run_vpo
from tests.worker_environments.environments import fill, script_beside_contract, wait_until
from vpo.errors import UserError
from vpo.workers.environment import check_worker, read_record, worker_command
from vpo.workers.installing import install_worker
from vpo.workers.interpreters import find_python
from vpo.workers.manifest import WORKERS, Manifest, read_manifests

BODY = """
defaults = {"repository": ""}
def check(self, settings):
    import helper
    sys.path.insert(0, settings["repository"] or ".")
    return {"helper": helper.VERSION, "code": __import__("code_of_others").NAME if settings["repository"] else "none"}
def load(self, settings):
    sys.path.insert(0, settings["repository"])
def work(self, job):
    return {"code": __import__("code_of_others").NAME}
"""


def write_worker(folder: Path, *, requirements: str = "helper==1.0", body: str = BODY, **fields) -> Path:
    """A folder of workers with one, called own."""
    script_beside_contract(folder / "own", body)
    described = {"about": "a test's", "licence": "CC0-1.0", "run_by_us": True, "cite": "us"} | fields
    (folder / "own" / "worker.yaml").write_text(yaml.safe_dump(described))
    (folder / "own" / "requirements.txt").write_text(f"# pins\n{requirements}\n")
    return folder


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A folder of wheels, and a git repository: what an installation finds."""
    folder = tmp_path_factory.mktemp("index")
    make_wheel(folder / "wheels", "helper", {"helper.py": b"VERSION = '1.0'\n"})
    repository = folder / "repository"
    repository.mkdir()
    (repository / "code_of_others.py").write_text("NAME = 'first'\n")
    git = ["git", "-C", str(repository), "-c", "user.name=us", "-c", "user.email=us@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    (repository / "code_of_others.py").write_text("NAME = 'second'\n")
    subprocess.run([*git, "commit", "-qam", "second"], check=True)
    log = subprocess.run([*git, "rev-list", "--reverse", "HEAD"], check=True, capture_output=True, text=True)
    return folder, log.stdout.split()[0]


@pytest.fixture
def offline(index, monkeypatch):
    for name, value in only_from(index[0] / "wheels").items():
        monkeypatch.setenv(name, value)


def manifest_of(folder: Path) -> Manifest:
    return read_manifests(folder)["own"]


def test_install_check_and_ls_from_the_command_line(tmp_path, index):
    folder, first = index
    repository = {"url": (folder / "repository").as_uri(), "commit": first, "licence": "CC0-1.0"}
    workers = write_worker(tmp_path / "workers", repository=repository, run_by_us=False, download=3_000_000)
    options = [f"workers={workers}", f"folder={tmp_path / 'root'}"]

    def vpo(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_vpo("workers", *arguments, *options, cwd=tmp_path, **only_from(folder / "wheels"))

    before = vpo("ls").stdout
    assert "own  not installed; about 3 MB to download: `vpo workers install own`; never run by us" in before
    done = vpo("install", "own")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'root' / 'own'}\n"), done.stderr
    assert "own: never run by us" in done.stderr
    assert re.search(r"own  installed, Python 3\.\d+\.\d+, \d+ MB; never run by us", vpo("ls").stdout)
    check = vpo("check")
    assert (check.returncode, "helper 1.0, code first); by hand:\n" in check.stdout) == (0, True), check
    by_hand = check.stdout.splitlines()[1].strip()
    (tmp_path / "jobs.jsonl").write_text('{"id": "a"}\n')
    subprocess.run(by_hand, shell=True, cwd=tmp_path, check=True, stderr=subprocess.DEVNULL)
    assert json.loads((tmp_path / "results.jsonl").read_text())["result"] == {"code": "first"}
    record = json.loads((tmp_path / "root" / "own" / "worker.json").read_text())
    assert "helper==1.0" in record["packages"]

    # It is there, and nothing is done again, until what it was made from changes.
    again = vpo("install", "own")
    assert "own: is installed" in again.stderr
    assert "making" not in again.stderr
    write_worker(tmp_path / "workers", requirements="helper==1.0  # and a reason", repository=repository)
    assert "installed for another version of vpo" in vpo("ls").stdout
    with pytest.raises(UserError, match="was installed for another version of vpo"):
        worker_command(manifest_of(workers), tmp_path / "root", {})


@pytest.mark.slow
def test_a_killed_installation_is_none_and_is_begun_again(tmp_path, index):
    """Killed while it makes the environment: `ls` says so, and the next start makes it whole."""
    workers, root = write_worker(tmp_path / "workers"), tmp_path / "root"
    arguments = [sys.executable, "-m", "vpo", "workers", "install", "own", f"workers={workers}", f"folder={root}"]
    environment = {**os.environ, "PYTHONPATH": str(WORKERS.parents[1]), **only_from(index[0] / "wheels")}
    started = subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_until(lambda: (root / "own" / "env" / "pyvenv.cfg").exists())
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert read_record(root / "own") is None
    listed = run_vpo("workers", "ls", f"workers={workers}", f"folder={root}", cwd=tmp_path).stdout
    assert "own  not installed to its end" in listed
    done = run_vpo(*arguments[3:], cwd=tmp_path, **only_from(index[0] / "wheels"))
    assert done.returncode == 0, done.stderr
    assert read_record(root / "own") is not None


@pytest.mark.usefixtures("offline")
def test_what_cannot_be_installed_is_one_line_with_a_cure(tmp_path, index):
    root = tmp_path / "root"
    missing = manifest_of(write_worker(tmp_path / "a", requirements="nowhere==9.9"))
    with pytest.raises(
        UserError, match=r"own: pip could not install its packages \(.*nowhere==9\.9.*lacks it.*install\.log"
    ):
        install_worker(missing, root, print)
    assert read_record(root / "own") is None

    broken = manifest_of(write_worker(tmp_path / "b", body=BODY.replace("import helper", "import helpers")))
    with pytest.raises(UserError, match=r"its check failed with exit code 2 \(No module named 'helpers'\)"):
        install_worker(broken, root, print)
    assert read_record(root / "own") is None

    repository = {"url": (index[0] / "repository").as_uri(), "commit": "0" * 40, "licence": "CC0-1.0"}
    no_commit = manifest_of(write_worker(tmp_path / "c", repository=repository))
    with pytest.raises(UserError, match="has no commit 000000000000"):
        install_worker(no_commit, root, print)
    with pytest.raises(UserError, match=r"cannot be started .*`vpo workers install own force=true` makes it anew"):
        check_worker(broken, root / "own")


@pytest.mark.slow
def test_without_a_network_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    manifest = manifest_of(write_worker(tmp_path / "workers"))
    with pytest.raises(UserError, match="the network cannot be reached: check it, and the index settings of pip"):
        install_worker(manifest, tmp_path / "root", print)


def test_a_full_disk_says_so(tmp_path, small_disk):
    manifest = manifest_of(write_worker(tmp_path / "workers"))
    fill(small_disk)
    with pytest.raises(UserError, match=r"no space left on device.*make room, or set \$VPO_WORKERS"):
        install_worker(manifest, small_disk, print)
    assert read_record(small_disk / "own") is None


def test_the_python_that_a_worker_needs(tmp_path):
    ours = f"3.{sys.version_info[1]}"
    assert find_python(None, None, "x") == find_python(ours, None, "x") == Path(sys.executable)
    with pytest.raises(
        UserError, match=r"^x: there is no Python 3\.99 here; install one .* or name one: python=<path>"
    ):
        find_python("3.99", None, "x")
    with pytest.raises(
        UserError, match=rf"python={re.escape(sys.executable)} is Python {ours}, and the worker needs 3\.99"
    ):
        find_python("3.99", Path(sys.executable), "x")
    with pytest.raises(UserError, match="is no Python that can be started"):
        find_python(None, tmp_path / "nothing", "x")
    # A shim of a version manager that is not set to it starts nothing: it is passed over.
    shims = tmp_path / "shims"
    shims.mkdir()
    (shims / "python3.98").write_text("#!/bin/sh\nexit 127\n")
    (shims / "python3.98").chmod(0o755)
    with pytest.raises(UserError, match=r"no Python 3\.98"):
        find_python_with(shims, "3.98")


def find_python_with(folder: Path, version: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return find_python(version, None, "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"python": "3"}, r"worker\.yaml: python: .*pattern"),
        ({"repository": {"url": "x", "commit": "main", "licence": "y"}}, r"repository\.commit: .*pattern"),
        ({"pins": []}, r"pins: Extra inputs are not permitted"),
        ({"licence": None}, r"licence: Input should be a valid string"),
    ],
)
def test_a_wrong_description_is_named(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        read_manifests(write_worker(tmp_path, **change))


def test_unknown_names_and_missing_names(tmp_path):
    done = run_vpo("workers", "install", "open_soar", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "vpo: workers: there is no worker open_soar; did you mean open_sora?\n",
    )
    done = run_vpo("workers", "install", cwd=tmp_path)
    assert done.stderr == (
        "vpo: workers: install: name what to install, of open_sora, toy, vbench, visionreward\n"
    )  # fmt: skip


def test_the_workers_of_the_package_say_what_was_never_run(tmp_path):
    listed = run_vpo("workers", "ls", cwd=tmp_path, VPO_WORKERS=str(tmp_path)).stdout
    never = [line.split()[0] for line in listed.splitlines() if "never run by us" in line]
    assert never == ["open_sora", "vbench", "visionreward"]
    for name in never:
        assert "NEVER RUN BY US" in (WORKERS / name / "script.py").read_text().split('"""')[1]
    assert "code from https://github.com/hpcaitech/Open-Sora at 17cce90, licence Apache-2.0" in listed


@pytest.mark.parametrize("name", ["open_sora", "visionreward", "vbench", "toy"])
def test_requirements_are_pins(name):
    manifest = read_manifests()[name]
    pins = [line for line in manifest.requirements.read_text().splitlines() if line and not line.startswith("#")]
    assert pins
    assert all(re.fullmatch(r"[a-z0-9._-]+==[a-z0-9.+!]+", pin) for pin in pins)
    assert len({pin.split("==")[0] for pin in pins}) == len(pins)
