"""What is a secret and what is not; a stranger's forms of both."""

import logging

import pytest

from vpo.storage.redact import RedactedFormatter, is_secret_key, redact, redact_text, secrets_in

SECRET = "s3cr3t-Pa55.word"  # looks like nothing that is known; only its place tells


@pytest.mark.parametrize(
    "name",
    [
        "api_key", "openai_api_key", "OPENAI_API_KEY", "X-Api-Key", "x-api-key", "apiKey", "APIKey", "apikey", "judge.api_key",
        "Authorization", "Proxy-Authorization", "cookie", "Set-Cookie", "token", "hf_token", "HF_TOKEN", "hub_token", "authToken",
        "access_token", "X-Auth-Token", "bearer_token", "secret", "client_secret", "secret_access_key", "AWS_SECRET_ACCESS_KEY",
        "password", "db_password", "passwd", "pwd", "passphrase", "private_key", "credentials", "aws_access_key_id", "jwt",
    ],
)  # fmt: skip
def test_names_of_secrets(name):
    assert is_secret_key(name)


@pytest.mark.parametrize(
    "name",
    [
        "max_new_tokens", "tokens", "tokenizer", "tokenizer_name", "api_key_env", "api_key_file", "token_env", "eos_token",
        "pad_token", "stop_token", "bos_token_id", "cost_per_token", "query_tokens", "completion_tokens", "key", "keys", "monkey",
        "secret_garden", "secretary", "keyframes", "author", "authors", "passes", "cookie_cutter", "tokenize", "image_token",
        "use_auth", "num_tokens", "bearing", "keep",
    ],
)  # fmt: skip
def test_names_that_hold_none(name):
    assert not is_secret_key(name)


@pytest.mark.parametrize(
    "value",
    [
        {"api_key": SECRET},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {"headers": {"X-Api-Key": SECRET, "Cookie": f"session={SECRET}"}},
        {"headers": [["Authorization", SECRET]]},
        {"headers": [("x-api-key", SECRET)]},
        {"headers": [{"name": "Authorization", "value": SECRET}]},
        {"headers": [f"Authorization: Bearer {SECRET}", f"X-Api-Key: {SECRET}"]},
        {"arguments": ["--api-key", SECRET]},
        {"arguments": [f"--api-key={SECRET}"]},
        {"command": f"serve --api-key {SECRET} --port 1"},
        {"command": f"OPENAI_API_KEY={SECRET} serve"},
        {"url": f"https://user:{SECRET}@example.org/v1"},
        {"url": f"http://user:p@{SECRET}@example.org"},
        {"url": f"postgres://user:{SECRET}@host/db"},
        {"url": f"https://{SECRET}@example.org/v1"},
        {"url": f"https://example.org/v1?model=a&token={SECRET}&b=1"},
        {"url": f"https://example.org/v1?api_key={SECRET}"},
        {"url": f"https://example.org/blob?sv=1&sig={SECRET}"},
        {"url": f"https://example.org/v1?key={SECRET}"},
        {"client": {"auth": {"password": SECRET}}},
        {"password": 1234567890},
        {"secrets": [SECRET]},
        {"credentials": {"user": "a", "pw": SECRET}},
        f"judge.api_key={SECRET}",
        f"+judge.api_key={SECRET}",
        f"++judge.headers.Authorization=Bearer {SECRET}",
        f"judge={{api_key: {SECRET}, model: m}}",
        f"judge={{'api_key':'{SECRET}'}}",
        f'judge={{"api_key": "{SECRET} and more"}}',
        f"engine.token={SECRET}",
        [f"judge.api_key={SECRET},{SECRET}2"],
        f"request failed: Authorization: Bearer {SECRET}",
        f"request failed: {{'Authorization': 'Bearer {SECRET}'}}",
        "sk-proj-abcdefghijklmnopqrstuvwxyz012345",
        "the key hf_abcdefghijklmnopqrstuvwxyzABCDEFGH is refused",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "AKIAIOSFODNN7EXAMPLE",
    ],
)
def test_a_secret_is_hidden_wherever_it_stands(value):
    hidden = redact(value)
    shown = str(hidden)
    assert SECRET not in shown
    assert "***" in shown
    assert not any(one in shown for one in ("1234567890", "abcdefghijkl", "IOSFODNN7"))
    assert redact(hidden) == hidden
    assert list(secrets_in({"node": value}))


@pytest.mark.parametrize(
    "value",
    [
        {"max_new_tokens": 5, "tokenizer": "a/b", "api_key_env": "OPENAI_API_KEY", "eos_token": "</s>", "pad_token": 0},
        {
            "query": "the secret_garden behind a door",
            "prompt": "The secret: a garden. A cookie: brown. Token: one coin.",
        },
        {"query": "a password on a note, a key in a lock, an author at work"},
        {"token": None, "api_key": "", "use_token": True, "password": False, "secrets": []},
        {
            "url": "https://example.org:8000/v1?model=a&tokens=5",
            "ssh": "ssh://git@example.org/a/b",
            "mail": "a@example.org",
        },
        {"path": "/data/q:1@b/c.json", "target": "vpo.judge.rules.judge.RulesJudge", "cost_per_token": 0.1},
        "method@drafter=sketch_fewshot",
        "sampling.max_new_tokens=5",
        "judge={api_key_env: NAME}",
        "eos_token=<|im_end|>",
        "a basic instruction and a bearer of flags",
        "sft: 0.69 (1.0 s)",
    ],
)
def test_what_is_no_secret_stays(value):
    assert redact(value) == value
    assert list(secrets_in({"node": value})) == []


@pytest.mark.parametrize("name", ["HF_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY", "MY_SECRET", "DB_PASSWORD", "X_TOKEN"])
def test_values_of_the_environments_secrets_are_hidden_by_value(name, monkeypatch):
    monkeypatch.setenv(name, "correct horse")
    assert redact({"label": ["it says correct horse."]}) == {"label": ["it says ***."]}
    assert list(secrets_in({"label": ["it says correct horse."]})) == [("label.0", name)]
    monkeypatch.setenv(name, "short")  # would be found in every other line
    assert redact_text("a short line") == "a short line"


def test_a_log_line_and_its_traceback_hold_no_secret(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    try:
        raise ValueError(f"refused {SECRET}")
    except ValueError as error:
        record = logging.LogRecord(
            "vpo", logging.ERROR, "", 0, "asked with %s", (SECRET,), (ValueError, error, error.__traceback__)
        )
    text = RedactedFormatter("%(message)s").format(record)
    assert SECRET not in text
    assert text.startswith("asked with ***\nTraceback")
