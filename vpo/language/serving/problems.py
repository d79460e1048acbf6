"""What an error of a server means: for one request or for the whole run, worth another try or not, and the cure."""

import re
import socket
import ssl
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vpo.language.serving.calls import IDS, Call
from vpo.language.serving.pace import seconds_asked_for
from vpo.storage.redact import HIDDEN, redact_text

Scope = Literal["item", "run"]
SHOWN = 200  # characters of a server's own words

_TOO_LONG = re.compile(
    r"context.{0,20}(length|window|size|limit)|max_model_len|prompt is too long|input is too long|too many (input )?tokens|"
    r"longer than the model|exceeds? .{0,40}(context|maximum number of tokens)|max_new_tokens. must be <=",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content.?(filter|policy|management)|moderation|flagged|responsible ?ai|safety system", re.IGNORECASE
)
_NOT_TAKEN = re.compile(
    r"unsupported|not supported|unexpected|unrecognized|unknown|not permitted|extra (inputs|fields)|invalid param",
    re.IGNORECASE,
)
_NO_MONEY = re.compile(
    r"insufficient_quota|insufficient (balance|credits|funds)|billing|exceeded your current quota", re.IGNORECASE
)
_DROPPED = ("RemoteProtocolError", "ReadError")  # of httpx: there was a connection, and a server
CAN_BE_OMITTED = ("seed", "temperature", "top_p", "logprobs")


@dataclass(frozen=True)
class Problem:
    """An error of a server.

    Attributes:
        kind: a short name for counting.
        detail: one line; with the cure where the whole run is concerned.
        scope: whether one request or the whole run is concerned.
        again: whether the same request is worth another try after a wait.
        wait: seconds that the server asks to wait.
        answered: whether the server has answered at all.
    """

    kind: str
    detail: str
    scope: Scope = "item"
    again: bool = False
    wait: float | None = None
    answered: bool = True


@dataclass(frozen=True)
class Endpoint:
    """Where a server is and how one is known there, for messages.

    Attributes:
        base_url: without a password.
        key_env: the environment's variable that holds the key; None where none is sent.
        key: its value, which no message may show.
        timeout: seconds that an answer may take.
        role: the config's node that holds the settings.
        serves: what starts such a server.
        can_be_omitted: the fields that `omit` may name.
    """

    base_url: str
    key_env: str | None
    key: str | None = field(repr=False)
    timeout: float
    role: str = "engine"
    serves: str = "vllm serve <model>"
    can_be_omitted: Collection[str] = CAN_BE_OMITTED

    def clean(self, text: object) -> str:
        """One line of a text that is not ours, short and without secrets."""
        line = " ".join(str(text).split())
        if self.key:
            line = line.replace(self.key, HIDDEN)
        line = redact_text(line)
        return line if len(line) <= SHOWN else line[:SHOWN] + "..."

    def is_filtered(self, words: str) -> bool:
        """Whether a server's words say that its content filter has stopped something."""
        return _FILTERED.search(words) is not None

    # What follows reads exceptions of the `openai` client by their parts, which are those of HTTP.

    def of_status(self, status: int, headers: Mapping[str, str], body: Any, call: Call) -> Problem:
        """The meaning of an answer with an error status."""
        error = body.get("error", body) if isinstance(body, Mapping) else body
        parts = error if isinstance(error, Mapping) else {}
        words = self.clean(parts.get("message") or parts.get("detail") or error or f"HTTP {status}")
        code = " ".join(str(parts.get(name) or "") for name in ("code", "type"))
        said = f"{code} {words}"
        at = f"{self.base_url} answers {status}"
        if _NO_MONEY.search(said) or status == 402:
            return Problem("no_credit", f"{at}: no credit is left ({words}); add some, then start again", "run")
        if status in (400, 403) and _FILTERED.search(said):
            return Problem("content_filter", words)
        if status == 401:
            return Problem("unauthorized", f"{at}: {self._key_problem()} ({words})", "run")
        if status == 403:
            return Problem("forbidden", f"{at}: the key of {self.key_env or 'nobody'} may not do this ({words}); ask for access to "
                           f"{call.body['model']!r}, or use another key or model", "run")  # fmt: skip
        if status in (400, 413, 422, 500) and (status == 413 or _TOO_LONG.search(said)):
            return Problem("too_long", words)
        if call.path == IDS and status in (400, 404, 405, 422, 501):
            return Problem("no_token_ids", f"{self.base_url}: this server takes no token ids at /completions ({words}); serve the "
                           "model with vLLM or SGLang, or ask with messages, as method=llm does", "run")  # fmt: skip
        if status in (400, 422):
            return self._of_refusal(words, str(parts.get("param") or ""), said, call)
        if status == 429:
            wait = seconds_asked_for(headers)
            return Problem("busy", f"{at} (too many requests: {words})", again=True, wait=wait)
        if status in (408, 409, 425) or status >= 500:
            return Problem("server_error", f"HTTP {status}: {words}", again=True, wait=seconds_asked_for(headers))
        return Problem("refused", f"{at}: {words}; check {self.role}.base_url", "run")

    def of_connection(self, error: BaseException) -> Problem:
        """The meaning of a connection that failed, before or within an answer."""
        causes = list(_causes(error))
        words = self.clean(causes[-1]) or type(causes[-1]).__name__
        texts = " ".join(str(one) for one in causes)
        if any(isinstance(one, ssl.SSLError) for one in causes) or "SSL" in texts or "CERTIFICATE" in texts:
            if "WRONG_VERSION_NUMBER" in texts or "RECORD_LAYER_FAILURE" in texts or "UNEXPECTED_EOF" in texts:
                cure = f"if it is a plain server, write http:// in {self.role}.base_url"
            else:
                cure = "if it has a certificate of your own, name it by SSL_CERT_FILE=<file.pem>"
            return Problem(
                "tls", f"{self.base_url}: no safe connection ({words}); {cure}", "run", again=True, answered=False
            )
        if (
            any(isinstance(one, socket.gaierror) for one in causes)
            or "getaddrinfo" in texts
            or "Name or service" in texts
        ):
            return Problem("unreachable", f"{self.base_url}: no such host ({words}); check {self.role}.base_url and the "
                           "network", "run",
                           again=True, answered=False)  # fmt: skip
        names = {type(one).__name__ for one in causes}
        if names & set(_DROPPED) and "ConnectError" not in names:
            return Problem(
                "cut_off", f"{self.base_url}: the connection ended before the answer did ({words})", again=True
            )
        return Problem("unreachable", f"{self.base_url}: no server answers there ({words}); start it, as by `{self.serves}`, or "
                       f"correct {self.role}.base_url", "run", again=True, answered=False)  # fmt: skip

    def of_silence(self) -> Problem:
        """No answer within the time limit."""
        return Problem(
            "timeout",
            f"no answer of {self.base_url} within {self.role}.timeout={self.timeout:g} seconds",
            answered=False,
        )

    def _key_problem(self) -> str:
        if self.key_env is None:
            return f"it wants a key; export one and name its variable, as in {self.role}.api_key_env=OPENAI_API_KEY"
        return f"it does not know the key in {self.key_env}; export the right one"

    def _of_refusal(self, words: str, param: str, said: str, call: Call) -> Problem:
        """A request that the server does not take: a field that it does not know concerns all requests."""
        fields = [*call.body, *call.extra]
        named = param if param in fields else next((one for one in fields if re.search(rf"['\"`.]{one}['\"`]|\b{one}\b", words)
                                                    and one not in ("model", "messages")), None)  # fmt: skip
        named = "logprobs" if named == "top_logprobs" else named
        if named is not None and named not in ("model", "messages") and (param == named or _NOT_TAKEN.search(said)):
            if named in self.can_be_omitted:
                cure = f"leave it out: {self.role}.omit=[{named}]"
            elif named == "max_tokens":
                cure = "call it otherwise: engine.max_tokens_field=max_completion_tokens"
            elif named == "max_completion_tokens":
                cure = "call it otherwise: engine.max_tokens_field=max_tokens"
            else:
                cure = f"take {named} out of {self.role}.extra_body"
            return Problem("refused", f"{self.base_url}: the server does not take {named} ({words}); {cure}", "run")
        return Problem("refused", words)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, down to the first."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
