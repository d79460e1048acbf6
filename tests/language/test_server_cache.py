"""Answers of a server are paid once, whatever happens, and no run costs more than it may."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from tests.conftest import ROOT
from tests.language.asking import GREEDY, asked, engine_of, generate, problem
from tests.language.chat_server import Reply, chat_server, error
from vpo.errors import UserError
from vpo.records import Sampling, Usage

pytest.importorskip("openai", reason="the extra `server` is not installed")


def test_the_same_request_is_paid_once(tmp_path):
    requests = [
        asked(seed=1),
        asked(seed=2),
        asked(seed=1),
        asked(sampling=GREEDY, seed=1),
        asked(sampling=GREEDY, seed=2),
    ]
    with chat_server() as server:
        first = generate(server, *requests, cache=str(tmp_path))
        assert len(server.seen) == 3  # two equal ones, and two greedy ones, are the same
        again = engine_of(server, cache=str(tmp_path))
        assert again.generate(requests) == first
        assert (again.spent.requests, again.spent.cached) == (0, 3)
        again.close()
        assert len(server.seen) == 3
        others = {
            "other words": (asked("a cat", seed=1), {}),
            "another draw": (asked(seed=3), {}),
            "other sampling": (asked(seed=1, sampling=Sampling(0.8, 0.9, 50)), {}),
            "other fields": (asked(seed=1), {"extra_body": {"top_k": 1}}),
            "another server": (asked(seed=1), {"endpoint": "elsewhere"}),
        }
        for number, (request, values) in enumerate(others.values(), 4):
            generate(server, request, cache=str(tmp_path), **values)
            assert len(server.seen) == number
    # What says only how it is asked, and where a server with a name of its own lies, changes nothing.
    with chat_server() as moved:
        values = {"endpoint": "elsewhere", "concurrency": 1, "timeout": 9.0, "price_in": 1.0, "price_out": 1.0}
        generate(moved, asked(seed=1), cache=str(tmp_path), **values)
        assert moved.seen == []


@pytest.mark.parametrize(
    "damage",
    ["", "{", "null", "[]", '{"asked": 1, "answer": {}}', '{"asked": 1, "answer": {"text": "of another"}}', "\x00\xff"],
)
def test_a_damaged_answer_is_asked_again(tmp_path, damage):
    with chat_server() as server:
        first = generate(server, asked(), cache=str(tmp_path))
        (path,) = tmp_path.rglob("*.json")
        path.write_bytes(damage.encode("latin-1"))
        assert generate(server, asked(), cache=str(tmp_path)) == first
        assert generate(server, asked(), cache=str(tmp_path)) == first
    assert len(server.seen) == 2
    assert [one.suffix for one in tmp_path.rglob("*") if one.is_file()] == [".json"]  # no lock, no half file


SCRIPT = """
import sys
from vpo.language.server import ServerEngine
from vpo.records import Message, Request, Sampling
url, cache, count = sys.argv[1:]
engine = ServerEngine(url, "tiny", "here", cache=cache, concurrency=4)
print("ready", flush=True)
done = engine.generate([Request(messages=(Message("user", "a dog"),), sampling=Sampling(0.7), seed=n) for n in range(int(count))])
print(sum(bool(one.text) for one in done))
"""


def process(server, cache, count):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, server.base_url, str(cache), str(count)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_processes_that_ask_the_same_at_the_same_time_pay_once(tmp_path):
    with chat_server(lambda n, body: Reply(after=0.15)) as server:
        workers = [process(server, tmp_path, 12) for _ in range(3)]
        outputs = [one.communicate(timeout=60) for one in workers]
    assert [out.split() for out, _ in outputs] == [["ready", "12"]] * 3, outputs
    assert Counter(body["seed"] for body in server.bodies) == dict.fromkeys(range(12), 1)


@pytest.mark.slow
def test_what_was_paid_before_a_kill_is_not_paid_again(tmp_path):
    """Killed while requests are under way: only these are asked again."""
    with chat_server(lambda n, body: Reply(after=0 if n < 6 else 30)) as server:
        killed = process(server, tmp_path, 12)
        while len(server.seen) < 10:  # six answered, four under way
            assert killed.poll() is None
            time.sleep(0.02)
        killed.kill()
        killed.communicate()
        assert len(list(tmp_path.rglob("*.json"))) == 6
        server.replies = lambda n, body: Reply()
        out, err = process(server, tmp_path, 12).communicate(timeout=60)
    assert out.split() == ["ready", "12"], err
    counted = Counter(body["seed"] for body in server.bodies)
    assert Counter(counted.values()) == {1: 8, 2: 4}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_ctrl_c_ends_a_batch_at_once_and_keeps_what_came(tmp_path):
    with chat_server(lambda n, body: Reply(after=0 if n < 6 else 30)) as server:
        running = process(server, tmp_path, 12)
        while len(server.seen) < 10:
            assert running.poll() is None
            time.sleep(0.02)
        start = time.monotonic()
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
        assert time.monotonic() - start < 15  # an answer comes after 30; it takes 2 ms and the end of Python
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert len(list(tmp_path.rglob("*.json"))) == 6


def test_without_a_cache_nothing_is_written_and_all_is_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with chat_server() as server:
        for _ in range(2):
            generate(server, asked())
    assert len(server.seen) == 2
    assert list(tmp_path.iterdir()) == []


def test_costs_are_counted():
    """10 tokens read at 2 and 5 written at 6 a million: 20 + 30 = 50 millionths."""
    with chat_server() as server:
        engine = engine_of(server, price_in=2.0, price_out=6.0)
        done = engine.generate([asked(seed=n) for n in range(3)])
        spent = engine.spent
        engine.close()
    assert [one.usage for one in done] == [Usage(10, 5, pytest.approx(50e-6))] * 3
    assert (spent.requests, spent.tokens_in, spent.tokens_out, spent.cost) == (3, 30, 15, pytest.approx(150e-6))


def test_the_limit_of_cost_is_kept_and_what_is_paid_stays(tmp_path):
    """Each request may cost 5 + 16 + 64 + 50 = 135 millionths and costs 15. With 200 at most: after five, 75 + 135 > 200."""
    values = {"price_in": 1.0, "price_out": 1.0, "cache": str(tmp_path), "concurrency": 1}
    with chat_server() as server:
        line = problem(server, *(asked(seed=n) for n in range(12)), max_cost=200e-6, **values)
        assert "engine.max_cost=0.0002 could be exceeded by the next request (up to 0.000135)" in line
        assert "this run has spent 7.5e-05" in line
        assert len(server.seen) == 5
        generate(server, *(asked(seed=n) for n in range(12)), **values)
    assert Counter(body["seed"] for body in server.bodies) == dict.fromkeys(range(12), 1)


def test_requests_under_way_count_at_the_most_that_they_may_cost(tmp_path):
    """Four at once would be 540 of 300: two are sent."""
    with chat_server(lambda n, body: Reply(after=0.2)) as server:
        values = {"price_in": 1.0, "price_out": 1.0, "max_cost": 300e-6, "concurrency": 4, "cache": str(tmp_path)}
        problem(server, *(asked(seed=n) for n in range(4)), **values)
        assert len(server.seen) == 2
    assert len(list(tmp_path.rglob("*.json"))) == 2  # waited for, and kept


def test_refused_requests_cost_nothing_and_lost_ones_the_most_they_may():
    def replies(number, body):
        return Reply(429, error("busy")) if number % 2 else Reply(after=3 if body["seed"] == 2 else 0)

    with chat_server(replies) as server:
        engine = engine_of(server, price_in=1.0, price_out=1.0, max_cost=1.0, timeout=0.5, concurrency=1)
        engine.generate([asked(seed=n) for n in range(3)])
        assert engine.spent.cost == pytest.approx(30e-6)
        assert engine.spent.unknown == pytest.approx(135e-6)
        engine.close()


@pytest.mark.parametrize("body", ["<html>", {"id": "c", "result": {"verdict": "yes"}}, {"choices": []}])
def test_an_answer_of_a_wrong_shape_is_asked_again_and_may_have_been_charged(tmp_path, body):
    """Two tries of at most 135 millionths each. Nothing of them is kept: the next engine asks for this one alone."""
    with chat_server(lambda n, sent: Reply(body=body) if sent["seed"] == 2 else Reply()) as server:
        values = {
            "price_in": 1.0,
            "price_out": 1.0,
            "max_cost": 1.0,
            "concurrency": 1,
            "max_retries": 1,
            "cache": str(tmp_path),
        }
        for times in (1, 2):
            engine = engine_of(server, **values)
            good, bad = engine.generate([asked(seed=1), asked(seed=2)])
            assert (good.usage.tokens_in, bad.kind, bad.retryable) == (10, "bad_answer", True)
            assert engine.spent.unknown == pytest.approx(2 * 135e-6)
            engine.close()
            assert Counter(one["seed"] for one in server.bodies) == {1: 1, 2: 2 * times}


def test_processes_of_one_run_share_its_limit(tmp_path, monkeypatch):
    ledger = tmp_path / "spending.jsonl"
    monkeypatch.setenv("VPO_LEDGER", str(ledger))
    values = {"price_in": 1.0, "price_out": 1.0, "max_cost": 200e-6, "concurrency": 1}
    with chat_server() as server:
        one, two = engine_of(server, **values), engine_of(server, **values)
        for number in range(5):
            (one, two)[number % 2].generate([asked(seed=number)])
        for engine in (one, two):
            with pytest.raises(UserError, match="max_cost"):
                engine.generate([asked(seed=9)])
            assert engine.spent.cost == pytest.approx(75e-6)
            engine.close()
        ledger.write_text(ledger.read_text() + '{"close": "x", "tok')  # a kill cuts a line short
        later = engine_of(server, **values)
        assert later.spent.cost == pytest.approx(75e-6)
        later.close()
    assert all("a dog" not in line for line in ledger.read_text().splitlines())
    assert json.loads(ledger.read_text().splitlines()[0])["bound"] == pytest.approx(135e-6)


def test_a_disk_that_takes_no_answer_is_no_problem_of_the_server(tmp_path):
    """The executor tells what a full disk means; the engine must hand it on, not a cancelled task."""
    (tmp_path / "file").write_text("")
    with chat_server(lambda n, body: Reply(after=0.1)) as server, pytest.raises(OSError, match=r"file"):
        generate(server, *(asked(seed=n) for n in range(6)), concurrency=2, cache=str(tmp_path / "file"))


def test_one_bad_request_among_answers_of_the_cache_fails_alone(tmp_path):
    """As after a kill: all others are answered already, so the server is one of the right kind."""

    def replies(number, body):
        if body["seed"] == 2:  # not before another answer has shown what the server is
            return Reply(body="<html>", after=0.5)
        return Reply(after=8 if body["seed"] == 3 else 0)

    with chat_server(replies) as server:
        requests = [asked(seed=n) for n in range(4)]
        values = {"cache": str(tmp_path), "max_retries": 0, "timeout": 2.0}
        first = generate(server, *requests, **values)
        assert [getattr(one, "kind", "text") for one in first] == ["text", "text", "bad_answer", "timeout"]
        assert generate(server, *requests, **values) == first
        assert Counter(body["seed"] for body in server.bodies) == {0: 1, 1: 1, 2: 2, 3: 2}
