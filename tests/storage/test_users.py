"""A store knows who uses it, wherever the run folders lie."""

import json
import shutil
from pathlib import Path

import pytest

from vpo.cli.store import store_command
from vpo.errors import UserError
from vpo.storage.store import Store


def made(folder: Path) -> dict[str, int]:
    (folder / "payload.txt").write_text("x" * 100)
    return {}


def run(home: Path, name: str = "smoke/one", *, runs: str = "elsewhere/runs", node: int = 0, stop: bool = False) -> str:
    """A run that uses one result. Returns the result's name."""
    folder = home / runs / name
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(home / "store")
    store.register(folder, home / runs, {})
    entry = store.get("draft", {"n": node}, {}, made)
    if not stop:
        store.finish()
    return f"draft/{entry.key}"


def prune(home: Path, *arguments: str, store: str = "store") -> None:
    store_command(["prune", *arguments, f"paths.store={home / store}", f"paths.runs={home / 'runs'}"])


def kept(home: Path, store: str = "store") -> set[str]:
    return {f"{path.parent.parent.name}/{path.parent.name}" for path in (home / store).glob("*/*/manifest.json")}


def test_results_of_a_run_elsewhere_stay(tmp_path, capsys):
    used = run(tmp_path)
    Store(tmp_path / "store").get("draft", {"n": "nobody's"}, {}, made)
    prune(tmp_path, "yes=true")
    assert kept(tmp_path) == {used}
    store_command(["ls", f"paths.store={tmp_path / 'store'}", f"paths.runs={tmp_path / 'runs'}"])
    assert f"{used} " in capsys.readouterr().out


def test_ls_names_the_run_as_it_is_called_or_by_its_place(tmp_path, capsys):
    used = run(tmp_path, runs="runs")
    other = run(tmp_path, node=1)
    store_command(["ls", f"paths.store={tmp_path / 'store'}", f"paths.runs={tmp_path / 'runs'}"])
    users = {line.split()[3]: line.split()[4] for line in capsys.readouterr().out.splitlines()[:-1]}
    assert users == {used: "smoke/one", other: str(tmp_path / "elsewhere/runs/smoke/one")}


def test_a_run_that_died_before_it_wrote_anything_keeps_what_it_asked_for(tmp_path):
    used = run(tmp_path, stop=True)
    assert not list((tmp_path / "elsewhere").rglob("*.json"))
    prune(tmp_path, "yes=true")
    assert kept(tmp_path) == {used}


def test_a_moved_store_still_knows_its_users(tmp_path):
    used = run(tmp_path)
    (tmp_path / "store").rename(tmp_path / "moved")
    prune(tmp_path, "yes=true", store="moved")
    assert kept(tmp_path, "moved") == {used}


def test_a_deleted_run_is_forgotten_and_said(tmp_path, capsys):
    used, other = run(tmp_path), run(tmp_path, "smoke/two", node=1)
    shutil.rmtree(tmp_path / "elsewhere/runs/smoke/one")
    prune(tmp_path)
    assert kept(tmp_path) == {used, other}  # without yes nothing is deleted
    assert "smoke/one is gone: it no longer counts as a user\n" in capsys.readouterr().out
    prune(tmp_path, "yes=true")
    assert kept(tmp_path) == {other}
    assert "smoke/one is gone: forgotten\n" in capsys.readouterr().out
    prune(tmp_path, "yes=true")
    assert "gone" not in capsys.readouterr().out


@pytest.mark.parametrize("deleted", ["runs", "runs/smoke", "runs/smoke/one"])
def test_runs_beside_the_store_may_be_deleted_at_any_depth(tmp_path, deleted):
    run(tmp_path, runs="runs")
    run(tmp_path, "gain/other", runs="runs", node=1)
    shutil.rmtree(tmp_path / deleted)
    prune(tmp_path, "yes=true")
    assert len(kept(tmp_path)) == (0 if deleted == "runs" else 1)


def unmount(home: Path, where: str) -> None:
    """As it looks when a disk that was mounted there is not mounted any more."""
    (home / where).rename(home / "the disk")
    (home / where).mkdir(parents=True)


@pytest.mark.parametrize("mount", ["elsewhere", "elsewhere/runs"])
def test_runs_on_a_disk_that_is_not_mounted_are_in_use_until_they_are_said_to_be_gone(tmp_path, capsys, mount):
    used = run(tmp_path)
    unmount(tmp_path, mount)
    prune(tmp_path, "yes=true")
    assert kept(tmp_path) == {used}
    folder = tmp_path / "elsewhere/runs/smoke/one"
    assert f"{folder} cannot be seen" in capsys.readouterr().out
    prune(tmp_path, "yes=true", f"gone={tmp_path / 'elsewhere'}")
    assert kept(tmp_path) == set()


def test_a_run_of_another_machine_is_in_use(tmp_path):
    """Its whole path is unknown here: nothing of it tells whether it was deleted."""
    used = run(tmp_path)
    (file,) = (tmp_path / "store/users").glob("*.json")
    file.write_text(json.dumps({"run": "/scratch-of-b/runs/one", "runs": "/scratch-of-b/runs", "entries": [used]}))
    prune(tmp_path, "yes=true")
    assert kept(tmp_path) == {used}


def test_what_is_still_there_is_not_gone(tmp_path):
    used = run(tmp_path)
    with pytest.raises(UserError, match=r"gone=.*: .*smoke/one is still there; delete it first"):
        prune(tmp_path, "yes=true", f"gone={tmp_path / 'elsewhere'}")
    with pytest.raises(UserError, match=r"gone=nowhere: no run there uses"):
        prune(tmp_path, "yes=true", "gone=nowhere")
    assert kept(tmp_path) == {used}


@pytest.mark.parametrize("content", ['{"run": "x"', "[]", '{"run": "x", "runs": "y", "entries": [1]}', '{"run": 1}'])
def test_a_damaged_entry_of_the_list_stops_prune(tmp_path, content):
    used = run(tmp_path)
    (file,) = (tmp_path / "store/users").glob("*.json")
    file.write_text(content)
    with pytest.raises(
        UserError, match=r"users/\w+.json: cannot be read \(.*\); start its run again, or delete the file"
    ):
        prune(tmp_path, "yes=true")
    assert kept(tmp_path) == {used}


def test_a_run_that_starts_again_keeps_what_it_will_come_to(tmp_path):
    """Prune while the second start is at its first stage."""
    folder, runs = tmp_path / "elsewhere/runs/smoke/one", tmp_path / "elsewhere/runs"
    folder.mkdir(parents=True)
    first = Store(tmp_path / "store")
    first.register(folder, runs, {})
    early, late = (first.get("draft", {"n": number}, {}, made) for number in range(2))
    second = Store(tmp_path / "store")
    second.register(folder, runs, {})
    second.get("draft", {"n": 0}, {}, made)
    prune(tmp_path, "yes=true")
    assert kept(tmp_path) == {f"draft/{early.key}", f"draft/{late.key}"}
    second.finish()
    prune(tmp_path, "yes=true")
    assert kept(tmp_path) == {f"draft/{early.key}"}


def test_a_result_that_a_config_names_by_its_path_is_in_use_with_what_it_was_made_from(tmp_path):
    store = Store(tmp_path / "store")
    start = store.get("start", {}, {}, made)
    policy = store.get("dpo", {}, {"start": start}, made)
    folder = tmp_path / "elsewhere/runs/one"
    folder.mkdir(parents=True)
    user = Store(tmp_path / "store")
    config = {"backbone": {"model": str(policy.folder / "policy")}, "dataset": {"path": "q.txt"}, "seed": 0}
    user.register(folder, folder.parent, config)
    user.finish()
    prune(tmp_path, "yes=true")
    assert kept(tmp_path) == {f"start/{start.key}", f"dpo/{policy.key}"}


def test_a_renamed_project_folder_takes_its_runs_along(tmp_path):
    before, now = tmp_path / "project", tmp_path / "renamed"
    used = run(before)
    before.rename(now)
    prune(now, "yes=true")
    assert kept(now) == {used}


def test_a_run_that_did_not_come_along_with_its_store_is_in_use(tmp_path):
    """Where the store went, nothing is known of the run: its own folder may have got another name, or be on another disk."""
    used = run(tmp_path / "project")
    (tmp_path / "disk").mkdir()
    (tmp_path / "project/store").rename(tmp_path / "disk/store")
    (tmp_path / "project").rename(tmp_path / "renamed")
    prune(tmp_path / "disk", "yes=true")
    assert kept(tmp_path / "disk") == {used}
