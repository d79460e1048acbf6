"""The engine that asks an OpenAI-compatible server: what is sent, what becomes of answers and of errors, pace, cache and cost."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from email.utils import formatdate
from random import Random

import pytest

from tests.conftest import ROOT
from tests.language.chat_server import Reply, chat_server, completion, error
from vpo.errors import UserError
from vpo.language.server import ServerEngine
from vpo.language.serving.pace import Backoff, Pace, seconds_asked_for
from vpo.records import Completion, Failure, Message, Request, Sampling, Usage

pytest.importorskip("openai", reason="the extra `server` is not installed")

WARM = Sampling(0.7, 0.9, 50)
GREEDY = Sampling(0.0, 1.0, 50)
KEY = "plain-words-are-a-key-0123456789"  # no pattern finds it: only its value can


def asked(text="a dog", sampling=WARM, seed=7, system=None):
    turns = ([Message("system", system)] if system else []) + [Message("user", text)]
    return Request(messages=tuple(turns), sampling=sampling, seed=seed)


def engine_of(server, **values) -> ServerEngine:
    engine = ServerEngine(**{"base_url": server.base_url, "model": "tiny", **values})
    engine.limits.backoff = Backoff(first=0.02, longest=0.1)
    return engine


def generate(server, *requests, **values):
    engine = engine_of(server, **values)
    try:
        return engine.generate(requests)
    finally:
        engine.close()


def problem(server, *requests, **values) -> str:
    """The one line of the error that ends the run."""
    with pytest.raises(UserError) as caught:
        generate(server, *(requests or [asked()]), **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is sent, and what comes back


def test_a_request_is_sent_as_it_is():
    with chat_server() as server:
        (done,) = generate(server, asked("a dog", system="Rewrite."), extra_body={"top_k": 20})
    ((path, body, headers, _),) = server.seen
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "tiny",
        "messages": [{"role": "system", "content": "Rewrite."}, {"role": "user", "content": "a dog"}],
        "temperature": 0.7, "top_p": 0.9, "max_tokens": 50, "seed": 7, "top_k": 20,
    }  # fmt: skip
    assert done == Completion("a dog #7", "stop", Usage(10, 5))
    assert "openai-organization" not in headers


def test_token_ids_go_to_completions_as_they_are():
    with chat_server() as server:
        (done,) = generate(server, Request(prompt_ids=(1, 5, 9), sampling=WARM, seed=3))
    ((path, body, _, _),) = server.seen
    assert path == "/v1/completions"
    assert (body["prompt"], body["max_tokens"], body["seed"]) == ([1, 5, 9], 50, 3)
    assert done.text == "[1, 5, 9] #3"


def test_a_server_that_takes_no_token_ids_is_one_line():
    """`transformers serve` answers so."""
    with chat_server(lambda n, body: Reply(400, {"detail": "prompt must be a string."})) as server:
        line = problem(server, Request(prompt_ids=(1, 5), sampling=WARM))
    assert "takes no token ids at /completions (prompt must be a string.)" in line
    assert "vLLM" in line


def test_seeds_fit_into_31_bits_and_a_greedy_request_has_none():
    with chat_server() as server:
        generate(server, asked(seed=2**62 + 5), asked(sampling=GREEDY, seed=5))
    warm, greedy = sorted(server.bodies, key=lambda body: -body["temperature"])
    assert warm["seed"] == 5  # 2**62 is a multiple of 2**31
    assert "seed" not in greedy


def test_what_a_server_refuses_can_be_left_out_and_draws_stay_apart(tmp_path):
    with chat_server() as server:
        values = {"omit": ["seed", "temperature"], "max_tokens_field": "max_completion_tokens", "cache": str(tmp_path)}
        generate(server, asked(seed=1), asked(seed=2), **values)
    assert [set(body) for body in server.bodies] == [{"model", "messages", "top_p", "max_completion_tokens"}] * 2


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (completion("  A dog runs. \n"), Completion("A dog runs.", "stop", Usage(10, 5))),
        (completion("A dog", "length"), Completion("A dog", "length", Usage(10, 5))),
        (completion("A dog", None), Completion("A dog", "stop", Usage(10, 5))),
        (completion("A dog", "eos_token"), Completion("A dog", "stop", Usage(10, 5))),
        (completion(None), Completion("", "stop", Usage(10, 5))),
        (completion(None, refusal="I cannot help."), Completion("I cannot help.", "stop", Usage(10, 5))),
        (completion("A dog", reasoning_content="The user wants..."), Completion("A dog", "stop", Usage(10, 5))),
        (completion("<think>\nHm. </think>\n\nA dog"), Completion("A dog", "stop", Usage(10, 5))),
        (completion("Hm. </think> A dog"), Completion("A dog", "stop", Usage(10, 5))),
        (completion([{"type": "text", "text": "A "}, {"type": "text", "text": "dog"}]), Completion("A dog", "stop", Usage(10, 5))),
        ({**completion("A dog"), "usage": None}, Completion("A dog", "stop", Usage(0, 0))),
    ],
)  # fmt: skip
def test_answers_of_many_kinds_become_completions(message, expected):
    with chat_server(lambda n, body: Reply(body=message)) as server:
        assert generate(server, asked()) == [expected]


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        (completion(None, "content_filter"), "content_filter", "content filter"),
        (completion(None, "length", reasoning_content="Hm."), "no_text", "all 5 tokens went into the model's thoughts"),
        (completion("<think> Hm, a dog", "length"), "no_text", "enable_thinking:false"),
        (completion(None, "tool_calls"), "no_text", "called a tool"),
    ],
)
def test_answers_without_a_text_are_failures(message, kind, words):
    with chat_server(lambda n, body: Reply(body=message)) as server:
        (failed,) = generate(server, asked())
    assert (failed.kind, failed.retryable) == (kind, False)
    assert words in failed.detail


def test_a_server_that_does_not_sample_is_named(caplog):
    """`transformers serve` is greedy, whatever the temperature, unless the model's generation config samples."""
    caplog.set_level("WARNING", "vpo")
    with chat_server(lambda n, body: Reply(body=completion("The same."))) as server:
        generate(
            server, asked(seed=1), asked(seed=2), *(asked(sampling=GREEDY, seed=n) for n in range(5)), asked("a cat")
        )
        assert not caplog.records
        generate(server, *(asked(seed=n) for n in range(3)))
    (warning,) = caplog.records
    assert "gave the same text for 3 draws from one prompt" in warning.getMessage()


def test_half_of_a_pair_is_sent_and_kept_as_the_replacement_character(tmp_path):
    with chat_server() as server:
        first = generate(server, asked("a \ud83d dog"), cache=str(tmp_path))
        assert generate(server, asked("a \ud83d dog"), cache=str(tmp_path)) == first
    (body,) = server.bodies
    assert body["messages"][0]["content"] == "a \ufffd dog"


# Concurrency and pace


def test_concurrency_is_bounded_and_used():
    with chat_server(lambda n, body: Reply(after=0.1)) as server:
        done = generate(server, *(asked(seed=n) for n in range(12)), concurrency=4)
    assert [one.text for one in done] == [f"a dog #{n}" for n in range(12)]
    assert server.most_at_once == 4
    assert (
        server.moments[-1] - server.moments[0] >= 0.18
    )  # three rounds of 0.1 s: two lie between the first and the last


def test_no_thread_and_no_loop_is_left():
    before = threading.active_count()
    with chat_server() as server:
        engine = engine_of(server)
        engine.generate([asked()])
        engine.close()
        engine.close()
        assert not [one for one in threading.enumerate() if one.name == "vpo-server-engine"]
        with pytest.raises(RuntimeError, match="closed"):
            engine.generate([asked()])
    assert threading.active_count() <= before + 1


def test_requests_of_a_period_are_limited():
    with chat_server() as server:
        engine = engine_of(server, requests_per_minute=2)
        engine.limits.pace.period = 0.5
        engine.generate([asked(seed=n) for n in range(6)])
        engine.close()
    assert server.moments[-1] - server.moments[0] >= 0.6  # two periods, less what the first connection takes


def test_no_three_requests_go_within_a_period_of_two():
    async def moments():
        pace = Pace(requests=2, period=0.2)
        return [moment for moment, _ in [await pace.enter(1) for _ in range(6)]]

    sent = asyncio.run(moments())
    assert all(later - sent[at] >= 0.2 for at, later in enumerate(sent[2:]))
    assert sent[1] - sent[0] < 0.1


def test_tokens_of_a_period_are_limited_by_what_answers_took():
    """Bound of a request: 5 bytes + 16 + 64 + 50 = 135 tokens; what it takes: 15. Four bounds do not fit into 200; answers do."""
    with chat_server() as server:
        engine = engine_of(server, tokens_per_minute=200, concurrency=1)
        engine.limits.pace.period = 2.0
        engine.generate([asked(seed=n) for n in range(5)])  # 15 * 4 + 135 = 195
        engine.generate([asked(seed=5)])  # 15 * 5 + 135 = 210: the first must be a period ago
        engine.close()
    moments = server.moments
    assert moments[4] - moments[0] < 1.8
    assert moments[5] - moments[0] >= 1.9


@pytest.mark.parametrize("header", ["seconds", "date", "milliseconds"])
def test_a_server_that_says_when_is_asked_then_and_by_nobody_before(header):
    """The second request is refused at once; the first is answered later, and then no other goes before the time."""
    headers = {"seconds": {"Retry-After": "1"}, "milliseconds": {"retry-after-ms": "1000"}}.get(header)

    def replies(number, body):
        if number == 1:
            when = headers or {"Retry-After": formatdate(time.time() + 2, usegmt=True)}  # whole seconds: 1 to 2
            return Reply(429, error("Rate limit"), when)
        return Reply(after=0.15)

    with chat_server(replies) as server:
        done = generate(server, *(asked(seed=n) for n in range(6)), concurrency=2)
    assert all(isinstance(one, Completion) for one in done)
    refused, later = server.moments[1], server.moments[2:]
    assert len(later) == 5
    assert 0.95 <= min(later) - refused <= 2.5


def test_a_date_that_is_past_and_no_date_at_all_mean_no_wait():
    now = 1_700_000_000.0
    for value, seconds in (
        (formatdate(now + 90, usegmt=True), 90.0), (formatdate(now - 90, usegmt=True), 0.0), ("-5", 0.0), ("2.5", 2.5),
        ("soon", None), ("", None),
    ):  # fmt: skip
        assert seconds_asked_for({"Retry-After": value}, now) == seconds, value
    assert seconds_asked_for({}) is None


def test_waits_double_and_are_spread():
    waits = [[Backoff(1.0, 6.0).wait(n, Random(seed)) for seed in range(200)] for n in (1, 2, 3, 4, 9)]
    for middle, drawn in zip((1, 2, 4, 6, 6), waits, strict=True):
        assert 0.5 * middle <= min(drawn) < 0.6 * middle
        assert 1.4 * middle < max(drawn) <= 1.5 * middle


# Errors


def test_a_server_that_recovers_is_asked_again():
    statuses = [500, 503, 429, 502, 200]
    with chat_server(lambda n, body: Reply(statuses[n], error("busy") if statuses[n] != 200 else None)) as server:
        (done,) = generate(server, asked())
    assert done.text == "a dog #7"
    assert len(server.seen) == 5


def test_a_busy_server_that_makes_progress_is_not_given_up():
    """One request is refused twice with one repetition allowed: its turn comes, as others are answered meanwhile."""
    refusals = [0]

    def replies(number, body):
        if body["seed"] == 0 and refusals[0] < 2:
            refusals[0] += 1
            return Reply(429, error("busy"))
        return Reply(after=0.01)

    with chat_server(replies) as server:
        engine = engine_of(server, concurrency=2, max_retries=1)
        engine.limits.backoff = Backoff(first=0.2, longest=0.2)
        done = engine.generate([asked(seed=n) for n in range(60)])
        engine.close()
    assert [one.text for one in done] == [f"a dog #{n}" for n in range(60)]


def test_an_answer_that_is_cut_off_is_asked_again():
    with chat_server(lambda n, body: Reply(cut=n == 1)) as server:
        done = generate(server, asked(seed=1), asked(seed=2), concurrency=1)
    assert [one.text for one in done] == ["a dog #1", "a dog #2"]
    assert len(server.seen) == 3


def test_one_request_that_breaks_the_server_fails_alone():
    def replies(number, body):
        return Reply(500, error("CUDA error")) if "bad" in body["messages"][0]["content"] else Reply()

    with chat_server(replies) as server:
        good, bad, other = generate(server, asked("good"), asked("bad"), asked("other"), max_retries=2)
    assert (good.text, other.text) == ("good #7", "other #7")
    assert bad == Failure("server_error", "HTTP 500: CUDA error", attempts=3, retryable=True)
    assert len(server.seen) == 5


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, error("This model's maximum context length is 2048 tokens. However, you requested 3000 tokens", code=400)),
        (400, error("prompt is too long", code="context_length_exceeded")),
        (400, {"object": "error", "message": "The input (3000 tokens) is longer than the model's context length", "code": 400}),
        (422, error("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000")),
        (413, {"detail": "Payload Too Large"}),
    ],
)  # fmt: skip
def test_a_prompt_that_is_too_long_fails_alone(status, message):
    def replies(number, body):
        return Reply(status, message) if "long" in body["messages"][0]["content"] else Reply()

    with chat_server(replies) as server:
        short, long = generate(server, asked("short"), asked("long"))
    assert short.text == "short #7"
    assert (long.kind, long.attempts, long.retryable) == ("too_long", 1, False)
    assert len(server.seen) == 2


def test_a_prompt_that_a_filter_refuses_fails_alone():
    def replies(number, body):
        refused = error("The response was filtered due to the prompt triggering content policy", code="content_filter")
        return Reply(400, refused) if "bad" in body["messages"][0]["content"] else Reply()

    with chat_server(replies) as server:
        good, bad = generate(server, asked("good"), asked("bad"))
    assert (good.text, bad.kind, bad.retryable) == ("good #7", "content_filter", False)


@pytest.mark.parametrize(
    ("status", "body", "headers", "words"),
    [
        (403, error("no access"), {}, "answers 403: the key of nobody may not do this (no access); ask for access to 'tiny'"),
        (402, error("Insufficient Balance"), {}, "no credit is left"),
        (429, error("You exceeded your current quota", code="insufficient_quota"), {}, "no credit is left"),
        (429, error("slow down"), {"Retry-After": "7200"}, "it asks to wait 7200 seconds: start again then"),
        (429, error("slow down"), {}, "after 3 tries; lower engine.concurrency or set engine.requests_per_minute"),
        (400, error("Unsupported parameter: 'max_tokens' is not supported", param="max_tokens", code="unsupported_parameter"), {},
         "does not take max_tokens"),
        (400, error("Unsupported value: 'temperature' does not support 0.7", param="temperature", code="unsupported_value"), {},
         "engine.omit=[temperature]"),
        (422, {"detail": "Unexpected fields in the request: {'seed'}"}, {}, "engine.omit=[seed]"),
        (200, "<html>Welcome</html>", {}, "is no OpenAI-compatible server: the answer is not JSON: it begins '<html>Welcome</html>'"),
        (200, {"status": "ok"}, {}, "the answer holds no choices"),
        (200, "", {}, "it is empty"),
        (200, {"error": {"message": "Insufficient credits", "code": 402}}, {}, "no credit is left"),
        (301, "moved", {}, "answers 301"),
    ],
)  # fmt: skip
def test_errors_that_end_the_run_are_one_line_with_the_cure(status, body, headers, words):
    with chat_server(lambda n, asked: Reply(status, body, headers)) as server:
        line = problem(server, *(asked(seed=n) for n in range(2)), max_retries=2, concurrency=1)
    assert words in line
    assert line.startswith("engine: ")
    assert len(server.seen) <= 3  # after the error nothing more is sent


def test_a_model_that_is_not_served_and_a_wrong_path_say_what_is_there():
    with chat_server(models=["big", "small"]) as server:
        assert problem(server).endswith("does not serve engine.model=tiny; it serves big, small")
        server.models = ["tiny"]
        line = problem(server, base_url=server.address)
    assert f"set engine.base_url={server.address}/v1" in line
    with chat_server(root="/nothing") as server:
        assert "no OpenAI-compatible server is at this path" in problem(server, base_url=server.address + "/v1")


def test_a_server_that_is_not_there_is_one_line_at_once():
    with chat_server() as server:
        pass
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        ServerEngine(server.base_url, "tiny").generate([asked()])
    line = str(caught.value)
    assert time.monotonic() - start < 6  # the four waits of the default back-off take at least 7.5 seconds
    assert f"{server.base_url}: no server answers there" in line
    assert "vllm serve" in line
    assert "no such host" in problem(server, base_url="http://no-such-host.invalid/v1")
    with chat_server() as server:
        line = problem(server, base_url=server.base_url.replace("http://", "https://"))
    assert "no safe connection" in line
    assert "write http://" in line


@pytest.mark.parametrize("trickle", [False, True])
def test_a_server_that_hangs_does_not_hang_us(trickle):
    """One that sends a byte now and then has never been silent for long, and is late all the same."""
    with chat_server(lambda n, body: Reply(after=0 if trickle else 60, trickle=trickle)) as server:
        start = time.monotonic()
        line = problem(server, *(asked(seed=n) for n in range(6)), timeout=0.3, concurrency=2)
        assert time.monotonic() - start < 10
    assert "no answer of" in line
    assert "engine.timeout=0.3" in line
    assert len(server.seen) <= 2


def test_one_slow_request_fails_alone_and_may_be_tried_again():
    with chat_server(lambda n, body: Reply(after=5 if body["seed"] == 1 else 0)) as server:
        done = generate(server, *(asked(seed=n) for n in range(4)), timeout=0.4, concurrency=1)
    assert [type(one) for one in done] == [Completion, Failure, Completion, Completion]
    assert (done[1].kind, done[1].retryable) == ("timeout", True)


def test_after_an_error_of_the_whole_run_no_request_is_repeated():
    def replies(number, body):
        return Reply(500, error("busy")) if body["seed"] else Reply(403, error("no"), after=0.3)

    with chat_server(replies) as server:
        problem(server, asked(seed=0), asked(seed=1), asked(seed=2), concurrency=2, max_retries=1000)
    assert 2 <= len(server.seen) < 30


def test_an_error_of_the_whole_run_does_not_wait_for_those_who_wait():
    """One request is to wait for half a minute; another one is under way, and is waited for."""

    def replies(number, body):
        if body["seed"] == 0:
            return Reply(429, error("busy"), {"Retry-After": "30"}, after=0.5)
        return Reply(403, error("no"), after=0.7) if body["seed"] == 1 else Reply(after=1.0)

    with chat_server(replies) as server:
        engine = engine_of(server, concurrency=3)
        start = time.monotonic()
        with pytest.raises(UserError, match="403"):
            engine.generate([asked(seed=n) for n in range(20)])
        assert time.monotonic() - start < 20
        assert len(server.seen) == 3
        assert engine.spent.requests == 1
        engine.close()


# Keys


def test_a_key_comes_from_the_environment_and_is_shown_nowhere(monkeypatch, tmp_path, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("ANY_NAME", KEY)
    with chat_server(key=KEY) as server:
        (done,) = generate(server, asked(), api_key_env="ANY_NAME", cache=str(tmp_path))
        assert done.text == "a dog #7"
        assert "it wants a key; export one" in problem(server)
        monkeypatch.setenv("ANY_NAME", f"{KEY}x")
        line = problem(server, api_key_env="ANY_NAME")
    assert "does not know the key in ANY_NAME" in line
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in line + written + "".join(
        record.getMessage() for record in caplog.records if record.name[:3] == "vpo"
    )


def test_a_server_without_a_key_is_sent_nobodys(monkeypatch):
    """The `openai` package would send what it finds in the environment to whatever address it is given."""
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:9/v1")
    with chat_server() as server:
        generate(server, asked())
    assert KEY not in str(server.seen[0][2])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"api_key_env": "NOT_SET_ANYWHERE"}, "export NOT_SET_ANYWHERE=<your key>"),
        ({"api_key_env": "sk-0123456789abcdef0123"}, "is the name of the environment's variable"),
        ({"base_url": "http://me:secret@host/v1"}, "holds a name, a password or a token"),
        ({"base_url": "http://host/v1?api_key=0123456789abcdef"}, "holds a name, a password or a token"),
        ({"base_url": "localhost:8000"}, "is no address of an API; give one as http://localhost:8000/v1"),
        ({"base_url": "http://host:99999999/v1"}, "is no address"),
        ({"base_url": "http://host/v1/chat/completions"}, "engine.base_url=http://host/v1"),
        ({"max_cost": 1.0}, "needs engine.price_in and engine.price_out"),
        ({"extra_body": {"n": 4}}, "engine.extra_body.n is set by vpo"),
        ({"omit": ["model"]}, "only seed, temperature, top_p can be left out"),
        ({"max_tokens_field": "max_new_tokens"}, "must be max_tokens or max_completion_tokens"),
    ],
)
def test_settings_that_cannot_work_are_refused(values, words):
    with pytest.raises(UserError) as caught:
        ServerEngine(**{"base_url": "http://localhost:1/v1", "model": "tiny", **values})
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "0123456789abcdef" not in str(caught.value)


# The cache


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
        _, err = running.communicate(timeout=25)
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


# Cost


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
