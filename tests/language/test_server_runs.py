"""Runs whose language model is behind a server: results, keys, interruptions, and a real server of transformers."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chat_models import chatml_tokenizer, edit_json, save_llama
from tests.conftest import ROOT, run_vpo
from tests.language.chat_server import Reply, chat_server, completion, error
from vpo.language.hf import PretrainedEngine
from vpo.language.policy import InstructedPolicy
from vpo.language.server import ServerEngine
from vpo.records import Completion, Request, Sampling
from vpo.templates import read_template

pytest.importorskip("openai", reason="the extra `server` is not installed")


def options(server, *more: str) -> list[str]:
    """Of a run of the smallest size, without training, whose one method asks the server."""
    return ["experiment=smoke", "method=[original,llm]", "evaluator=[alignment]", "engine=server", "engine.model=tiny",
            f"engine.base_url={server.base_url}", *more]  # fmt: skip


def the_file(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


@pytest.mark.slow
def test_a_run_counts_what_it_asked_and_pays_nothing_twice(tmp_path):
    """Eight test queries, 10 tokens read and 5 written each: 8 * (10 * 1 + 5 * 2) = 160 millionths."""
    prices = ("engine.price_in=1", "engine.price_out=2", "engine.max_cost=1")
    with chat_server() as server:
        done = run_vpo("run", *options(server, *prices), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert len(server.seen) == 8
        assert (
            "servers, over all starts of this run: 8 requests (0 more were in the cache), 80 tokens read" in done.stderr
        )
        results = json.loads(the_file(tmp_path, "runs/smoke/*/results.json").read_text())
        assert results["run"]["spent"] == {
            "requests": 8, "cached": 0, "tokens_in": 80, "tokens_out": 40, "cost": pytest.approx(160e-6), "unknown": 0.0,
        }  # fmt: skip
        # A result that is made anew finds its answers in the cache.
        again = run_vpo("run", *options(server, *prices), "recompute=[optimize]", cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert "8 requests (8 more were in the cache)" in again.stderr
        # Another pace, another limit: the same result; another server: another one.
        other = run_vpo("run", *options(server, "engine.concurrency=2", "engine.max_cost=null"), cwd=tmp_path)
        assert other.returncode == 0, other.stderr
        assert len(server.seen) == 8
        assert len(list(tmp_path.glob("store/optimize/*/manifest.json"))) == 2  # original's and the server's
        elsewhere = run_vpo("run", *options(server, "engine.endpoint=elsewhere"), cwd=tmp_path)
        assert elsewhere.returncode == 0, elsewhere.stderr
        assert len(server.seen) == 16


@pytest.mark.slow
def test_a_run_that_reaches_its_limit_ends_in_one_line_and_goes_on(tmp_path):
    """Each request costs 0.0006, and before it is answered up to about 0.0011; so about four fit under 0.003."""
    prices = ("engine.price_in=1", "engine.price_out=1", "engine.concurrency=1", "executor=processes", "executor.workers=2",
              "method.llm.batch_size=2")  # fmt: skip
    with chat_server(lambda n, body: Reply(body=completion(f"A dog, {n}.", tokens=(500, 100)))) as server:
        ended = run_vpo("run", *options(server, *prices, "engine.max_cost=0.003"), cwd=tmp_path)
        assert ended.returncode == 2
        (line,) = [one for one in ended.stderr.splitlines() if one.startswith("vpo: ")]
        assert "engine.max_cost=0.003 could be exceeded" in line
        assert 0 < len(server.seen) < 8
        done = run_vpo("run", *options(server, *prices, "engine.max_cost=1"), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    asked = Counter(body["messages"][0]["content"] for body in server.bodies)
    assert len(asked) == 8
    assert set(asked.values()) == {1}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_ctrl_c_in_the_middle_of_a_batch(tmp_path):
    with chat_server(lambda n, body: Reply(after=0 if n < 3 else 60)) as server:
        running = subprocess.Popen(
            [sys.executable, "-m", "vpo", "run", *options(server, "engine.concurrency=2")],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while len(server.seen) < 5:  # three answered, two under way
            assert running.poll() is None
            time.sleep(0.05)
        start = time.monotonic()
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
        assert running.returncode == 130
        assert time.monotonic() - start < 10
        assert err.rstrip().endswith("vpo: stopped; the same command goes on from here")
        assert "Traceback" not in err
        server.replies = lambda n, body: Reply()
        done = run_vpo("run", *options(server, "engine.concurrency=2"), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert len(server.seen) == 5 + 5  # only the two that were under way were asked twice


@pytest.mark.slow
def test_errors_of_a_server_end_a_run_in_one_line(tmp_path):
    with chat_server(lambda n, body: Reply(429, error("slow down"), {"Retry-After": "9999"})) as server:
        busy = run_vpo("run", *options(server), cwd=tmp_path)
    gone = run_vpo("run", *options(server), cwd=tmp_path)
    for ended, words in ((busy, "it asks to wait 9999 seconds"), (gone, "no server answers there")):
        assert ended.returncode == 2
        (line,) = [one for one in ended.stderr.splitlines() if one.startswith("vpo: ")]
        assert words in line
        assert "Traceback" not in ended.stderr
    no_key = run_vpo("run", *options(server, "engine.api_key_env=NOT_SET_ANYWHERE"), cwd=tmp_path)
    assert no_key.returncode == 2
    assert no_key.stderr.startswith("vpo: engine.api_key_env=NOT_SET_ANYWHERE")  # before any work


@contextmanager
def transformers_serve(folder: Path):
    """`transformers serve` with this model; its base URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder.with_name("serve.log")
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--host", "127.0.0.1", "--port", str(port),
             "--device", "cpu", "--dtype", "float32"],
            stdout=file, stderr=file, cwd=folder.parent,
        )  # fmt: skip
        try:
            for _ in range(600):
                assert process.poll() is None, log.read_text()
                with socket.socket() as look:
                    if look.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.mark.slow
def test_a_real_server_writes_what_the_model_writes_here(tmp_path):
    """`transformers serve` renders the messages by the model's own chat template: the greedy text is the in-process engine's."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    folder = save_llama(tmp_path / "model", chatml_tokenizer())
    edit_json(folder / "generation_config.json", do_sample=True)  # else it is greedy, whatever the temperature
    here = PretrainedEngine(str(folder), None, "float32", "cpu", None, 4)
    ask = InstructedPolicy(here, read_template("optimizer"))
    queries = ["a dog", "two cats on a roof", "  naïve 狗  "]
    greedy = [ask.request(one, Sampling(0.0, 1.0, 8), 0) for one in queries]
    expected = here.generate(greedy)
    with transformers_serve(folder) as url:
        engine = ServerEngine(url, str(folder), timeout=120.0, cache=str(tmp_path / "answers"))
        done = engine.generate(greedy)
        assert [one.text for one in done] == [one.text for one in expected]
        assert [one.finish_reason for one in done] == [one.finish_reason for one in expected]
        assert [one.usage.tokens_in for one in done] == [one.usage.tokens_in for one in expected]
        warm = [ask.request("a dog", Sampling(1.0, 1.0, 8), seed) for seed in (1, 2, 3)]
        drawn = engine.generate(warm)
        assert all(isinstance(one, Completion) for one in drawn)
        assert len({one.text for one in drawn}) > 1
        engine.close()
        with pytest.raises(Exception, match="takes no token ids at /completions"):
            ServerEngine(url, str(folder)).generate([Request(prompt_ids=(5, 6), sampling=Sampling(0.0, 1.0, 4))])
    # The server has gone; its answers are still there.
    assert ServerEngine(url, str(folder), cache=str(tmp_path / "answers")).generate([*greedy, *warm]) == [*done, *drawn]
    assert re.search(r"\w", "".join(one.text for one in done))
