"""A full disk is distinguished from every other failure by what is raised, not by how full a disk is."""

import errno
import gc
import os
import shutil
import sqlite3
import tempfile
from collections import namedtuple
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from vpo.errors import UserError
from vpo.export.folder import new_folder
from vpo.storage.disk import disk_problem, is_full
from vpo.storage.store import Store
from vpo.training import worker

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def torch_by_name(folder: Path) -> None:
    torch.save({"a": torch.zeros(1000, 1000)}, folder / "a.pt")


def torch_by_file(folder: Path) -> None:
    with (folder / "a.pt").open("wb") as file:
        torch.save({"a": torch.zeros(1000, 1000)}, file)


def safetensors(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1000, 1000)}, folder / "a.safetensors")


def tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models

    (folder / "fill").write_bytes(bytes(390_000))
    Tokenizer(models.BPE(vocab={str(i): i for i in range(10_000)}, merges=[])).save(str(folder / "t.json"))


def array(folder: Path) -> None:
    np.save(folder / "a.npy", np.zeros(1_000_000))


def text(folder: Path) -> None:
    (folder / "a.txt").write_text("a" * 1_000_000)


def clip(folder: Path) -> None:
    from vpo.video.clips import write_mp4

    (folder / "fill").write_bytes(bytes(400_000))
    write_mp4(np.random.default_rng(0).integers(0, 255, (16, 256, 256, 3), dtype=np.uint8), 8, folder / "a.mp4")


def database(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "a.db")) as connection:
        connection.execute("create table a(b)")
        connection.executemany("insert into a values(?)", [("a" * 1000,)] * 10_000)


def copy(folder: Path) -> None:
    """Which names its source first."""
    with tempfile.NamedTemporaryFile() as source:
        source.write(bytes(1_000_000))
        source.flush()
        shutil.copyfile(source.name, folder / "copied")


WRITERS = [copy, torch_by_name, torch_by_file, safetensors, tokenizer, array, text, clip, database]


@pytest.mark.parametrize("write", WRITERS)
def test_every_library_says_it_in_its_own_way(small_disk, write):
    problem = None
    try:
        write(small_disk)
    except Exception as error:
        problem = disk_problem(error, small_disk)
    gc.collect()  # what the traceback holds open keeps the disk from being taken away
    assert problem is not None
    assert (problem.full, problem.reason, problem.elsewhere) == (True, "no space left on device", None)


def test_a_full_disk_is_seen_through_what_others_made_of_it():
    wrapped = RuntimeError("saving failed")
    wrapped.__cause__ = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    assert is_full(wrapped)


@pytest.mark.parametrize("error", [
    ValueError("shapes (3,) and (4,) do not match"), RuntimeError("CUDA out of memory"), OSError("cannot open resource"),
    FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), MemoryError(), OSError(errno.EIO, "Input/output error"),
    RuntimeError("PytorchStreamReader failed reading zip archive: failed finding central directory"),
])  # fmt: skip
def test_other_errors_are_not_the_disks(error, tmp_path):
    assert disk_problem(error, tmp_path) is None


def nearly_full(monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_a_defect_on_a_nearly_full_disk_stays_a_defect(tmp_path, monkeypatch):
    nearly_full(monkeypatch)
    (tmp_path / "stage.yaml").write_text(yaml.safe_dump({"out": str(tmp_path)}))

    def defect(job):
        raise ZeroDivisionError("a real one")

    with pytest.raises(ZeroDivisionError, match="a real one"):
        worker.main(tmp_path / "stage.yaml", defect)
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "model", "export", force=False):
        defect(None)


def test_the_worker_says_that_the_disk_is_full_and_keeps_the_traceback(tmp_path):
    (tmp_path / "stage.yaml").write_text(yaml.safe_dump({"out": str(tmp_path)}))

    def full(job):
        raise FULL

    assert worker.main(tmp_path / "stage.yaml", full) == worker.DISK_FULL
    assert "in full\n    raise FULL" in (tmp_path / "traceback.txt").read_text()


def test_the_worker_names_a_full_disk_elsewhere(tmp_path):
    out, other = tmp_path / "out", tmp_path / "cache/kernel.bin"
    out.mkdir()
    (out / "stage.yaml").write_text(yaml.safe_dump({"out": str(out)}))

    def full(job):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(other))

    assert worker.main(out / "stage.yaml", full) == 2
    assert (out / "error.txt").read_text() == f"{other}: no space left on device; make room there"


def test_a_line_that_finds_no_room_is_still_said(small_disk, caplog):
    (small_disk / "stage.yaml").write_text(yaml.safe_dump({"out": str(small_disk)}))

    def wrong(job):
        (small_disk / "fill").write_bytes(bytes(390_000))
        with suppress(OSError):
            (small_disk / "more").write_bytes(bytes(390_000))
        raise UserError("set this to that")

    assert worker.main(small_disk / "stage.yaml", wrong) == worker.DISK_FULL
    assert "set this to that" in caplog.text


def failing(error):
    def work(folder):
        raise error

    return work


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "permission denied while writing score; make it accessible, then start again"),
        (errno.ENOSPC, "no space left on device while writing score; make room there, then start again"),
    ],
)
def test_a_file_elsewhere_is_not_blamed_on_the_store(tmp_path, number, said):
    other = tmp_path / "weights.safetensors"
    with pytest.raises(UserError) as found:
        Store(tmp_path / "store").get("score", {}, {}, failing(OSError(number, os.strerror(number), str(other))))
    assert str(found.value).startswith(f"{other}: {said}")


def test_the_stores_own_files_are(tmp_path):
    inside = tmp_path / "store/score/x.partial/scores.jsonl"
    with pytest.raises(
        UserError, match=r"store: permission denied while writing score; make room .* or set paths.store"
    ):
        Store(tmp_path / "store").get("score", {}, {}, failing(PermissionError(13, "Permission denied", str(inside))))


def test_an_error_of_access_that_names_no_file_keeps_its_traceback(tmp_path):
    with pytest.raises(PermissionError):
        Store(tmp_path / "store").get("score", {}, {}, failing(PermissionError(13, "Permission denied")))


def test_a_full_disk_that_a_library_reports_in_a_stage_is_one_line(small_disk):
    def work(folder):
        safetensors(folder)
        return {}

    with pytest.raises(UserError, match="no space left on device while writing start; make room"):
        Store(small_disk).get("start", {}, {}, work)
