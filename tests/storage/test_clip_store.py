"""Clips by what made them: found by equal requests only, whole or not at all, and pruned when nobody uses them."""

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

import pytest

from vpo.cli.store import store_command
from vpo.storage.clip_store import ClipStore, clips_in, place, unused

ASKED = {"generator": {"_target_": "x.Y", "steps": 50}, "prompt": "a dog", "seed": 7}


@pytest.fixture
def clips(tmp_path: Path) -> ClipStore:
    return ClipStore(tmp_path / "store/clips")


def rendered(tmp_path: Path, name: str = "render/a", content: bytes = b"a clip") -> Path:
    """A stage's folder with a clip."""
    folder = tmp_path / "store" / name / "clips"
    folder.mkdir(parents=True)
    (folder.parent / "manifest.json").write_text(json.dumps({"created": "2024-01-01T00:00:00Z"}))
    (folder / "p.mp4").write_bytes(content)
    return folder / "p.mp4"


def keep(clips: ClipStore, file: Path, asked: dict = ASKED) -> None:
    clips.keep(asked, file, {"id": "p"}, {"seconds": 9})


def test_an_equal_request_finds_the_clip_and_another_does_not(clips, tmp_path):
    keep(clips, rendered(tmp_path))
    found = clips.find({"seed": 7, "prompt": "a dog", "generator": {"steps": 50, "_target_": "x.Y"}})
    assert found.path.read_bytes() == b"a clip"
    assert (found.clip, found.made) == ({"id": "p"}, {"seconds": 9})
    for other in ({"seed": 8}, {"prompt": "a dog "}, {"generator": {"_target_": "x.Y", "steps": 51}}):
        assert clips.find(ASKED | other) is None


def test_a_clip_is_one_file_with_two_names_and_copies_do_where_there_are_no_links(clips, tmp_path, monkeypatch):
    file = rendered(tmp_path)
    keep(clips, file)
    place(clips.find(ASKED).path, tmp_path / "again.mp4")
    assert os.stat(file).st_nlink == 3
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    place(clips.find(ASKED).path, tmp_path / "copied.mp4")
    assert (tmp_path / "copied.mp4").read_bytes() == b"a clip"
    assert os.stat(tmp_path / "copied.mp4").st_nlink == 1


def test_putting_a_clip_over_itself_leaves_no_third_name(clips, tmp_path):
    """Renaming one name of a file to another name of it does nothing (POSIX), so the temporary name would stay."""
    file = rendered(tmp_path)
    keep(clips, file)
    keep(clips, file)
    assert sorted(path.suffix for path in clips.folder.glob("*/*")) == [".json", ".mp4"]
    assert [path.name for path in file.parent.iterdir()] == ["p.mp4"]


@pytest.mark.parametrize("damage", ["file", "cut", "record", "other"])
def test_what_is_damaged_is_rendered_again(clips, tmp_path, damage, caplog):
    keep(clips, rendered(tmp_path))
    path = clips.find(ASKED).path
    if damage in ("file", "cut"):
        path.write_bytes(b"a clap" if damage == "file" else b"")
    else:
        path.with_suffix(".json").write_text("{" if damage == "record" else '{"asked": {}, "sha256": ""}')
    assert clips.find(ASKED) is None
    assert "damaged" in caplog.text
    keep(clips, rendered(tmp_path, "render/b"))
    assert clips.find(ASKED).path.read_bytes() == b"a clip"


def test_a_clip_without_its_record_is_none_and_so_is_a_record_without_its_clip(clips, tmp_path):
    keep(clips, rendered(tmp_path))
    path = clips.find(ASKED).path
    path.unlink()
    assert clips.find(ASKED) is None


def test_one_claims_and_the_others_wait(clips):
    with clips.claim(ASKED) as mine, clips.claim(ASKED) as theirs, clips.claim(ASKED | {"seed": 8}) as another:
        assert (mine, theirs, another) == (True, False, True)
    with clips.claim(ASKED) as mine:
        assert mine


def claim_and_keep(clips: ClipStore, file: Path) -> int:
    """What a process does that has rendered the clip, until it had the claim 5 times. Returns how often it had it."""
    had, end = 0, time.monotonic() + 30
    while had < 5 and time.monotonic() < end:
        with clips.claim(ASKED) as mine:
            if mine:
                keep(clips, file)
                had += 1
        time.sleep(0.001)
    return had


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_readers_see_nothing_or_the_whole_clip_while_processes_write(clips, tmp_path, caplog):
    files = [rendered(tmp_path, f"render/{number}", b"x" * 200_000) for number in range(3)]
    with multiprocessing.get_context("fork").Pool(3) as pool:
        writing = pool.starmap_async(claim_and_keep, [(clips, file) for file in files])
        seen = []
        while not writing.ready():
            found = clips.find(ASKED)
            seen.append(found is None or len(found.path.read_bytes()) == 200_000)
        assert writing.get() == [5, 5, 5]
    assert all(seen)
    assert clips.find(ASKED) is not None
    assert not caplog.text
    assert sorted(path.suffix for path in clips.folder.glob("*/*")) == [".json", ".mp4"]


def command(tmp_path: Path, *arguments: str) -> None:
    assert store_command([*arguments, f"paths.store={tmp_path / 'store'}", f"paths.runs={tmp_path / 'runs'}"]) == 0


def test_a_clip_is_counted_once_and_goes_with_the_last_result_that_uses_it(clips, tmp_path, capsys):
    """Two results use a clip of 3 kB, one of them is used by a run; a second clip of 1 kB is used by the idle one alone."""
    (tmp_path / "runs/one").mkdir(parents=True)
    (tmp_path / "runs/one/entries.json").write_text('["render/kept"]')
    kept = rendered(tmp_path, "render/kept", b"x" * 3072)
    keep(clips, kept)
    idle = tmp_path / "store/render/idle/clips"
    idle.mkdir(parents=True)
    (idle.parent / "manifest.json").write_text(json.dumps({"created": "2024-01-01T00:00:00Z"}))
    place(kept, idle / "p.mp4")
    (idle / "q.mp4").write_bytes(b"y" * 1024)
    keep(clips, idle / "q.mp4", ASKED | {"seed": 8})
    command(tmp_path, "ls")
    out = capsys.readouterr().out
    assert "4.0 kB  in 2 clips; 0 B  in 0 clips that no result uses" in out
    assert "70 B  in 2 results; 35 B of it" in out  # two manifests of 35 bytes: the clips are counted in their own line
    command(tmp_path, "prune")
    out = capsys.readouterr().out
    assert "35 B in 1 results" in out
    assert "1.0 kB  in 1 clips that no result uses then" in out
    assert len(clips_in(tmp_path / "store")) == 2
    command(tmp_path, "prune", "yes=true")
    assert "deleted 1.0 kB in 1 clips that no result uses" in capsys.readouterr().out
    assert clips.find(ASKED) is not None
    assert clips.find(ASKED | {"seed": 8}) is None
    assert len(list(clips.folder.glob("*/*"))) == 2


def test_what_a_killed_process_left_goes_after_an_hour(clips, tmp_path):
    keep(clips, rendered(tmp_path))
    left = clips.find(ASKED).path.with_name(".x.mp4.1.abc.part")
    left.write_bytes(b"half")
    assert unused(clips_in(tmp_path / "store")) == []
    os.utime(left, (0, 0))
    assert [one.path for one in unused(clips_in(tmp_path / "store"))] == [left]
