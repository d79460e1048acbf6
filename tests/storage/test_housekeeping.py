import json
import shutil

import pytest
from filelock import FileLock

from vpo.cli.store import store_command
from vpo.errors import UserError


@pytest.fixture
def home(tmp_path):
    """A store with the results draft/a, draft/b and sft/c, which no run refers to yet."""
    for name in ("draft/a", "draft/b", "sft/c"):
        add(tmp_path, name)
    (tmp_path / "runs").mkdir()
    return tmp_path


def add(home, name, manifest=True):
    folder = home / "store" / name
    folder.mkdir(parents=True)
    (folder / "payload.txt").write_text("x" * 100)
    if manifest:
        (folder / "manifest.json").write_text(json.dumps({"created": "2024-01-01T00:00:00Z"}))


def refer(home, run, entries=None, results=None):
    folder = home / "runs" / run
    folder.mkdir(parents=True)
    if entries is not None:
        (folder / "entries.json").write_text(json.dumps(entries))
    if results is not None:
        (folder / "results.json").write_text(json.dumps({"run": {"entries": results}}))


def store(home, *arguments):
    return store_command([*arguments, f"paths.store={home / 'store'}", f"paths.runs={home / 'runs'}"])


def kept(home):
    folders = (path for path in (home / "store").glob("*/*") if path.is_dir())
    return sorted(f"{path.parent.name}/{path.name}" for path in folders)


def test_a_stopped_run_keeps_its_results_as_a_finished_one_does(home, capsys):
    refer(home, "killed", entries=["draft/a", "sft/not-yet-made"])
    refer(home, "sweep/0", results=["sft/c"])
    store(home, "prune", "yes=true")
    assert kept(home) == ["draft/a", "sft/c"]
    assert "in 1 results" in capsys.readouterr().out


def test_both_files_of_a_run_count(home):
    refer(home, "run", entries=["draft/a"], results=["draft/b"])
    store(home, "prune", "yes=true")
    assert kept(home) == ["draft/a", "draft/b"]


def test_without_yes_nothing_is_deleted(home, capsys):
    add(home, "sft/d.partial", manifest=False)
    store(home, "prune")
    assert len(kept(home)) == 4
    assert "in 4 results that no run refers to; add yes=true" in capsys.readouterr().out


def test_unfinished_work_stays_while_a_run_names_it(home):
    refer(home, "killed", entries=["sft/d", "draft/a"])
    for name in ("sft/d.partial", "sft/e.partial"):
        add(home, name)  # a kill between the manifest and the rename leaves one with a manifest
    store(home, "prune", "yes=true")
    assert kept(home) == ["draft/a", "sft/d.partial"]


def test_trash_of_a_killed_prune_goes_though_a_run_uses_the_result_made_anew(home):
    refer(home, "run", entries=["draft/a"])
    for name in ("draft/a.trash", "draft/b.trash"):
        add(home, name)
    store(home, "prune", "yes=true")
    assert kept(home) == ["draft/a"]


def test_what_another_process_holds_is_skipped_and_said(home, capsys):
    add(home, "sft/d.partial", manifest=False)
    locks = [home / "store/draft/a.lock", home / "store/sft/d.lock"]
    with FileLock(locks[0]), FileLock(locks[1]):
        store(home, "prune", "yes=true")
        assert all(lock.exists() for lock in locks)
    assert kept(home) == ["draft/a", "sft/d.partial"]
    shown = capsys.readouterr().out
    assert "kept draft/a: another process holds it" in shown
    assert "kept sft/d.partial: another process holds it" in shown
    store(home, "prune", "yes=true")
    assert kept(home) == []


def test_a_kill_midway_leaves_no_manifest_over_half_of_a_payload(home, monkeypatch):
    def killed(path):
        raise KeyboardInterrupt(str(path))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            store(home, "prune", "yes=true")
    assert kept(home) == ["draft/a.trash", "draft/b", "sft/c"]
    store(home, "prune", "yes=true")
    assert kept(home) == []


def test_a_run_that_starts_while_prune_works_keeps_its_results(home, monkeypatch, capsys):
    remove = shutil.rmtree

    def start(path):
        if not (home / "runs/late").exists():
            refer(home, "late", entries=["draft/b"])
        remove(path)

    monkeypatch.setattr(shutil, "rmtree", start)
    store(home, "prune", "yes=true")
    assert kept(home) == ["draft/b"]
    assert "kept draft/b: a run refers to it by now" in capsys.readouterr().out


def test_what_cannot_be_deleted_is_one_line(home, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", denied)
    with pytest.raises(UserError, match=r"draft/a: permission denied; make it deletable, then prune again"):
        store(home, "prune", "yes=true")


@pytest.mark.parametrize("name", ["entries.json", "results.json"])
@pytest.mark.parametrize("content", ['["draft/a', "{}", "[1]", "null", "\xff"])
def test_a_damaged_file_of_a_run_stops_prune(home, name, content):
    refer(home, "run")
    (home / "runs/run" / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=rf"runs/run/{name}: cannot be read \(.*\); start its run again, or delete"):
        store(home, "prune", "yes=true")
    assert len(kept(home)) == 3


def test_ls_shows_users_and_what_is_left_over(home, capsys):
    refer(home, "killed", entries=["draft/a", "sft/d"])
    add(home, "sft/d.partial", manifest=False)
    add(home, "sft/e.trash")
    store(home, "ls")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["draft/a", "killed"] in [line[-2:] for line in lines]
    assert ["unfinished", "sft/d.partial", "killed"] in [line[-3:] for line in lines]
    assert ["half", "deleted", "sft/e.trash", "no", "run"] in [line[-5:] for line in lines]
    assert lines[-1][2:5] == ["in", "3", "results;"]


def test_answers_of_servers_are_counted_and_go_only_when_they_are_named(home, capsys):
    for name in ("ab/" + "0" * 64, "ab/" + "1" * 64, "cd/" + "2" * 64):
        path = home / "store/answers" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * 512)
    (home / "store/answers/cd/held.lock").touch()
    store(home, "ls")
    assert "1.5 kB  in 3 answers of servers, which are not asked the same again" in capsys.readouterr().out
    for arguments in (["prune"], ["prune", "yes=true"], ["prune", "answers=true"]):
        store(home, *arguments)
        assert len(list(home.glob("store/answers/*/*.json"))) == 3, arguments
    store(home, "prune", "answers=true", "yes=true")
    assert "1.5 kB  deleted with 3 answers of servers" in capsys.readouterr().out
    assert [path.name for path in home.glob("store/answers/*")] == ["cd"]
    store(home, "ls")
    assert "answers" not in capsys.readouterr().out
