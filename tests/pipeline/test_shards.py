"""A run in this process, in several, on Ray and in shards gives the same records, byte for byte; of real commands."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import run_vpo

ASKED = ("experiment=smoke", "method=[original,sketch_fewshot]", "evaluator=[scene,reward]", "dataset.test=40",
         "generator.frames=4")  # fmt: skip


def payload(folder: Path) -> dict[str, bytes]:
    """Every file of every result of a store, but for the manifests and the clips' descriptions, which hold times."""
    found = {path.relative_to(folder / "store").as_posix(): path for path in (folder / "store").rglob("*")}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if path.is_file()
        and path.name not in ("manifest.json",)
        and not (path.parent.name == "clips" and path.suffix == ".json")
        and path.suffix != ".lock"
        and not name.startswith("users/")
    }


def vpo(*arguments: str, cwd: Path) -> str:
    done = run_vpo(*arguments, *ASKED, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("local")
    vpo("run", cwd=folder)
    return folder


@pytest.mark.slow
def test_shards_that_run_at_once_and_are_gathered(local, tmp_path):
    with ThreadPoolExecutor(3) as pool:
        for stopped, then in (("optimize", "render"), ("render", "score"), ("score", "evaluate")):
            said = list(pool.map(lambda number: vpo("run", f"shard={number}/3", cwd=tmp_path), (1, 2, 3)))
            for number, text in enumerate(said, 1):
                assert f"stopped: shard {number}/3 of {stopped} original, {stopped} fewshot" in text
            lines = vpo("gather", f"stop_after={stopped}", cwd=tmp_path).splitlines()
            assert sum("3 shards gathered, each of 40 items is there once" in line for line in lines) == 2
            assert then not in "".join(lines)
    vpo("gather", cwd=tmp_path)
    assert payload(tmp_path) == payload(local)
    clips = [path for path in payload(tmp_path) if path.endswith("clips.jsonl")]
    for path in clips:
        ids = [json.loads(line)["id"] for line in (tmp_path / "store" / path).read_text().splitlines()]
        assert len(ids) == len(set(ids)) == 40


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_other_executors(executor, local, tmp_path):
    if executor == "ray":
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
    vpo("run", f"executor={executor}", cwd=tmp_path)
    assert payload(tmp_path) == payload(local)


@pytest.mark.slow
def test_a_shard_that_was_killed_is_missed_by_name_and_does_the_rest(local, tmp_path):
    vpo("run", "stop_after=optimize", cwd=tmp_path)
    vpo("run", "shard=1/2", cwd=tmp_path)
    missed = run_vpo("gather", *ASKED, cwd=tmp_path)
    assert missed.returncode == 2
    assert missed.stderr.splitlines()[-1].startswith("vpo: clips of original: ")
    assert "of 40 items are not there, of shard 2/2; start these again" in missed.stderr
    vpo("run", "shard=2/2", cwd=tmp_path)
    vpo("gather", cwd=tmp_path)
    assert payload(tmp_path) == payload(local)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("gather", "shard=1/2"), "gather: it puts all shards together; leave out shard="),
        (("run", "shard=0/2"), "config: shard=0/2 must be a number and how many there are"),
        pytest.param(
            ("run", "shard=1/2", "recompute=[render]"),
            "config: recompute does not go with shard=1/2",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("run", "shard=1/2", "retry_failed=true"),
            "config: retry_failed does not go with shard=1/2",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_has_no_meaning_for_shards_is_a_line(arguments, line, tmp_path):
    verb, *rest = arguments
    command = [sys.executable, "-m", "vpo", verb, "experiment=smoke", *rest]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"vpo: {line}")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
