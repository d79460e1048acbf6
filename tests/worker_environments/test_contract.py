"""A worker's script by hand: jobs.jsonl in, results.jsonl out, whatever happens in between."""

import ast
import json
import shutil
import signal
import subprocess
import sys
from typing import ClassVar

import pytest

from tests.worker_environments.environments import (
    TOY,
    command_of,
    lines_of,
    run_script,
    script_beside_contract,
    wait_until,
    write_jobs,
)
from vpo.errors import UserError
from vpo.video.clips import read_mp4
from vpo.workers import contract
from vpo.workers.interpreters import find_python
from vpo.workers.manifest import WORKERS

READ_BY_OLD_PYTHONS = [WORKERS / "contract.py", *sorted(WORKERS.glob("*/script.py"))]


def questions(*ids: str) -> list[dict]:
    return [{"id": one, "questions": [one]} for one in ids]


@pytest.mark.parametrize("path", READ_BY_OLD_PYTHONS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_old_pythons_can_read_it(path):
    ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("name", ["open_sora", "toy", "vbench", "visionreward"])
def test_a_script_may_be_carried_elsewhere_with_the_contract_beside_it(tmp_path, name):
    for file in (WORKERS / "contract.py", WORKERS / name / "script.py"):
        shutil.copy(file, tmp_path)
    (tmp_path / "jobs.jsonl").write_text("")
    done = run_script(tmp_path / "script.py", tmp_path / "jobs.jsonl", tmp_path / "results.jsonl")
    assert (done.returncode, done.stderr) == (0, f"{name}: 0 jobs, 0 have a result\n")


def test_the_contract_needs_the_standard_library_alone():
    tree = ast.walk(ast.parse((WORKERS / "contract.py").read_text()))
    names = {one.name for node in tree if isinstance(node, ast.Import) for one in node.names}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_jobs_become_results_in_order_and_files(tmp_path):
    jobs = write_jobs(
        tmp_path / "jobs.jsonl",
        [
            {"id": "clip", "path": str(tmp_path / "a.mp4"), "seed": 3},
            {"id": "asked", "questions": ["abc", "ab", ""]},
            {"id": "neither"},
        ],
    )
    done = run_script(TOY, jobs, tmp_path / "results.jsonl", frames=5, size=32)
    assert done.returncode == 0, done.stderr
    clip, asked, neither = lines_of(tmp_path / "results.jsonl")
    assert clip["result"] == {"path": str(tmp_path / "a.mp4"), "frames": 5, "fps": 8, "height": 32, "width": 32}
    assert asked["result"] == {"answers": [True, False, False]}  # 3, 2 and 0 characters
    assert neither["failure"] == {"kind": "bad_job", "detail": "a job has a path or questions", "retryable": False}
    frames, fps = read_mp4(tmp_path / "a.mp4")
    assert frames.shape == (5, 32, 32, 3)
    assert fps == 8
    # A square of 8 x 8 bright pixels on grey: 64 of 1,024.
    assert (frames[0, :, :, 0] > 130).sum() == pytest.approx(64, abs=16)
    assert not list(tmp_path.glob(".*"))


def test_killed_in_the_middle_it_does_the_missing_jobs_only(tmp_path):
    jobs = write_jobs(tmp_path / "jobs.jsonl", questions(*"abcdef"))
    results = tmp_path / "results.jsonl"
    worker = subprocess.Popen(command_of(TOY, jobs, results, seconds=0.2), stderr=subprocess.DEVNULL)
    wait_until(lambda: results.exists() and len(lines_of(results)) >= 2)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    before = results.read_bytes()
    assert 2 <= len(before.splitlines()) < 6
    results.write_bytes(before + b'{"schema": 1, "id": "f", "jo')  # and it was writing
    done = run_script(TOY, jobs, results, seconds=0.2)
    assert done.returncode == 0
    assert f"toy: 6 jobs, {len(before.splitlines())} have a result" in done.stderr
    assert results.read_bytes().startswith(before)  # no job was done twice: each line has the time that its job took
    assert [line["id"] for line in lines_of(results)] == list("abcdef")


def test_what_a_start_does_again(tmp_path):
    """Jobs that have changed, and those whose file is gone; no other."""
    path = str(tmp_path / "a.mp4")
    results = tmp_path / "results.jsonl"
    jobs = write_jobs(tmp_path / "jobs.jsonl", [{"id": "clip", "path": path}, *questions("abc", "kept")])
    assert run_script(TOY, jobs, results).returncode == 0
    assert "3 jobs, 3 have a result" in run_script(TOY, jobs, results).stderr
    (tmp_path / "a.mp4").unlink()
    assert "3 jobs, 2 have a result" in run_script(TOY, jobs, results).stderr
    assert (tmp_path / "a.mp4").exists()
    write_jobs(jobs, [{"id": "clip", "path": path}, {"id": "abc", "questions": ["ab"]}, *questions("kept")])
    assert "3 jobs, 2 have a result" in run_script(TOY, jobs, results).stderr
    answers = {line["id"]: line["result"].get("answers") for line in lines_of(results)}
    assert answers == {"clip": None, "abc": [False], "kept": [False]}
    assert (
        "3 jobs, 0 have a result" in run_script(TOY, jobs, results, frames=4).stderr
    )  # under other settings all are others
    assert len(lines_of(results)) == 3


def test_failures_that_may_pass_are_tried_again(tmp_path):
    script = script_beside_contract(
        tmp_path / "own",
        """
def work(self, job):
    with open(job["log"], "a") as file:
        file.write(job["id"])
    if job["id"] == "o":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    if job["id"] == "n":
        return {"value": float("nan")}
    raise ConnectionError("no\\nhub") if job["id"] == "c" else contract.JobError("refused", "no")
""",
    )
    log = tmp_path / "log"
    jobs = write_jobs(tmp_path / "jobs.jsonl", [{"id": one, "log": str(log)} for one in "cron"])
    for _ in range(2):
        assert run_script(script, jobs, tmp_path / "results.jsonl").returncode == 0
    failures = {line["id"]: line["failure"] for line in lines_of(tmp_path / "results.jsonl")}
    assert failures["c"] == {"kind": "ConnectionError", "detail": "no hub", "retryable": True}
    assert failures["r"] == {"kind": "refused", "detail": "no", "retryable": False}
    assert failures["o"]["kind"] == "out_of_memory"
    assert failures["n"]["kind"] == "ValueError"  # NaN is no result
    assert log.read_text() == "cronc"


def test_a_second_worker_on_the_same_results_is_refused(tmp_path):
    jobs = write_jobs(tmp_path / "jobs.jsonl", questions("a"))
    results = tmp_path / "results.jsonl"
    first = subprocess.Popen(command_of(TOY, jobs, results, seconds=30), stderr=subprocess.PIPE, text=True)
    assert "0 have a result" in first.stderr.readline()
    second = run_script(TOY, jobs, results)
    assert (second.returncode, second.stderr) == (
        2,
        f"toy: another worker writes {results}; wait for it, or name another file\n",
    )
    first.terminate()
    assert first.wait() == 128 + signal.SIGTERM
    assert first.stderr.read() == "toy: ended by SIGTERM; the same command goes on from here\n"
    assert run_script(TOY, jobs, results).returncode == 0  # a lock does not outlive its process


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "a"}\n{"id": \n', "jobs.jsonl: line 2 is not JSON"),
        ("[1]\n", "jobs.jsonl: line 1 is no JSON object"),
        ('{"id": 1}\n', "jobs.jsonl: line 1: a job of toy needs 'id', a text"),
        ('{"id": "a"}\n\n{"id": "a"}\n', "jobs.jsonl: line 3: the id 'a' is there twice"),
        ('{"id": "a", "schema": 2}\n', "jobs.jsonl: line 1: its schema is 2, this worker reads 1"),
        ('{"id": "\xff"}\n', "jobs.jsonl is not UTF-8"),
    ],
)
def test_wrong_jobs_are_named_before_any_is_done(tmp_path, text, message):
    (tmp_path / "jobs.jsonl").write_bytes(text.encode("latin-1"))
    done = run_script(TOY, tmp_path / "jobs.jsonl", tmp_path / "results.jsonl")
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "results.jsonl").exists()


class Small(contract.Script):
    """A script with a setting of each kind."""

    name = "small"
    defaults: ClassVar = {"count": 3, "share": 0.5, "flag": True, "path": None}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('{"cont": 3}', "there is no setting 'cont'; the settings are count, share, flag, path"),
        ('{"count": 0.5}', "count=0.5 must be of the kind int, as in 3"),
        ('{"count": true}', "count=True must be of the kind int, as in 3"),
        ('{"flag": 1}', "flag=1 must be of the kind bool, as in True"),
        ('{"share": "half"}', "share='half' must be of the kind float, as in 0.5"),
        ('{"count": ', "is not JSON"),
        ("nowhere.json", "nowhere.json: No such file or directory"),
    ],
)
def test_wrong_settings_are_refused(given, message):
    with pytest.raises(contract.BadInput, match=message):
        contract.read_settings(Small(), given)


def test_settings_come_from_a_file_too(tmp_path):
    (tmp_path / "s.json").write_text('{"share": 1, "path": "x"}')
    assert contract.read_settings(Small(), str(tmp_path / "s.json")) == {
        "count": 3,
        "share": 1,
        "flag": True,
        "path": "x",
    }


def test_a_full_disk_ends_the_worker_and_costs_nothing(tmp_path, small_disk):
    (small_disk / "filler").write_bytes(b"0" * 390_000)
    jobs = write_jobs(tmp_path / "jobs.jsonl", questions(*(f"{number:0200}" for number in range(60))))
    results = small_disk / "results.jsonl"
    done = run_script(TOY, jobs, results)
    assert done.returncode == contract.EXIT_DISK_FULL
    assert done.stderr.endswith("toy: no space left on device; make room, then start the same command again\n")
    (small_disk / "filler").unlink()
    assert run_script(TOY, jobs, results).returncode == 0
    assert len({line["id"] for line in lines_of(results)}) == len(lines_of(results)) == 60


def test_over_streams_nothing_but_results_is_on_standard_output(tmp_path):
    script = script_beside_contract(
        tmp_path / "own",
        """
def load(self, settings):
    print("loading")
def work(self, job):
    print("working")
    os.system("echo from a child; cat")
    return {"twice": 2 * job["number"]}
""",
    )
    jobs = '{"id": "a", "number": 2}\n{"id": "b", "number": 5}\n'
    done = subprocess.run(command_of(script, "-", "-"), input=jobs, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    ready, *results = map(json.loads, done.stdout.splitlines())
    assert ready == {"schema": 1, "ready": True}
    assert [(one["id"], one["result"]) for one in results] == [("a", {"twice": 4}), ("b", {"twice": 10})]
    assert done.stderr.count("from a child") == 2
    assert "loading" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.8", "3.10"])
def test_an_old_python_does_the_jobs(tmp_path, version):
    try:
        python = find_python(version, None, "this test")
    except UserError:
        pytest.skip(f"there is no Python {version} here")
    script = script_beside_contract(tmp_path / "own", 'def work(self, job):\n    return {"twice": 2 * job["number"]}')
    jobs = write_jobs(tmp_path / "jobs.jsonl", [{"id": "a", "number": 2}])
    for have in (0, 1):
        command = [str(python), "-I", str(script), str(jobs), str(tmp_path / "results.jsonl")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, f"own: 1 jobs, {have} have a result" in done.stderr) == (0, True), done.stderr
    assert lines_of(tmp_path / "results.jsonl")[0]["result"] == {"twice": 4}
