"""A whole run whose clips come from a server, as a user starts it."""

import json
import os

import pytest

from tests.conftest import run_vpo
from tests.generator.video_server import Trouble, video_server


@pytest.mark.slow
def test_a_run_goes_on_where_a_wrong_key_has_ended_it(tmp_path):
    command = ("run", "experiment=smoke", "method=[original]", "evaluator=[motion,flicker]", "generator=server",
               "generator.endpoint=ours", "generator.frames=8", "generator.height=32", "generator.width=48", "generator.fps=8",
               "generator.api_key_env=VIDEO_KEY", "generator.look_every=0.05")  # fmt: skip
    busy = Trouble(429, {}, {"Retry-After": "0.1"})
    with video_server(
        key="right-secret-value", trouble=lambda verb, number, fields: busy if verb == "POST" and number == 2 else None
    ) as server:
        address = f"generator.base_url={server.base_url}"
        refused = run_vpo(*command, address, cwd=tmp_path, VIDEO_KEY="wrong-secret-value")
        assert refused.returncode == 2
        assert "it does not know the key in VIDEO_KEY" in refused.stderr
        assert "Traceback" not in refused.stderr
        done = run_vpo(*command, address, cwd=tmp_path, VIDEO_KEY="right-secret-value")
        assert done.returncode == 0, done.stderr
        count = len(server.made)
        assert count == len(list(tmp_path.glob("store/render/*/clips/*.mp4"))) > 0
        again = run_vpo(*command, address, cwd=tmp_path, VIDEO_KEY="right-secret-value")
        assert again.returncode == 0, again.stderr
        assert len(server.made) == count
    (results,) = tmp_path.glob("runs/**/results.json")
    row = json.loads(results.read_text())["methods"]["original"]
    assert row["motion"]["n"] == count
    assert row["motion"]["n_failed"] == 0
    written = [
        path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file() and path.suffix in (".json", ".jsonl", ".yaml", ".log")
    ]
    assert written
    assert not any(b"secret-value" in one for one in written)
    assert all(os.stat(path).st_nlink == 2 for path in tmp_path.glob("store/render/*/clips/*.mp4"))
