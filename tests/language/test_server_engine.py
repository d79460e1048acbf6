"""The engine that asks an OpenAI-compatible server: what is sent, what comes back, and at what pace."""

import asyncio
import threading
import time
from email.utils import formatdate
from random import Random

import pytest

from tests.language.asking import GREEDY, WARM, asked, engine_of, generate, problem
from tests.language.chat_server import Reply, chat_server, completion, error
from vpo.language.serving.pace import Backoff, Pace, seconds_asked_for
from vpo.records import Completion, Request, Usage

pytest.importorskip("openai", reason="the extra `server` is not installed")


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
        assert not [one for one in threading.enumerate() if one.name == "vpo-server"]
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


@pytest.mark.parametrize(
    "header",
    ["seconds", pytest.param("date", marks=pytest.mark.slow), pytest.param("milliseconds", marks=pytest.mark.slow)],
)
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
