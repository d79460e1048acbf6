"""What is a secret, and how it is kept out of everything that is written: one `redact` for every writer.

Secrets come from the environment only; a config that holds one is refused before anything is written
(`vpo.checking.secrets`). What is written is redacted all the same, by three rules:

- the key says so (`api_key`, `Authorization`, `hub_token`), in a mapping, a pair, an override or a line of text;
- the text looks like one: a password or a token in a URL, a bearer token, the keys of well-known services;
- the text holds the value of an environment variable whose name says that it is one (HF_TOKEN, OPENAI_API_KEY).

Standard library only.
"""

import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

HIDDEN = "***"
SHORTEST = 8  # characters; a shorter value of a variable would be found in every other line
CERTAIN = 12  # characters; a value of at least so many that stands in a text is no coincidence

# The last words of a key that holds a secret. "token" is one of its own rule: most tokens of this project are words.
_ENDINGS = (
    "api key", "apikey", "access key", "accesskey", "secret key", "secretkey", "private key", "privatekey", "account key",
    "signing key", "encryption key", "shared key", "subscription key", "master key", "auth key", "ssh key", "secret", "secrets",
    "password", "passwd", "passphrase", "passcode", "pwd", "authorization", "bearer", "cookie", "cookies", "credential",
    "credentials", "jwt", "accesstoken", "authtoken", "refreshtoken", "sessiontoken", "hftoken", "access key id",
)  # fmt: skip
# Tokens of a language model, and counts of them: `eos_token`, `stop_token`, `cost_per_token`.
_WORDS_BEFORE_TOKEN = {
    "pad", "eos", "bos", "unk", "sep", "cls", "mask", "start", "stop", "end", "begin", "special", "image", "video", "audio",
    "text", "think", "thinking", "first", "last", "next", "new", "per", "prefix", "suffix", "middle", "system", "user",
    "assistant", "tool", "turn", "placeholder", "separator", "control", "by", "each", "of", "every", "a", "word", "query",
    "prompt", "completion",
}  # fmt: skip
_IN_QUERIES = ("key", "sig", "signature", "auth", "code", "sas", "pass")  # of a URL, besides what a key may be called

# Names in running text: a key of several words, or one that is used for nothing else. "the secret: a garden" is a query.
_NAME = (
    r"(?:[a-z0-9]+[_-])*(?:api[_-]?key|access[_-]?key(?:[_-]id)?|secret[_-]?key|private[_-]?key|client[_-]secret|auth[_-]?token|"
    r"access[_-]?token|refresh[_-]?token|session[_-]?token|bearer[_-]?token|(?:hf|hub|hugging_?face|wandb|github|gitlab|openai)"
    r"[_-]token|password|passwd|passphrase|(?:proxy-)?authorization|x-auth-token|set-cookie)"
)
_QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_VALUE = rf"(?:{_QUOTED}|(?:(?:bearer|basic|token)\s+)?[^\s,;&}}\])'\"]+)"
# `api_key=...`, `'api_key': ...`, `Authorization: Bearer ...`, `--api-key ...`; not `api_key_env`, not an empty value.
_ASSIGNED = re.compile(rf"(?<![a-z0-9])({_NAME}['\"]?\s*(?:=|:(?!//))\s*)({_VALUE})", re.IGNORECASE)
_FLAG = re.compile(rf"(?<!\S)(--?{_NAME}\s+)(?!-)({_VALUE})", re.IGNORECASE)
_SCHEME = re.compile(r"\b(bearer\s+)([a-z0-9._~+/-]{8,}=*)", re.IGNORECASE)
_BASIC = re.compile(r"\b(basic\s+)([a-z0-9+/]{12,}={0,2})(?![a-z0-9])", re.IGNORECASE)
_USER = re.compile(r"\b([a-z][a-z0-9+.-]*://[^\s/?#:@]*:)([^\s/?#@]+(?:@[^\s/?#@]+)*)(?=@)", re.IGNORECASE)
_TOKEN_AS_USER = re.compile(r"\b(https?://)([^\s/?#:@]+)(?=@)", re.IGNORECASE)
_QUERY = re.compile(r"([?&#;]([a-z0-9_.~%-]+)=)([^\s&#;'\"]+)", re.IGNORECASE)
_KNOWN = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|"
    r"(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|xox[abprs]-[\w-]{10,}|r8_[A-Za-z0-9]{20,}|wandb_v1_\w{20,}|"
    r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+)|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.|\n)*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
)
_OVERRIDE = re.compile(r"([+~]{0,2}[\w./@-]+=)(.+)", re.DOTALL)


def is_secret_key(name: object) -> bool:
    """Whether a key of this name holds a secret: `judge.api_key`, `X-Api-Key`, `hubToken`; not `api_key_env`, `pad_token`."""
    return _names_a_secret(str(name))


@lru_cache(4096)  # a config is asked for every name of the environment at every one of its texts
def _names_a_secret(name: str) -> bool:
    words = _words(name)
    if words and words[-1] == "token":
        return len(words) == 1 or words[-2] not in _WORDS_BEFORE_TOKEN
    text = " ".join(words)
    return any(text == ending or text.endswith(" " + ending) for ending in _ENDINGS)


def is_secret(name: object, value: object) -> bool:
    """Whether the value under this key is a secret. Nothing, true and false are none, nor is a number that counts tokens."""
    if value is None or isinstance(value, bool) or value in ("", [], {}, "???"):
        return False
    number = isinstance(value, int | float)
    return is_secret_key(name) and not (number and _words(str(name))[-1] == "token")


def redact(value: Any, environment: bool = True) -> Any:
    """The value with every secret replaced by '***'. Mappings, lists and tuples become dicts and lists; it may be done twice.

    Args:
        value: plain values, nested at will.
        environment: whether values of the environment's secrets are replaced, too, wherever they stand in a text.
    """
    if isinstance(value, Mapping):
        hidden = _named_by_a_field(value)
        return {
            key: HIDDEN if is_secret(key, one) or key in hidden else redact(one, environment)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [HIDDEN if _follows_a_name(value, at) else redact(one, environment) for at, one in enumerate(value)]
    return redact_text(value, environment) if isinstance(value, str) else value


def redact_text(text: str, environment: bool = True) -> str:
    """A text, such as a line of a log, an override or a traceback, with '***' for every secret in it."""
    override = _OVERRIDE.fullmatch(text)
    if override and is_secret_key(override[1][:-1]) and is_secret(override[1][:-1], override[2]):
        return override[1] + HIDDEN
    for pattern in (_ASSIGNED, _FLAG, _SCHEME, _BASIC, _USER):
        text = pattern.sub(rf"\1{HIDDEN}", text)
    text = _TOKEN_AS_USER.sub(rf"\1{HIDDEN}", text)
    text = _QUERY.sub(lambda found: found[1] + (HIDDEN if _secret_in_query(found[2]) else found[3]), text)
    text = _KNOWN.sub(HIDDEN, text)
    for secret in secrets_of_environment().values() if environment else ():
        text = text.replace(secret, HIDDEN)
    return text


def secrets_of_environment() -> dict[str, str]:
    """The environment's variables that hold a secret by their name, the longest value first."""
    found = {
        name: value
        for name, value in os.environ.items()
        if len(value) >= SHORTEST and is_secret_key(name) and not value.startswith(("/", "~"))  # a file that holds it
    }
    return dict(sorted(found.items(), key=lambda one: -len(one[1])))


def secrets_in(value: Any, path: str = "") -> Iterator[tuple[str, str | None]]:
    """Where a value holds secrets: the dotted path of each, and the environment's variable whose value it is, or None."""
    if isinstance(value, Mapping):
        hidden = _named_by_a_field(value)
        for key, one in value.items():
            inner = f"{path}.{key}" if path else str(key)
            if is_secret(key, one) or key in hidden:
                yield inner, None
            else:
                yield from secrets_in(one, inner)
    elif isinstance(value, list | tuple):
        for at, one in enumerate(value):
            inner = f"{path}.{at}" if path else str(at)
            if _follows_a_name(value, at):
                yield inner, None
            else:
                yield from secrets_in(one, inner)
    elif isinstance(value, str):
        known = secrets_of_environment().items()
        variable = next((name for name, one in known if value == one or (len(one) >= CERTAIN and one in value)), None)
        if variable or redact_text(value, environment=False) != value:
            yield path, variable


class RedactedFormatter(logging.Formatter):
    """Formats a record, its traceback included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(super().format(record))


def redacted_traceback() -> str:
    """The traceback of the exception that is being handled, without secrets."""
    return redact_text(traceback.format_exc())


def redact_uncaught() -> None:
    """Have this process print the traceback that ends it without secrets."""

    def show(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        sys.stderr.write(redact_text("".join(traceback.format_exception(kind, error, trace))))

    sys.excepthook = show


def _words(name: str) -> list[str]:
    """The lower-case words of the last part of a dotted key: `judge.hubToken` gives hub, token."""
    last = re.split(r"[./@]", name)[-1]
    return [one.lower() for one in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", last)]


def _named_by_a_field(node: Mapping[Any, Any]) -> set[Any]:
    """The field that holds a header's value, where another one gives its name: {name: Authorization, value: ...}."""
    named = any(isinstance(node.get(one), str) and is_secret_key(node[one]) for one in ("name", "key", "header"))
    return {"value"} if named and node.get("value") not in (None, "") else set()


def _follows_a_name(values: Any, at: int) -> bool:
    """Whether an item is a secret because the one before it says so: ["Authorization", "..."], ["--api-key", "..."]."""
    if at == 0 or not isinstance(values[at], str) or not isinstance(values[at - 1], str) or not values[at]:
        return False
    before = values[at - 1]
    pair = len(values) == 2 and " " not in before.strip() and len(_words(before)) > 0
    return (before.startswith("-") or pair) and "=" not in before and is_secret_key(before)


def _secret_in_query(name: str) -> bool:
    return is_secret_key(name) or _words(name)[-1:] in [[one] for one in _IN_QUERIES]
