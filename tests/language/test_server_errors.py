"""Errors of a server: which concern one request and which the whole run, and where a key may stand."""

import time

import pytest

from tests.language.asking import KEY, asked, engine_of, generate, problem
from tests.language.chat_server import Reply, chat_server, error
from vpo.errors import UserError
from vpo.language.server import ServerEngine
from vpo.language.serving.pace import Backoff
from vpo.records import Completion, Failure

pytest.importorskip("openai", reason="the extra `server` is not installed")


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


def test_a_first_answer_that_is_cut_off_does_not_end_the_run():
    """Nor does one that always is, where others are answered."""
    with chat_server(lambda n, body: Reply(cut=n == 0 or body["seed"] == 3)) as server:
        done = generate(server, *(asked(seed=n) for n in range(4)), concurrency=1, max_retries=1)
    assert [getattr(one, "text", None) for one in done] == ["a dog #0", "a dog #1", "a dog #2", None]
    assert (done[3].kind, done[3].retryable, done[3].attempts) == ("cut_off", True, 2)
    assert "the connection ended before the answer did" in done[3].detail


def test_a_server_that_only_cuts_connections_ends_the_run():
    with chat_server(lambda n, body: Reply(cut=True)) as server:
        line = problem(server, max_retries=1)
    assert "the connection ended before the answer did" in line
    assert "look at the server's log" in line


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
        ({"omit": ["model"]}, "only seed, temperature, top_p, logprobs can be left out"),
        ({"max_tokens_field": "max_new_tokens"}, "must be max_tokens or max_completion_tokens"),
    ],
)
def test_settings_that_cannot_work_are_refused(values, words):
    with pytest.raises(UserError) as caught:
        ServerEngine(**{"base_url": "http://localhost:1/v1", "model": "tiny", **values})
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "0123456789abcdef" not in str(caught.value)
