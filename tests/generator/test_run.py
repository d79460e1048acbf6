"""A whole run with a tiny video model: from queries to DPO."""

import json

import pytest

from tests.conftest import run_vpo
from vpo.video.clips import read_mp4


@pytest.mark.slow
def test_a_run_goes_from_queries_to_dpo_with_a_tiny_video_model(tmp_path):
    choice = ("run", "experiment=smoke", "generator=cogvideox_tiny", "paths.assets=assets")
    missing = run_vpo(*choice, cwd=tmp_path)
    assert missing.returncode == 2
    assert missing.stderr.count("\n") == 1
    assert "`vpo assets get tiny`" in missing.stderr
    made = run_vpo("assets", "get", "tiny/cogvideox", "paths.assets=assets", cwd=tmp_path, timeout=600)
    assert made.returncode == 0, made.stderr
    done = run_vpo(*choice, cwd=tmp_path, timeout=1500)
    assert done.returncode == 0, done.stderr
    (results,) = tmp_path.glob("runs/smoke/*/results.json")
    assert {"original", "sft", "dpo"} <= set(json.loads(results.read_text(encoding="utf-8"))["methods"])
    rows = [
        json.loads(line)
        for file in tmp_path.glob("store/render/*/clips.jsonl")
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    clips = list(tmp_path.glob("store/render/*/clips/*.mp4"))
    assert clips
    assert len(rows) >= len(clips)
    for clip in clips[:3]:
        frames, fps = read_mp4(clip)
        assert (frames.shape, fps) == ((9, 32, 32, 3), 8.0)
    assert '"truncated_tokens"' in json.dumps(rows)
