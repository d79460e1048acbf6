"""By which code a run is made: the commit of the checkout that vpo lies in, and of no other."""

import os
import subprocess
import sys

import pytest

from vpo.results import provenance


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with a package `vpo` of two files and a folder of configs, which takes the place of ours."""
    root = tmp_path / "checkout"
    for name in ("vpo", "conf"):
        (root / name).mkdir(parents=True)
    (root / "vpo/__init__.py").write_text("")
    (root / "conf/config.yaml").write_text("seed: 0\n")
    (root / "README.md").write_text("read me\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    monkeypatch.setattr(provenance, "_places", lambda: {"vpo": root / "vpo", "vpo/conf": root / "conf"})
    return root


def test_the_commit_is_that_of_the_checkout(checkout):
    facts = provenance.code_facts()
    assert facts["commit"] == git(checkout, "rev-parse", "HEAD")
    assert facts["dirty"] is False


@pytest.mark.parametrize(
    ("file", "dirty"),
    [("vpo/__init__.py", True), ("vpo/new.py", True), ("conf/config.yaml", True), ("README.md", False)],
)
def test_code_and_configs_that_no_commit_holds_are_said(checkout, file, dirty):
    before = provenance.code_facts()
    (checkout / file).write_text("changed = 1\n")
    after = provenance.code_facts()
    assert (after["commit"], after["dirty"]) == (before["commit"], dirty)
    assert (after["sha256"] != before["sha256"]) is dirty


def test_a_package_installed_into_the_environment_of_some_project_has_no_commit(checkout, monkeypatch):
    package = checkout / ".venv/lib/site-packages/vpo"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(provenance, "_places", lambda: {"vpo": package})
    facts = provenance.code_facts()
    assert (facts["commit"], facts["dirty"]) == (None, None)
    assert len(facts["sha256"]) == 64


def test_equal_code_has_the_hash_of_the_checkout_when_it_is_installed(checkout, monkeypatch):
    """In a wheel the configs lie within the package."""
    before = provenance.code_facts()["sha256"]
    (checkout / "conf").rename(checkout / "vpo/conf")
    monkeypatch.setattr(provenance, "_places", lambda: {"vpo": checkout / "vpo", "vpo/conf": checkout / "vpo/conf"})
    assert provenance.code_facts()["sha256"] == before


def test_another_repository_that_the_environment_names_is_not_asked(checkout, tmp_path, monkeypatch):
    """As in a hook of git, which sets GIT_DIR for what it starts."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    git(other, "commit", "-q", "--allow-empty", "-m", "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert provenance.code_facts()["commit"] == git(checkout, "rev-parse", "HEAD")


def test_without_git_or_with_one_that_fails_there_is_no_commit(checkout, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert provenance.code_facts()["commit"] is None
    program = tmp_path / "bin/git"
    program.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(provenance, "GIT_SECONDS", 0.2)
    assert provenance.code_facts()["commit"] is None


def test_a_repository_without_a_commit_has_none(tmp_path):
    (tmp_path / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    assert provenance.git_commit(tmp_path) is None


def test_the_machine_is_described_without_torch_and_with_it():
    script = (
        "import sys; from vpo.results.provenance import device_facts; a = device_facts('cpu', 1); assert 'torch' not in sys.modules;"
        "import torch; torch.set_num_threads(3); b = device_facts('cpu', 1);"
        "assert (a['threads'], a['gpus']) == (None, None), a; assert b['threads'] == 3, b;"
        "assert len(b['gpus']) == torch.cuda.device_count(); assert a['cpu'] and a['cores'] >= 1"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
