"""Workers and whole runs that are killed again and again: in the end every clip is there once, and equal to an undisturbed run's.

`VPO_CLIPS=10000 pytest -m slow tests/executor/test_completeness.py -s` does it with as many clips.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

CLIPS = int(os.environ.get("VPO_CLIPS", "1500"))
WORKERS = 4
ASKED = ("method=[original]", "evaluator=[flicker]", f"dataset.test={CLIPS}", "dataset.sft=8", "dataset.dpo=8",
         "generator.frames=4", "stop_after=render")  # fmt: skip


def start(folder: Path, *more: str) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    with (folder / "said.txt").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "vpo", "run", *ASKED, *more], cwd=folder, stdout=said, stderr=said,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip


def workers_of(run: subprocess.Popen) -> list[int]:
    """Its worker processes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == run.pid and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # it has ended
    return found


def journal_of(folder: Path) -> list[str]:
    """The finished lines of an unfinished rendering."""
    found = list(folder.glob("store/render/*.partial/clips.journal.jsonl"))
    return found[0].read_text().splitlines() if found else []


def made(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The rows, and a hash of every clip by its name."""
    (rows,) = folder.glob("store/render/*/clips.jsonl")
    files = rows.parent.joinpath("clips").glob("*.mp4")  # beside each lies its description, which holds seconds
    clips = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return rows.read_text().splitlines(), clips


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds worker processes in /proc")
def test_every_clip_is_there_once_whatever_is_killed(tmp_path):
    draw = random.Random(0)
    plain, killed = tmp_path / "plain", tmp_path / "killed"
    assert start(plain).wait() == 0
    workers_killed = runs_killed = 0
    run = start(killed, "executor=processes", f"executor.workers={WORKERS}")
    last, every = time.monotonic(), 1.0 if CLIPS < 5000 else 3.0
    ends = [CLIPS // 3, 2 * CLIPS // 3]  # a kill of the whole run at these numbers of clips
    while run.poll() is None:
        time.sleep(0.05)
        if ends and len(journal_of(killed)) >= ends[0]:
            run.send_signal(signal.SIGKILL)
            assert run.wait() == -signal.SIGKILL
            runs_killed, ends = runs_killed + 1, ends[1:]
            run = start(killed, "executor=processes", f"executor.workers={WORKERS}")
        workers = workers_of(run)
        if workers and time.monotonic() - last > every:
            os.kill(draw.choice(workers), signal.SIGKILL)
            workers_killed, last = workers_killed + 1, time.monotonic()
    said = (killed / "said.txt").read_text()
    assert run.returncode == 0, said[-2000:]
    print(f"\n{CLIPS} clips, {WORKERS} workers: {workers_killed} workers and {runs_killed} whole runs killed")
    assert workers_killed >= 2
    assert runs_killed == 2
    rows, clips = made(killed)
    assert len({json.loads(row)["id"] for row in rows}) == len(rows) == len(clips) == CLIPS
    assert (rows, clips) == made(plain)
    assert f"clips {CLIPS}, broken 0, retried 0, failed 0" in said
